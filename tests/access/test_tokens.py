from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, unquote, urlencode

import pytest

from graticule.access import Tokens
from graticule.database import Database, SqliteDatabase
from graticule.errors import InvalidParameter, PublicAccessNotPermitted, SignatureRefused
from graticule.sealing import Sealer
from graticule.settings import Settings

CONTAINER = "naip-0a1b2c3d"
KEY = "0123456789ab/item one/image.tif"


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def monotonic() -> Clock:
    return Clock(0.0)


@pytest.fixture
def database(each_database: Database) -> Database:
    """On SQLite and on PostgreSQL."""
    return each_database


@pytest.fixture
def tokens(database: Database, sealer: Sealer, settings: Settings, clock: Clock, monotonic: Clock) -> Tokens:
    return Tokens(database, sealer, settings, clock=clock, monotonic=monotonic)


async def test_the_layout_is_that_of_a_shared_access_signature(tokens: Tokens) -> None:
    time_text = r"\d{4}-\d\d-\d\dT\d\d%3A\d\d%3A\d\dZ"
    for minted, permissions, resource in (
        (await tokens.mint_container(CONTAINER), "rl", "c"),
        (await tokens.mint_blob(CONTAINER, KEY), "r", "b"),
    ):
        layout = rf"st={time_text}&se={time_text}&sp={permissions}&sv=\d{{4}}-\d\d-\d\d&sr={resource}&sig=[\w%]+"
        assert re.fullmatch(layout, minted.query)


async def test_a_token_lives_a_day_unless_asked_otherwise(tokens: Tokens, clock: Clock) -> None:
    now = datetime.fromtimestamp(int(clock.now), UTC)
    assert (await tokens.mint_container(CONTAINER)).expires_at == now + timedelta(days=1)
    assert (await tokens.mint_blob(CONTAINER, KEY, 60)).expires_at == now + timedelta(hours=1)


@pytest.mark.parametrize("minutes", [0, -1, 10_081])
async def test_a_life_that_is_not_allowed_is_refused(tokens: Tokens, minutes: int) -> None:
    with pytest.raises(InvalidParameter, match="10080") as caught:
        await tokens.mint_container(CONTAINER, minutes)
    assert caught.value.target == "duration"


async def test_a_container_token_opens_every_blob_of_its_container(tokens: Tokens) -> None:
    query = (await tokens.mint_container(CONTAINER)).query
    await tokens.verify(CONTAINER, KEY, query)
    await tokens.verify(CONTAINER, "another/key.xml", "?" + query)
    with pytest.raises(SignatureRefused):
        await tokens.verify("naip-ffffffff", KEY, query)


async def test_a_blob_token_opens_its_blob_only(tokens: Tokens) -> None:
    query = (await tokens.mint_blob(CONTAINER, KEY)).query
    await tokens.verify(CONTAINER, KEY, query)
    for container, key in ((CONTAINER, KEY + "x"), (CONTAINER, ""), (CONTAINER + "x", KEY), (KEY, CONTAINER)):
        with pytest.raises(SignatureRefused):
            await tokens.verify(container, key, query)


async def test_without_a_signature_access_is_public_and_not_permitted(tokens: Tokens) -> None:
    signed = (await tokens.mint_container(CONTAINER)).query
    for query in ("", "api-version=2026-04-15", "?", signed.rpartition("&")[0]):
        with pytest.raises(PublicAccessNotPermitted):
            await tokens.verify(CONTAINER, KEY, query)


# --- what clients do to queries


def reordered(query: str) -> str:
    return "&".join(reversed(query.split("&")))


def decoded(query: str) -> str:
    return unquote(query)


def encoded_anew(query: str) -> str:
    return urlencode(parse_qsl(query))


