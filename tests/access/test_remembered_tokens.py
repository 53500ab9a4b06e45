"""A token whose signature was checked is not checked again, and not believed for longer for that."""

from __future__ import annotations

import time
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import Key

from access.test_identity import FORGER_KEY, PROVIDER_KEY, claims_of, sign
from graticule.access import Identity, Role
from graticule.access import identity as room
from graticule.access.identity import LEEWAY_SECONDS, TrustedIssuer
from graticule.access.keys import LocalKeys
from graticule.errors import Unauthorized
from graticule.settings import AUDIENCE


class Renewed:
    """A provider's keys, which a test replaces."""

    def __init__(self, *keys: Key) -> None:
        self.keys = {key.thumbprint(): key for key in keys}

    async def find(self, key_id: str) -> Key | None:
        return self.keys.get(key_id)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each signature that is checked."""
    done: list[str] = []
    genuine = jws.validate_compact

    def counted(*arguments: Any) -> bool:
        done.append("checked")
        return genuine(*arguments)

    monkeypatch.setattr(jws, "validate_compact", counted)
    return done


def identity_of(keys: Renewed | LocalKeys, now: list[float] | None = None) -> Identity:
    trusted = TrustedIssuer("urn:test", ("RS256",), keys, ("roles",), lambda value: Role.__members__.get(value.upper()))
    return Identity([trusted], [AUDIENCE], clock=time.time if now is None else lambda: now[0])


async def test_a_signature_is_checked_once(checks: list[str]) -> None:
    identity = identity_of(Renewed(PROVIDER_KEY))
    token = sign(claims_of("urn:test", roles=["reader"]))

    found = [await identity.authenticate(token) for _ in range(3)]

    assert found[0].roles == {Role.READER}
    assert found == [found[0]] * 3
    assert len(checks) == 1


async def test_a_remembered_token_expires() -> None:
    now = [time.time()]
    identity = identity_of(Renewed(PROVIDER_KEY), now)
    token = sign(claims_of("urn:test", exp=int(now[0]) + 600))
    await identity.authenticate(token)

    now[0] += 600 + LEEWAY_SECONDS - 1
    await identity.authenticate(token)
    now[0] += 2
    with pytest.raises(Unauthorized, match="expired"):
        await identity.authenticate(token)


async def test_a_withdrawn_key_ends_remembered_tokens() -> None:
    keys = Renewed(PROVIDER_KEY)
    identity = identity_of(keys)
    token = sign(claims_of("urn:test"))
    await identity.authenticate(token)

    keys.keys = {FORGER_KEY.thumbprint(): FORGER_KEY}
    with pytest.raises(Unauthorized, match="does not publish"):
        await identity.authenticate(token)


async def test_another_key_under_the_same_name_ends_remembered_tokens() -> None:
    keys = Renewed(PROVIDER_KEY)
    identity = identity_of(keys)
    token = sign(claims_of("urn:test"))
    await identity.authenticate(token)

    keys.keys = {PROVIDER_KEY.thumbprint(): FORGER_KEY}
    with pytest.raises(Unauthorized, match="signature is wrong"):
        await identity.authenticate(token)


async def test_a_token_like_a_remembered_one_is_checked() -> None:
    identity = identity_of(Renewed(PROVIDER_KEY))
    token = sign(claims_of("urn:test", roles=["reader"]))
    await identity.authenticate(token)

    head, _, signature = token.split(".")
    other = sign(claims_of("urn:test", roles=["administrator"]), FORGER_KEY).split(".")[1]
    with pytest.raises(Unauthorized):
        await identity.authenticate(f"{head}.{other}.{signature}")


async def test_a_refused_token_is_not_remembered(checks: list[str]) -> None:
    identity = identity_of(Renewed(PROVIDER_KEY))
    forged = sign(claims_of("urn:test"), FORGER_KEY, kid=PROVIDER_KEY.thumbprint())

    for _ in range(2):
        with pytest.raises(Unauthorized):
            await identity.authenticate(forged)
    assert len(checks) == 2


async def test_only_so_many_are_remembered(checks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_REMEMBERED", 2)
    identity = identity_of(Renewed(PROVIDER_KEY))
    tokens = [sign(claims_of("urn:test", sub=f"client {number}")) for number in range(3)]

    for token in (*tokens, tokens[2], tokens[0]):
        await identity.authenticate(token)

    assert len(checks) == 4  # the first was forgotten for the third
