"""Verification keys of an issuer: our own, or a key set fetched from an identity provider and kept.

A fetched set is renewed when a token names an unknown key (at most every 30 s, so that forged key ids cannot make us
hammer the provider) and once an hour, so that a withdrawn key stops working. While a renewal fails the keys at hand
stay in use.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from graticule.errors import Unavailable

logger = logging.getLogger(__name__)

#: A set is not asked for again within this time, seconds.
REFETCH_SECONDS: Final = 30.0
#: After a failure without any key at hand every token is refused, so the next try comes sooner, seconds.
_FIRST_FETCH_SECONDS: Final = 5.0
#: A set older than this is renewed beside the requests that use it, seconds.
MAX_AGE_SECONDS: Final = 3600.0
_FETCH_TIMEOUT_SECONDS: Final = 8.0
#: Entra publishes about 15 KB.
_MAX_DOCUMENT_BYTES: Final = 1_000_000


class Keys(Protocol):
    """Where the keys of an issuer come from."""

    async def find(self, key_id: str) -> Key | None:
        """The key of an id, or None. Raises Unavailable when no key can be had at all."""


class LocalKeys:
    """Keys at hand."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        """Take keys by id."""
        self._keys = dict(keys)

    async def find(self, key_id: str) -> Key | None:
        """The key of an id, or None."""
        return self._keys.get(key_id)


class RemoteKeys:
    """The key set of an identity provider. Lives in one event loop."""

    def __init__(
        self,
        issuer: str,
        *,
        jwks_url: str | None = None,
        accept: Callable[[Mapping[str, Any]], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the issuer and where its keys are.

        Args:
            issuer: for messages, and to find the discovery document.
            jwks_url: the key set; None: what the issuer's discovery document says.
            accept: which of the published keys to use.
            clock: seconds that only grow.
        """
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._accept = accept
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._tried_at: float | None = None
        self._fetched_at = 0.0
        self._lock = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> Key | None:
        """The key of an id, or None.

        Raises:
            Unavailable: the provider has not answered yet, so that no token of its can be judged.
        """
        if key_id not in self._keys:
            await self._renew(key_id)
        elif self._clock() - self._fetched_at > MAX_AGE_SECONDS and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew(None))
        if not self._keys:
            raise Unavailable(
                f"The keys of the issuer {self._issuer} cannot be fetched, so its tokens cannot be checked: try again."
            )
        return self._keys.get(key_id)

    async def _renew(self, wanted: str | None) -> None:
        async with self._lock:  # those who wait find what the first one fetched
            if wanted in self._keys or not self._may_try():
                return
            self._tried_at = self._clock()
            try:
                keys = await self._fetch()
            except (OSError, TimeoutError, ValueError) as exc:  # aiohttp's connection errors are OSErrors, see _get
                logger.warning(
                    "The keys of the issuer %s cannot be fetched: %s",
                    self._issuer,
                    str(exc) or type(exc).__name__,
                    extra={"action": "fetch_issuer_keys", "issuer": self._issuer},
                )
                return
            self._keys = keys
            self._fetched_at = self._clock()

    def _may_try(self) -> bool:
        if self._tried_at is None:
            return True
        return self._clock() - self._tried_at >= (REFETCH_SECONDS if self._keys else _FIRST_FETCH_SECONDS)

    async def _fetch(self) -> dict[str, Key]:
        url = self._jwks_url or await self._discover()
        document = await _get(url)
        published = document.get("keys")
        keys: dict[str, Key] = {}
        for parameters in published if isinstance(published, list) else ():
            if not isinstance(parameters, dict) or parameters.get("use", "sig") != "sig":
                continue
            key_id = parameters.get("kid")
            if not isinstance(key_id, str) or not self._accept(parameters):
                continue
            try:
                keys[key_id] = JWKRegistry.import_key(parameters)
            except (JoseError, ValueError, TypeError, KeyError):  # RFC 7517 section 5: ignore what is not understood
                continue
        if not keys:
            raise ValueError("its key set holds no usable key")
        return keys

    async def _discover(self) -> str:
        document = await _get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        # OpenID Connect Discovery section 4.3: the issuer named must be the one asked, exactly.
        if document.get("issuer") != self._issuer:
            raise ValueError("its discovery document names another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise ValueError("its discovery document names no jwks_uri")
        if urlsplit(self._issuer).scheme == "https" and urlsplit(url).scheme != "https":
            raise ValueError("its discovery document names keys at an http URL")
        return url


async def _get(url: str) -> dict[str, Any]:
    """Read a small JSON object. Raises OSError, TimeoutError or ValueError."""
    import aiohttp  # noqa: PLC0415 - slow to import, and most catalogs trust nobody but themselves

    timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status != 200:
                raise ValueError(f"{urlsplit(url).hostname} answered {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > _MAX_DOCUMENT_BYTES:
                    raise ValueError(f"{urlsplit(url).hostname} answered with too much")
    except aiohttp.ClientError as exc:
        raise OSError(f"{urlsplit(url).hostname}: {type(exc).__name__}") from exc
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError(f"{urlsplit(url).hostname} answered something else than a JSON object")  # noqa: TRY004
    return document
