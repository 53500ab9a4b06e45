"""Owns: the two forms of a managed href.

Stored: ``managed:{catalog id}/{container}/{key}``. Public: ``{base}/blobs/{container}/{key}``. Documents keep the
stored form, and a read puts the base URL of its request in by replacing bytes: host, port and proxy may change without
any data changing. The catalog id is random and shown nowhere, so no user's text can hold the marker by accident.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

import orjson

from graticule.storage.layout import is_container, is_key

#: Where blobs are served, below the base URL.
BLOBS_PATH: Final = "/blobs/"

_URL: Final = re.compile(r"^(https?)://([^/?#@\\]+)([^?#]*)", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class BlobName(NamedTuple):
    """Where a managed blob lies."""

    container: str
    key: str


class ManagedHrefs:
    """Turns managed hrefs from one form into the other, for one catalog."""

    def __init__(self, catalog_id: str) -> None:
        """Take the catalog's random id, hex.

        Raises:
            ValueError: it is not hex: it has to be found again in JSON text.
        """
        if not re.fullmatch(r"[0-9a-f]{16,64}", catalog_id):
            raise ValueError("a catalog id is 16 to 64 hex digits")
        self._marker = f"managed:{catalog_id}/"
        self._marker_bytes = self._marker.encode()

    def stored(self, container: str, key: str) -> str:
        """The form that documents keep."""
        return f"{self._marker}{container}/{_quoted(key)}"

    def public(self, container: str, key: str, base: str) -> str:
        """The form that clients see, below a base URL without trailing slash."""
        return f"{base}{BLOBS_PATH}{container}/{_quoted(key)}"

    def locate(self, href: str, bases: Iterable[str]) -> BlobName | None:
        """What blob an href in either form names, signature or not; None where it is not ours."""
        path = self._blob_path(href, bases)
        if path is None:
            return None
        try:
            container, _, key = unquote(path, errors="strict").partition("/")
        except UnicodeDecodeError:
            return None
        if not is_container(container) or not is_key(key):
            return None
        return BlobName(container, key)

    def is_managed(self, href: str, bases: Iterable[str]) -> bool:
        """Does this href name a blob of this catalog, under any of its base URLs?"""
        return self.locate(href, bases) is not None

    def fold(self, href: str, bases: Iterable[str]) -> str:
        """The stored form of a managed href, signature dropped; any other href as it is."""
        name = self.locate(href, bases)
        return href if name is None else self.stored(*name)

    def unfold(self, document: bytes, base: str) -> bytes:
        """A JSON document with every stored href made public; the base is escaped as JSON asks."""
        return document.replace(self._marker_bytes, _blobs_below(base))

    def _blob_path(self, href: str, bases: Iterable[str]) -> str | None:
        """What stands behind marker or ``/blobs/``, still escaped, without query."""
        if href.startswith(self._marker):
            return re.split(r"[?#]", href[len(self._marker) :], maxsplit=1)[0]
        asked = _taken_apart(href)
        if asked is None:
            return None
        for base in bases:
            ours = _taken_apart(base)
            if ours is None or ours[0] != asked[0]:
                continue
            prefix = ours[1].rstrip("/") + BLOBS_PATH
            if asked[1].startswith(prefix):
                return asked[1][len(prefix) :]
        return None


@lru_cache(maxsize=64)
def _blobs_below(base: str) -> bytes:
    """Where blobs are under a base, escaped as JSON asks."""
    return orjson.dumps(base)[1:-1] + BLOBS_PATH.encode()


def _taken_apart(url: str) -> tuple[str, str] | None:
    """Origin (lower case, default port left out) and path."""
    match = _URL.match(url)
    if match is None:
        return None
    scheme = match[1].lower()
    return f"{scheme}://{match[2].lower().removesuffix(_DEFAULT_PORTS[scheme])}", match[3]


def _quoted(key: str) -> str:
    # `+` is escaped although a path may hold it: some clients read it as a space.
    return quote(key, safe="/(),")