def encoded_entirely(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&"))
    return "&".join(f"{name}={''.join(f'%{ord(c):02x}' for c in unquote(value))}" for name, _, value in pairs)


def with_others(query: str) -> str:
    return f"api-version=2026-04-15&{query}&timeout=30&x=%F0%9F&st_=1&&=&novalue"


@pytest.mark.parametrize("change", [reordered, decoded, encoded_anew, encoded_entirely, with_others])
async def test_a_query_may_be_written_in_other_ways(tokens: Tokens, change: Callable[[str], str]) -> None:
    for _ in range(20):  # signatures with and without + and / in them
        query = (await tokens.mint_blob(CONTAINER, KEY)).query
        await tokens.verify(CONTAINER, KEY, change(query))


def replaced(name: str, value: str) -> Callable[[str], str]:
    return lambda query: re.sub(rf"(^|&){name}=[^&]*", rf"\g<1>{name}={value}", query)


def removed(name: str) -> Callable[[str], str]:
    return lambda query: "&".join(part for part in query.split("&") if not part.startswith(f"{name}="))


def doubled(name: str) -> Callable[[str], str]:
    return lambda query: f"{query}&{next(part for part in query.split('&') if part.startswith(f'{name}='))}"


TAMPERINGS: dict[str, Callable[[str], str]] = {
    "longer life": replaced("se", "2999-01-01T00%3A00%3A00Z"),
    "earlier begin": replaced("st", "2020-01-01T00%3A00%3A00Z"),
    "more permissions": replaced("sp", "racwdl"),
    "another version": replaced("sv", "2020-01-01"),
    "the whole container": replaced("sr", "c"),
    "another resource": replaced("sr", "d"),
    "no resource": replaced("sr", ""),
    "time without zone": replaced("se", "2999-01-01T00:00:00"),
    "time that is none": replaced("se", "2999-99-99T00:00:00Z"),
    "time in other digits": replaced("se", "२०२६-01-01T00:00:00Z"),
    "signature of zeros": replaced("sig", "A" * 43 + "%3D"),
    "signature empty": replaced("sig", ""),
    "signature no base64": replaced("sig", "%%%"),
    "signature short": lambda query: query[:-8],
    "parts moved into another": lambda query: query.replace("&sp=", "%0A&sp="),
    **{f"without {name}": removed(name) for name in ("st", "se", "sp", "sv", "sr")},
    **{f"{name} twice": doubled(name) for name in ("st", "se", "sp", "sv", "sr", "sig")},
    "a second name in other spelling": lambda query: query + "&%73e=2999-01-01T00%3A00%3A00Z",
}


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_a_changed_token_is_refused(tokens: Tokens, name: str) -> None:
    query = (await tokens.mint_blob(CONTAINER, KEY)).query
    changed = TAMPERINGS[name](query)
    assert changed != query
    with pytest.raises(SignatureRefused) as caught:
        await tokens.verify(CONTAINER, KEY, changed)
    assert query.rpartition("sig=")[2] not in caught.value.message


async def test_an_expired_token_is_refused(tokens: Tokens, clock: Clock) -> None:
    query = (await tokens.mint_container(CONTAINER, 1)).query
    clock.now += 59
    await tokens.verify(CONTAINER, KEY, query)
    clock.now += 2
    with pytest.raises(SignatureRefused, match="expired"):
        await tokens.verify(CONTAINER, KEY, query)


async def test_a_clock_five_minutes_behind_accepts_a_fresh_token(tokens: Tokens, clock: Clock) -> None:
    query = (await tokens.mint_container(CONTAINER)).query
    clock.now -= 299
    await tokens.verify(CONTAINER, KEY, query)
    clock.now -= 10
    with pytest.raises(SignatureRefused, match="not valid yet"):
        await tokens.verify(CONTAINER, KEY, query)


# --- revocation


async def test_revocation_ends_every_token_at_once_in_this_process(tokens: Tokens) -> None:
    old = (await tokens.mint_container(CONTAINER)).query
    await tokens.revoke()
    with pytest.raises(SignatureRefused, match="revoked"):
        await tokens.verify(CONTAINER, KEY, old)

    await tokens.verify(CONTAINER, KEY, (await tokens.mint_container(CONTAINER)).query)


async def test_other_processes_notice_a_revocation_within_two_seconds(
    tokens: Tokens, database: Database, sealer: Sealer, settings: Settings, monotonic: Clock
) -> None:
    elsewhere = Tokens(database, sealer, settings)
    old = (await tokens.mint_container(CONTAINER)).query
    await elsewhere.verify(CONTAINER, KEY, old)
    await elsewhere.revoke()

    monotonic.now += 1.5
    with pytest.raises(SignatureRefused):
        await tokens.verify(CONTAINER, KEY, old)


async def test_a_token_minted_after_a_revocation_elsewhere_works_everywhere_at_once(
    tokens: Tokens, database: Database, sealer: Sealer, settings: Settings, monotonic: Clock
) -> None:
    elsewhere = Tokens(database, sealer, settings)
    await tokens.verify(CONTAINER, KEY, (await tokens.mint_container(CONTAINER)).query)
    await elsewhere.revoke()

    fresh = (await elsewhere.mint_container(CONTAINER)).query
    monotonic.now += 0.2
    await tokens.verify(CONTAINER, KEY, fresh)
    await elsewhere.verify(CONTAINER, KEY, (await tokens.mint_container(CONTAINER)).query)


async def test_another_catalog_under_the_same_master_key_does_not_share_signatures(
    tokens: Tokens, sealer: Sealer, settings: Settings
) -> None:
    other_database = SqliteDatabase(None)
    other = Tokens(other_database, sealer, settings)
    query = (await other.mint_container(CONTAINER)).query
    await other.verify(CONTAINER, KEY, query)
    with pytest.raises(SignatureRefused):
        await tokens.verify(CONTAINER, KEY, query)
    other_database.close()
