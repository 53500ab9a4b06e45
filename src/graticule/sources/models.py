"""Owns: what a registered source is, and how clients spell one (api.md 3.1).

A source is a container (an https address without query, or a folder) and how to read it: with a SAS token, or as a
managed identity; beyond the original with keys of S3 or Google, or with headers, which `kinds` reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from graticule.errors import InvalidAssetHref, InvalidRequestBody, SourceForbidden
from graticule.sources.guard import Guard
from graticule.sources.hrefs import Href, parse_href
from graticule.sources.places import FileHref
from graticule.stac.datetimes import parse_instant, rfc3339

Kind = Literal["SasToken", "BlobManagedIdentity", "S3", "Gcs", "HttpHeaders", "LocalFolder"]
SAS_TOKEN: Final = "SasToken"  # noqa: S105 - the name of a kind
MANAGED_IDENTITY: Final = "BlobManagedIdentity"
S3: Final = "S3"
GCS: Final = "Gcs"
HTTP_HEADERS: Final = "HttpHeaders"
LOCAL_FOLDER: Final = "LocalFolder"
KINDS: Final[dict[str, str]] = {
    SAS_TOKEN: "SAS token",
    MANAGED_IDENTITY: "managed identity",
    S3: "S3",
    GCS: "Google Cloud Storage",
    HTTP_HEADERS: "HTTP headers",
    LOCAL_FOLDER: "local folder",
}

#: Longest token and id, characters.
LONGEST: Final = 4096
#: In the place of an origin, for folders.
LOCAL_ORIGIN: Final = "file://"
_TOKEN: Final = re.compile(r"[!-~]+")
#: Azure Blob hosts, sovereign clouds included: the container is the one segment of the path.
_AZURE: Final = re.compile(r"\.blob\.(core\.|storage\.azure\.)")


@dataclass(frozen=True, slots=True)
class Source:
    """A registered source, without its secret. Times are µs since 1970."""

    id: str
    kind: Kind
    container_url: str
    created: int
    object_id: str | None
    expires: int | None
    warning: str | None  #: what the connection test found when it was last written
    details: Mapping[str, Any]  #: what is shown of its kind besides: region, machineRole, headerNames, clientId


@dataclass(frozen=True, slots=True)
class Definition:
    """What a client sent to make or replace a source; or one that is kept, with its secret opened."""

    kind: Kind
    #: Where: an https address without query, or a folder.
    container: Href | FileHref
    #: What is sealed: the SAS token; for kinds beyond the original a JSON object. None: the kind needs none.
    secret: str | None = field(default=None, repr=False)
    object_id: str | None = None
    expires: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def container_url(self) -> str:
        """As it is kept and shown."""
        if isinstance(self.container, FileHref):
            return self.container.url
        return f"{origin_of(self.container, short=True)}{self.container.path}"

    @property
    def href(self) -> Href:
        """The container of a source that is read over http(s)."""
        assert isinstance(self.container, Href)
        return self.container

    @property
    def origin(self) -> str:
        """Scheme, host and port, by which sources are found."""
        return LOCAL_ORIGIN if isinstance(self.container, FileHref) else origin_of(self.container)

    @property
    def needs_secret(self) -> bool:
        """Is a secret part of a source of this kind?"""
        return self.kind not in {MANAGED_IDENTITY, LOCAL_FOLDER} and not self.details.get("machineRole")

    @property
    def permissions(self) -> str | None:
        """What the token allows, a letter each; None where it does not say (a stored access policy does)."""
        return dict(parse_qsl(self.secret or "")).get("sp")

    def faults(self, now: int) -> list[str]:
        """What can be said against the token without asking the source."""
        found: list[str] = []
        if self.kind != SAS_TOKEN:
            return found
        if self.expires is not None and self.expires <= now:
            found.append(f"The SAS token expired at {rfc3339(self.expires)}.")
        if self.permissions is not None and "r" not in self.permissions:
            found.append("The SAS token does not allow reading (no 'r' in sp).")
        if self.permissions is not None and "l" not in self.permissions:
            found.append("The SAS token does not allow listing (no 'l' in sp): the connection was not tested.")
        return found


def origin_of(href: Href, *, short: bool = False) -> str:
    """Scheme, host and port; a default port is left out of the short form."""
    host = f"[{href.host}]" if ":" in href.host else href.host
    return f"{href.scheme}://{href.authority if short else f'{host}:{href.port}'}"


def is_plain(path: str) -> bool:
    """Does a path name the same thing to everybody? One with dot segments, however escaped, may not."""
    segments = re.split(r"[/\\]", unquote(unquote(path)))
    return not any(segment in {".", ".."} for segment in segments)


# --- parts of a document, for every kind


def lower(document: Mapping[str, Any]) -> dict[str, Any]:
    """The members by their names in lower case: clients spell them as they like."""
    return {name.lower(): value for name, value in document.items()}


def text_member(info: Mapping[str, Any], name: str, *, needed_for: str | None = None) -> str | None:
    """A member of connectionInfo that is a printable string.

    Raises:
        InvalidRequestBody: it is something else, or it is missing and needed (for what, the message says).
    """
    value = info.get(name.lower())
    if value is None and needed_for is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable():
        what = f", {needed_for}" if needed_for else " that is a text"
        raise InvalidRequestBody(f"The connectionInfo has no '{name}'{what}.", target=f"connectionInfo.{name}")
    return value


def read_container(value: object, guard: Guard) -> Href:
    """A container's address: http(s), without query, with at least one segment.

    Raises:
        InvalidRequestBody: it is none, or may not be read.
    """
    target = "connectionInfo.containerUrl"
    if not isinstance(value, str):
        raise InvalidRequestBody("The connectionInfo has no 'containerUrl'.", target=target)
    try:
        href = parse_href(value)
        guard.check(href)
    except (InvalidAssetHref, SourceForbidden) as exc:
        raise InvalidRequestBody(f"The containerUrl cannot be a source. {exc.message}", target=target) from None
    if "?" in value or "#" in value:
        raise InvalidRequestBody(
            f"The containerUrl {href} has a query: send the token as 'sasToken', and the URL alone.", target=target
        )
    path = href.path.rstrip("/")
    segments = path.split("/")[1:]
    if not path or "" in segments or not is_plain(path):
        raise InvalidRequestBody(
            f"The containerUrl {href} names no container: https://account.blob.core.windows.net/container",
            target=target,
        )
    if _AZURE.search(href.host) and len(segments) > 1:
        raise InvalidRequestBody(
            f"The containerUrl {href} has a path below the container: register the container itself.", target=target
        )
    return Href(href.scheme, href.host, href.port, path)


def read_sas(info: Mapping[str, Any], guard: Guard, *, secret_needed: bool) -> Definition:
    """A container with its token; without one where a replaced source may keep its own."""
    container = read_container(info.get("containerurl", info.get("containeruri")), guard)
    if info.get("sastoken") is None and not secret_needed:
        return Definition(SAS_TOKEN, container)
    token = _token(info.get("sastoken"))
    return Definition(SAS_TOKEN, container, secret=token, expires=_expiry(token))


# --- inside


def _token(value: object) -> str:
    target = "connectionInfo.sasToken"
    token = value.strip().removeprefix("?") if isinstance(value, str) else ""
    if not token:
        raise InvalidRequestBody("The connectionInfo has no 'sasToken'.", target=target)
    if len(token) > LONGEST or not _TOKEN.fullmatch(token) or "#" in token or "?" in token:
        raise InvalidRequestBody("The sasToken has characters that no query of a URL can carry.", target=target)
    fields = dict(parse_qsl(token))
    if "sig" not in fields:
        raise InvalidRequestBody("The sasToken has no signature (sig=…): copy the whole token.", target=target)
    if "ss" in fields or "srt" in fields:
        raise InvalidRequestBody(
            "The sasToken opens a whole storage account: make one for the container, with read and list.", target=target
        )
    return token


def _expiry(token: str) -> int | None:
    text = dict(parse_qsl(token)).get("se")
    if text is None:
        return None
    try:
        # Of the forms that Azure takes, the shortest is a date, and one is without seconds.
        return parse_instant(f"{text}T00:00:00Z" if len(text) == 10 else re.sub(r"(T\d\d:\d\d)Z$", r"\1:00Z", text))
    except ValueError:
        raise InvalidRequestBody(
            "The sasToken's expiry (se=…) is no time: copy the whole token.", target="connectionInfo.sasToken"
        ) from None
