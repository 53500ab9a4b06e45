"""Owns: hrefs that are no http(s) addresses: objects of S3, Google and Azure by their own schemes, and local files.

They are URIs: what is escaped in them is unescaped once. Where they are is known only with the registered sources.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, unquote, urljoin

from graticule.errors import InvalidAssetHref
from graticule.sources.hrefs import MAX_HREF, Href, parse_href, redact

Scheme = Literal["s3", "gs", "az"]

_SCHEMES: Final[dict[str, Scheme]] = {"s3": "s3", "gs": "gs", "az": "az"}
_SPLIT: Final = re.compile(r"^(s3|gs|az|abfss?|file)://([^/]*)(/.*)?\Z", re.IGNORECASE | re.DOTALL)
#: Names of buckets and containers; each store's own rules are narrower.
BUCKET: Final = re.compile(r"(?!.*\.\.)[a-z0-9$][a-z0-9._-]{1,220}[a-z0-9]\Z")
#: The two spellings of an Azure account: what fsspec and Hadoop write becomes the blob's https address.
_AZURE_HOST: Final = re.compile(r"([a-z0-9-]{3,40}(?:\.z\d+)?)\.(?:blob|dfs)\.([a-z0-9.-]+)\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Longest key of an object, bytes: S3's and Google's limit.
_LONGEST_KEY: Final = 1024


@dataclass(frozen=True, slots=True)
class ObjectHref:
    """An object of a store, whose host only a registered source or the store's public address tells."""

    scheme: Scheme
    #: Bucket, on Azure the container.
    bucket: str
    #: Unescaped; never empty, without dot segments.
    key: str

    @property
    def path(self) -> str:
        """As it stands in an https address of the store."""
        return f"/{self.bucket}/{quote(self.key, safe='/~')}"

    def __str__(self) -> str:
        """For messages."""
        return redact(f"{self.scheme}://{self.bucket}/{self.key}")


@dataclass(frozen=True, slots=True)
class FileHref:
    """A file of the machine that the catalog's worker runs on."""

    #: Absolute, unescaped, without dot segments and without a trailing slash.
    path: str

    @property
    def url(self) -> str:
        """As an href."""
        return f"file://{quote(self.path, safe='/~')}"

    def __str__(self) -> str:
        """For messages."""
        return redact(self.url)


Place = Href | ObjectHref | FileHref


def parse_place(href: Any) -> Place:
    """Read an href of any scheme that is understood: http, https, s3, gs, az, abfs, abfss, file.

    ``az://container/key`` is an object of whichever registered account has the container;
    ``az://account.blob.core.windows.net/container/key`` and ``abfss://container@account.dfs.core.windows.net/key``
    name the account, and become https addresses.

    Raises:
        InvalidAssetHref: it is none; the message says why, and shows neither query nor password.
    """
    split = _SPLIT.match(href) if isinstance(href, str) and len(href) <= MAX_HREF else None
    if split is None:
        return parse_href(href)
    shown = redact(href)
    scheme, authority, path = split[1].lower(), split[2], split[3] or ""
    if _CONTROL.search(href) or "?" in href or "#" in href:
        raise InvalidAssetHref(f"The href {shown} has a query, a fragment or control characters: escape them in keys.")
    if scheme == "file":
        if authority.lower() not in {"", "localhost"}:
            raise InvalidAssetHref(f"The href {shown} names a host: a local file is file:///folder/file.")
        return FileHref("/" + "/".join(_segments(path, shown)))
    if scheme in {"abfs", "abfss"}:
        container, at, host = authority.partition("@")
        if not at:
            raise InvalidAssetHref(f"The href {shown} names no account: abfss://container@account.dfs.…/path.")
        return _blob(host, container, path, shown)
    if scheme == "az" and _AZURE_HOST.match(authority):
        container, _, key = path.removeprefix("/").partition("/")
        return _blob(authority, container, f"/{key}", shown)
    if not BUCKET.match(authority):
        raise InvalidAssetHref(f"The href {shown} names no bucket or container: {scheme}://name/path.")
    return ObjectHref(_SCHEMES[scheme], authority, "/".join(_segments(path, shown)))


def join(base: str, href: str) -> str:
    """The absolute form of a relative reference in a document that was read from `base` (RFC 3986 section 5.2)."""
    split = _SPLIT.match(base)
    if split is None or split[1].lower() == "file":
        return urljoin(base, href)
    # The standard library resolves against schemes that it knows.
    joined = urljoin(f"http{base[len(split[1]) :]}", href)
    return f"{split[1]}{joined.removeprefix('http')}" if joined.startswith("http://") else joined


def _segments(path: str, shown: str) -> list[str]:
    key = unquote(path.removeprefix("/"), errors="surrogateescape")
    segments = key.split("/")
    if not key or any(segment in {"", ".", ".."} for segment in segments) or _CONTROL.search(key):
        raise InvalidAssetHref(f"The href {shown} has a path with empty or dot segments, or none: name the object.")
    if len(key.encode("utf-8", "surrogateescape")) > _LONGEST_KEY:
        raise InvalidAssetHref(f"The href {shown} has a path of more than {_LONGEST_KEY} bytes.")
    return segments


def _blob(host: str, container: str, path: str, shown: str) -> Href:
    match = _AZURE_HOST.match(host.lower())
    if match is None or not BUCKET.match(container):
        raise InvalidAssetHref(f"The href {shown} names no container of an Azure account.")
    key = "/".join(_segments(path, shown))
    return parse_href(f"https://{match[1]}.blob.{match[2]}/{container}/{quote(key, safe='/~')}")
