"""Tokens for managed assets in the layout of a shared access signature: mint, verify, revoke.

A token is a query string: ``st``, ``se`` (from, until), ``sp`` (permissions), ``sv`` (version), ``sr`` (``c``: the
container, ``b``: one blob) and ``sig``, an HMAC-SHA256 over those and what they open. The key is derived from the
master key and a *generation* that the database holds; replacing the generation ends every token at once. It is random,
so that two catalogs under one master key, or a database restored from a backup, do not share signatures.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from graticule.access.store import ensure_state, read_state, write_state
from graticule.database import Connection, Database
from graticule.errors import InvalidParameter, PublicAccessNotPermitted, SignatureRefused
from graticule.sealing import Sealer
from graticule.settings import Settings

#: The parameters that a token consists of, in their order.
SIGNED_PARAMETERS: Final = ("st", "se", "sp", "sv", "sr")
TOKEN_PARAMETERS: Final = (*SIGNED_PARAMETERS, "sig")

_VERSION: Final = "2024-11-04"
#: Tokens begin this long ago: clocks of other machines may be behind.
_SKEW: Final = timedelta(minutes=5)
#: Verification believes the generation it last read for this long, seconds. Revocation promises 2 s everywhere.
_GENERATION_AGE: Final = 1.0
#: A signature that does not fit may be of a newer generation; how often one may make us look, seconds.
_GENERATION_RECHECK: Final = 0.1
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", re.ASCII)
_GENERATION: Final = "sas-generation"


class MintedToken(NamedTuple):
    """A token and its end."""

    #: Without a leading ``?``.
    query: str
    expires_at: datetime


class _Generation(NamedTuple):
    name: str
    key: bytes
    #: When it was read, on the monotonic clock.
    read_at: float


class Tokens:
    """Mints and verifies the tokens of one catalog."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the generation, making the first one if there is none."""
        self._database = database
        self._sealer = sealer
        self._default_minutes = settings.sas_default_minutes
        self._max_minutes = settings.sas_max_minutes
        self._clock = clock
        self._monotonic = monotonic
        self._generation = self._derive(ensure_state(database, _GENERATION, _new_generation))

    async def mint_container(self, container: str, minutes: int | None = None) -> MintedToken:
        """A token that reads every blob of a container.

        Raises:
            InvalidParameter: ``minutes`` is not allowed.
        """
        return await self._mint("c", "rl", container, "", minutes)

    async def mint_blob(self, container: str, key: str, minutes: int | None = None) -> MintedToken:
        """A token that reads one blob; the key is in plain text, not percent-encoded.

        Raises:
            InvalidParameter: ``minutes`` is not allowed.
        """
        return await self._mint("b", "r", container, key, minutes)

    async def verify(self, container: str, key: str, query: str) -> None:
        """Let a request for a blob pass whose raw query string holds a token for it.

        Parameters may come in any order, encoded anew, and among others.

        Raises:
            PublicAccessNotPermitted: there is no signature at all.
            SignatureRefused: it does not open this blob now.
        """
        token = _parse(query)
        opens = key if token["sr"] == "b" else ""
        await self._check_signature(token, container, opens)
        now = self._clock()
        if now < _seconds(token["st"]):
            raise SignatureRefused("The signature is not valid yet.")
        if now >= _seconds(token["se"]):
            raise SignatureRefused("The signature has expired: sign the URL again.")

    async def revoke(self) -> None:
        """End every token minted so far; other processes notice within two seconds."""
        name = _new_generation()
        await self._database.write(lambda tx: write_state(tx, _GENERATION, name))
        self._generation = self._derive(name)

    async def sign_text(self, text: str) -> str:
        """A signature of another kind than those of blobs, 43 characters that URLs need not encode."""
        generation = await self._current(max_age=0)
        return _text_signature(generation.key, text)

    async def has_signed(self, text: str, signature: str) -> bool:
        """Is it from `sign_text`, and not revoked?"""
        for max_age in (_GENERATION_AGE, _GENERATION_RECHECK):
            generation = await self._current(max_age)
            if hmac.compare_digest(signature.encode(), _text_signature(generation.key, text).encode()):
                return True
        return False

    def minutes(self, asked: int | None) -> int:
        """The life of a token for what a request asked for.

        Raises:
            InvalidParameter: less than a minute, or more than the settings allow.
        """
        if asked is None:
            return min(self._default_minutes, self._max_minutes)
        if not 1 <= asked <= self._max_minutes:
            raise InvalidParameter(f"duration must be 1 to {self._max_minutes} minutes.", target="duration")
        return asked

    async def _mint(
        self, resource: str, permissions: str, container: str, key: str, minutes: int | None
    ) -> MintedToken:
        life = timedelta(minutes=self.minutes(minutes))
        # Read anew: a token minted just after another process revoked must not be dead at birth.
        generation = await self._current(max_age=0)
        now = datetime.fromtimestamp(int(self._clock()), UTC)
        token = {
            "st": (now - _SKEW).strftime(_TIME_FORMAT),
            "se": (now + life).strftime(_TIME_FORMAT),
            "sp": permissions,
            "sv": _VERSION,
            "sr": resource,
        }
        token["sig"] = base64.b64encode(_signature(generation.key, token, container, key)).decode()
        query = "&".join(f"{name}={quote(token[name], safe='')}" for name in TOKEN_PARAMETERS)
        return MintedToken(query, now + life)

    async def _check_signature(self, token: dict[str, str], container: str, key: str) -> None:
        try:
            given = base64.b64decode(token["sig"], validate=True)
        except (binascii.Error, ValueError) as exc:
            raise SignatureRefused("The signature is not base64.") from exc
        for max_age in (_GENERATION_AGE, _GENERATION_RECHECK):
            generation = await self._current(max_age)
            if hmac.compare_digest(given, _signature(generation.key, token, container, key)):
                return
        raise SignatureRefused("The signature does not fit this blob, or was revoked: sign the URL again.")

    async def _current(self, max_age: float) -> _Generation:
        asked_at = self._monotonic()
        if asked_at - self._generation.read_at >= max_age:
            name = await self._database.read(_read_generation)
            if asked_at >= self._generation.read_at:  # else `revoke` or another request was quicker, and knows better
                key = self._generation.key if name == self._generation.name else self._derive(name).key
                self._generation = _Generation(name, key, asked_at)
        return self._generation

    def _derive(self, name: str) -> _Generation:
        return _Generation(name, self._sealer.derive(f"access.sas {name}"), self._monotonic())


