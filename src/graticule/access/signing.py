"""Signed hrefs: which hrefs are managed assets, and how a token is put on them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from graticule.access.tokens import TOKEN_PARAMETERS, Tokens

_NOT_A_NAME: Final = frozenset({"", ".", ".."})


class SignedHref(NamedTuple):
    """An href as it may be handed out."""

    href: str
    #: None: the href is not one of this catalog's managed assets, and was left as it is.
    expires_at: datetime | None


class ManagedHref(NamedTuple):
    """An href of a managed asset, taken apart."""

    #: Everything before the query, as it was written.
    location: str
    #: The query without an old token and without ``?``.
    query: str
    container: str
    #: Plain text, not percent-encoded.
    key: str

    def signed(self, token: str) -> str:
        """The href with a token."""
        return f"{self.location}?{self.query}&{token}" if self.query else f"{self.location}?{token}"


class BlobBase:
    """The place of managed assets under a base URL: ``{base}/blobs/{container}/{key}``."""

    def __init__(self, base: str) -> None:
        """Take the base URL of this catalog, without ``/blobs``."""
        parts = urlsplit(base)
        self._prefix = f"{base.rstrip('/')}/blobs/"
        self._origin = _origin(parts)
        self._path = f"{parts.path.rstrip('/')}/blobs/"

    def managed(self, href: str) -> ManagedHref | None:
        """Take apart an href that is a managed asset of this catalog; None for every other."""
        location, _, query = href.partition("#")[0].partition("?")
        path = self._path_below(location)
        if path is None:
            return None
        container, _, key = unquote(path).partition("/")
        if not container or not key or any(part in _NOT_A_NAME for part in (container, *key.split("/"))):
            return None
        return ManagedHref(location, _without_token(query) if query else "", container, key)

    def _path_below(self, location: str) -> str | None:
        if location.startswith(self._prefix):
            return location[len(self._prefix) :]
        if "/blobs/" not in location:
            return None
        try:  # the same origin may be written in other ways
            parts = urlsplit(location)
            same = _origin(parts) == self._origin
        except ValueError:  # a malformed host or port
            return None
        return parts.path[len(self._path) :] if same and parts.path.startswith(self._path) else None


async def sign_href(tokens: Tokens, href: str, base: str, minutes: int | None = None) -> SignedHref:
    """Sign one href for its blob alone; an old signature is replaced, a foreign href comes back as it is.

    Args:
        tokens: mints.
        href: absolute URL.
        base: the base URL of this catalog, without ``/blobs``.
        minutes: life of the signature; None: the default of the settings.

    Raises:
        InvalidParameter: ``minutes`` is not allowed.
    """
    minutes = tokens.minutes(minutes)  # refused also where nothing is signed
    managed = BlobBase(base).managed(href)
    if managed is None:
        return SignedHref(href, None)
    minted = await tokens.mint_blob(managed.container, managed.key, minutes)
    return SignedHref(managed.signed(minted.query), minted.expires_at)


async def sign_document(
    tokens: Tokens,
    document: dict[str, Any],
    base: str,
    minutes: int | None = None,
    minted: dict[str, str] | None = None,
) -> None:
    """Sign every asset href of an Item, a Collection or a page of either, in place.

    One container token serves all hrefs of a container. `minted` holds those of an answer's other documents, by
    container, and takes up what is minted here.

    Raises:
        InvalidParameter: ``minutes`` is not allowed.
    """
    minutes = tokens.minutes(minutes)
    blobs = BlobBase(base)
    minted = {} if minted is None else minted
    for asset in _assets(document):
        href = asset.get("href")
        managed = blobs.managed(href) if isinstance(href, str) else None
        if managed is None:
            continue
        if managed.container not in minted:
            minted[managed.container] = (await tokens.mint_container(managed.container, minutes)).query
        asset["href"] = managed.signed(minted[managed.container])


def _assets(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The assets of a document, and of the documents that a page of them holds."""
    members = [document]
    for name in ("features", "collections"):
        page = document.get(name)
        if isinstance(page, list):
            members += [member for member in page if isinstance(member, dict)]
    for member in members:
        assets = member.get("assets")
        if isinstance(assets, dict):
            yield from (asset for asset in assets.values() if isinstance(asset, dict))


def _without_token(query: str) -> str:
    parts = (part for part in query.split("&") if part)
    return "&".join(part for part in parts if unquote(part.partition("=")[0]) not in TOKEN_PARAMETERS)


def _origin(url: SplitResult) -> tuple[str, str | None, str | None, int | None]:
    return url.scheme, url.username, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)
