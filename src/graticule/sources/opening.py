"""Owns: how an href of a registered source is asked for: with which query, which headers, at which address.

Requests to S3 and Google are signed by obstore, here and without a connection; what is signed is asked for by the
guarded client like anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Literal
from urllib.parse import unquote

import orjson
from obstore import sign_async
from obstore.exceptions import BaseError
from obstore.store import GCSStore, S3Store

from graticule.errors import (
    InvalidAssetHref,
    ManagedIdentityInfoNotFound,
    SourceAuthenticationFailed,
    SourceForbidden,
)
from graticule.settings import Settings
from graticule.sources.hrefs import Href, parse_href
from graticule.sources.identity import Cloud, GetToken, bears_identity
from graticule.sources.models import GCS, HTTP_HEADERS, MANAGED_IDENTITY, S3, SAS_TOKEN, Definition, origin_of

#: The version of Azure's protocol that is spoken with a bearer token; older ones know none.
AZURE_VERSION: Final = "2023-11-03"
#: Life of a signature: a request is made at once, and a resumed one is signed anew.
_SIGNED_FOR: Final = timedelta(minutes=15)
#: Longest wait for the keys of this machine's role, seconds.
_PATIENCE: Final = 10.0
_MOST_STORES: Final = 64

Method = Literal["GET", "HEAD"]


@dataclass(frozen=True, slots=True)
class Opened:
    """What is asked for, instead of the bare href."""

    href: Href
    #: For this request alone: never sent along a redirect to another origin.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Opener:
    """Opens hrefs in the containers of sources."""

    def __init__(self, settings: Settings, get_token: GetToken) -> None:
        """Take what gives tokens of managed identities."""
        self._settings = settings
        self._get_token = get_token
        self._stores: dict[tuple[Any, ...], S3Store | GCSStore] = {}

    async def open(self, source: Definition, href: Href, method: Method) -> Opened | None:
        """How to ask for an href that lies in the source's container; None: as it is, for it has a query of its own.

        Raises:
            SourceError: the source's credential cannot be had, or not be used.
        """
        has_query = "?" in href.path_query
        if source.kind == HTTP_HEADERS:
            return Opened(href, orjson.loads(source.secret or "{}"))
        if source.kind == MANAGED_IDENTITY:
            return None if "sig=" in href.path_query else Opened(href, await self._bearer(source, href))
        if has_query:
            return None
        if source.kind == SAS_TOKEN:
            return Opened(replace(href, path_query=f"{href.path_query}?{source.secret}"))
        return Opened(await self._signed(source, href, method))

    async def test(self, source: Definition) -> Opened:
        """What to ask for to learn whether a source can be read: a list of one, or its address. Raises SourceError."""
        container = source.href
        if source.kind == HTTP_HEADERS:
            return Opened(container, orjson.loads(source.secret or "{}"))
        if source.kind in {S3, GCS}:
            return Opened(await self._signed(source, replace(container, path_query=f"/{_bucket(source)}/"), "GET"))
        listing = f"{container.path}?restype=container&comp=list&maxresults=1"
        if source.kind == SAS_TOKEN:
            return Opened(replace(container, path_query=f"{listing}&{source.secret}"))
        return Opened(replace(container, path_query=listing), await self._bearer(source, container))

    # --- inside

    async def _bearer(self, source: Definition, href: Href) -> dict[str, str]:
        # Settings may have changed since the source was registered.
        if not bears_identity(href, self._settings, "azure"):
            raise SourceForbidden(
                f"{href} is on no Azure Blob host: a managed identity's token is not sent there. An operator may name"
                " the host in GRATICULE_MACHINE_IDENTITY_HOSTS."
            )
        try:
            token = await self._get_token(source.object_id, source.details.get("clientId"))
        except ManagedIdentityInfoNotFound as exc:
            raise ManagedIdentityInfoNotFound(f"{href}: {exc.message}") from None
        except SourceAuthenticationFailed as exc:
            raise SourceAuthenticationFailed(f"{href}: {exc.message}") from None
        return {"Authorization": f"Bearer {token}", "x-ms-version": AZURE_VERSION}

    async def _signed(self, source: Definition, href: Href, method: Method) -> Href:
        """The address with a signature in its query."""
        cloud: Cloud = "aws" if source.kind == S3 else "google"
        if source.details.get("machineRole") and (
            cloud not in self._settings.machine_identity or not bears_identity(href, self._settings, cloud)
        ):
            raise SourceForbidden(f"{href}: this machine's role is not open to its ingestion source any more.")
        key = unquote(href.path.removeprefix(f"/{_bucket(source)}").removeprefix("/"), errors="strict")
        try:
            async with asyncio.timeout(_PATIENCE):
                signed = parse_href(await sign_async(self._store(source), method, key, _SIGNED_FOR))
        except (TypeError, UnicodeDecodeError):
            raise InvalidAssetHref(f"{href} has a path with empty or dot segments, which cannot be signed.") from None
        except (BaseError, ValueError, OSError):  # the cause may quote a key
            raise SourceAuthenticationFailed(
                f"{href}: nothing can be signed with the keys of its ingestion source, or with this machine's role:"
                " send them again with PUT."
            ) from None
        if signed.origin != href.origin or unquote(signed.path) != unquote(href.path):
            raise InvalidAssetHref(f"{href} has a path that cannot be signed as it is: rename the object.")
        return signed

    def _store(self, source: Definition) -> S3Store | GCSStore:
        """What signs; kept, for it keeps the role's keys."""
        region = source.details.get("region")
        key = (source.kind, source.container_url, source.secret, region)
        if key not in self._stores:
            if len(self._stores) >= _MOST_STORES:
                self._stores.clear()
            self._stores[key] = _s3_store(source, region) if source.kind == S3 else _gcs_store(source)
        return self._stores[key]


def _bucket(source: Definition) -> str:
    return source.href.path.split("/")[1]


def _s3_store(source: Definition, region: str | None) -> S3Store:
    endpoint = origin_of(source.href, short=True)
    if source.secret is None:
        return S3Store(_bucket(source), region=region, endpoint=endpoint, virtual_hosted_style_request=False)
    keys = orjson.loads(source.secret)

    def given() -> dict[str, Any]:
        return {
            "access_key_id": keys["accessKeyId"],
            "secret_access_key": keys["secretAccessKey"],
            "token": keys["sessionToken"],
            "expires_at": None,
        }

    # As a provider: keys given as arguments are completed from the environment, with a token of somebody else's.
    return S3Store(
        _bucket(source),
        region=region,
        endpoint=endpoint,
        virtual_hosted_style_request=False,
        credential_provider=given,  # type: ignore[arg-type]  # a TypedDict
    )


def _gcs_store(source: Definition) -> GCSStore:
    if source.secret is None:
        return GCSStore(_bucket(source))
    # The base URL is what the key file of an emulator says it with.
    key = {**orjson.loads(source.secret), "gcs_base_url": origin_of(source.href, short=True)}
    return GCSStore(_bucket(source), service_account_key=orjson.dumps(key).decode())