def open_tokens(database: Database, sealer: Sealer, settings: Settings) -> Tokens:
    """The tokens of the catalog in a database."""
    return Tokens(database, sealer, settings)


def _new_generation() -> str:
    return secrets.token_hex(16)


def _read_generation(tx: Connection) -> str:
    name = read_state(tx, _GENERATION)
    if name is None:  # it was there when `Tokens` was made, and nothing deletes it
        raise SignatureRefused("The catalog's signing state is gone.")
    return name


def _parse(query: str) -> dict[str, str]:
    """The token in a query string: each parameter once, each of a form that we mint."""
    token: dict[str, str] = {}
    for part in query.removeprefix("?").split("&"):
        name, _, value = part.partition("=")
        name = unquote(name)
        if name in TOKEN_PARAMETERS:
            if name in token:
                raise SignatureRefused(f"The signature has its part {name} twice.")
            token[name] = unquote(value)  # not unquote_plus: a bare + of base64 is a plus
    if "sig" not in token:
        raise PublicAccessNotPermitted
    missing = [name for name in SIGNED_PARAMETERS if name not in token]
    if missing:
        raise SignatureRefused(f"The signature lacks its part {missing[0]}.")
    if not (_TIME.match(token["st"]) and _TIME.match(token["se"])):
        raise SignatureRefused("The signature has a time of the wrong form.")
    if token["sr"] not in {"b", "c"}:
        raise SignatureRefused("The signature is for another kind of resource.")
    return token


def _signature(key: bytes, token: dict[str, str], container: str, blob: str) -> bytes:
    # A JSON array, so that no two lists of parts read the same.
    text = json.dumps([*(token[name] for name in SIGNED_PARAMETERS), container, blob], ensure_ascii=True)
    return hmac.digest(key, text.encode("ascii"), "sha256")


def _text_signature(key: bytes, text: str) -> str:
    # Under a key of its own: no text that is signed for a blob can be one of these.
    of_texts = hmac.digest(key, b"texts", "sha256")
    return base64.urlsafe_b64encode(hmac.digest(of_texts, text.encode("ascii"), "sha256")).decode().rstrip("=")


def _seconds(text: str) -> float:
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError as exc:
        raise SignatureRefused("The signature has a time of the wrong form.") from exc
