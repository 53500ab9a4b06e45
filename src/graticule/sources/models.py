"""Owns: what a registered source is, and how clients spell one (api.md 3.1).

A source is a container (an https address without query) and how to read it: with a SAS token, or as a managed identity.
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
from graticule.stac.datetimes import parse_instant, rfc3339

Kind = Literal["SasToken", "BlobManagedIdentity"]
SAS_TOKEN: Final = "SasToken"  # noqa: S105 - the name of a kind
MANAGED_IDENTITY: Final = "BlobManagedIdentity"
_KINDS: Final[dict[str, Kind]] = {kind.lower(): kind for kind in (SAS_TOKEN, MANAGED_IDENTITY)}

#: Longest token and object id, characters.
_LONGEST: Final = 4096
_TOKEN: Final = re.compile(r"[!-~]+")
#: Azure Blob hosts, sovereign clouds included: the container is the one segment of the path.
_AZURE: Final = re.compile(r"\.blob\.(core\.|storage\.azure\.)")


@dataclass(frozen=True, slots=True)
class Source:
    """A registered source, without its token. Times are µs since 1970."""

    id: str
    kind: Kind
    container_url: str
    created: int
    object_id: str | None
    expires: int | None
    warning: str | None  #: what the connection test found when it was last written


@dataclass(frozen=True, slots=True)
class Definition:
    """What a client sent to make or replace a source."""

    kind: Kind
    container: Href
    token: str | None = field(default=None, repr=False)
    object_id: str | None = None
    expires: int | None = None

    @property
    def container_url(self) -> str:
        """As it is kept and shown."""
        return f"{origin_of(self.container, short=True)}{self.container.path}"

    @property
    def permissions(self) -> str | None:
        """What the token allows, a letter each; None where it does not say (a stored access policy does)."""
        return dict(parse_qsl(self.token or "")).get("sp")

    def faults(self, now: int) -> list[str]:
        """What can be said against the token without asking the source."""
        found = []
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


def read_definition(document: Mapping[str, Any], guard: Guard, *, token_needed: bool = True) -> Definition:
    """Read a source as clients send it: names in any case, the kind as kind or sourceType, a token with its `?`.

    Args:
        document: the body.
        guard: says whether the container may be read at all.
        token_needed: False where a replaced source may keep its token.

    Raises:
        InvalidRequestBody: a part is missing or wrong; the message names it, and never shows a token.
    """
    members = _lower(document)
    kind = _kind(members.get("kind", members.get("sourcetype")))
    info = members.get("connectioninfo")
    if not isinstance(info, dict):
        raise InvalidRequestBody("The source has no 'connectionInfo' object.", target="connectionInfo")
    info = _lower(info)
    container = _container(info.get("containerurl", info.get("containeruri")), guard)
    if kind == MANAGED_IDENTITY:
        object_id = info.get("objectid")
        if not isinstance(object_id, str) or not 0 < len(object_id) <= _LONGEST or not object_id.isprintable():
            raise InvalidRequestBody(
                "The connectionInfo has no 'objectId', the id of the managed identity.",
                target="connectionInfo.objectId",
            )
        return Definition(kind, container, object_id=object_id)
    if info.get("sastoken") is None and not token_needed:
        return Definition(kind, container)
    token = _token(info.get("sastoken"))
    return Definition(kind, container, token=token, expires=_expiry(token))


# --- inside


def _lower(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in document.items()}


def _kind(value: object) -> Kind:
    kind = _KINDS.get(value.lower()) if isinstance(value, str) else None
    if kind is None:
        raise InvalidRequestBody(f"The source's 'kind' must be {SAS_TOKEN} or {MANAGED_IDENTITY}.", target="kind")
    return kind


def _container(value: object, guard: Guard) -> Href:
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


def _token(value: object) -> str:
    target = "connectionInfo.sasToken"
    token = value.strip().removeprefix("?") if isinstance(value, str) else ""
    if not token:
        raise InvalidRequestBody("The connectionInfo has no 'sasToken'.", target=target)
    if len(token) > _LONGEST or not _TOKEN.fullmatch(token) or "#" in token or "?" in token:
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
