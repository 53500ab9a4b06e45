"""The URLs that answers carry: right behind any proxy, and with the api-version where one is due.

The base is ``GRATICULE_PUBLIC_URL`` where that is set, else what the client itself used. ``X-Forwarded-*``, and where
that is missing ``Forwarded`` (RFC 7239), is believed only from ``GRATICULE_TRUSTED_PROXIES``.

A proxy that serves the catalog under a path may take that path off or leave it on: `RootPath` recognises it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote, urlencode, urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from graticule.settings import Settings

#: What stands for itself in a URL (RFC 3986 section 2.3).
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
_HOST = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~-]+)(:\d{1,5})?$")


@dataclass(frozen=True)
class Links:
    """Makes the URLs of one answer."""

    base: str  #: scheme, authority and root path, no trailing slash
    version: str  #: the api-version of the request
    explicit: bool  #: did the request name it? Then ordinary links carry it too (api.md 1.1).

    def to(self, /, *segments: str, **query: str | int | None) -> str:
        """An ordinary link; path segments are percent-encoded."""
        return self._url(segments, query, versioned=self.explicit)

    def versioned(self, /, *segments: str, **query: str | int | None) -> str:
        """A link that clients call as it is: always with the api-version."""
        return self._url(segments, query, versioned=True)

    def _url(self, segments: tuple[str, ...], query: dict[str, str | int | None], *, versioned: bool) -> str:
        path = "/".join([escaped(segment) for segment in segments])
        pairs = [(name, str(value)) for name, value in query.items() if value is not None]
        if versioned:
            pairs.append(("api-version", self.version))
        return f"{self.base}/{path}" + (f"?{urlencode(pairs)}" if pairs else "")


def escaped(segment: str) -> str:
    """A segment of a path, percent-encoded; most need nothing of it, and are told in a third of the time."""
    return segment if _UNRESERVED.fullmatch(segment) else quote(segment, safe="")


def base_url(request: HTTPConnection, settings: Settings) -> str:
    """Scheme, authority and root path as the client sees them, without a trailing slash."""
    if settings.public_url is not None:
        return settings.public_url
    headers = request.headers
    scheme, host = request.scope.get("scheme", "http"), headers.get("host", "")
    prefix = request.scope.get("root_path", "")
    if settings.trusted_proxies and _is_trusted(request, settings.trusted_proxies):
        standard = _forwarded(headers.get("forwarded"))
        scheme = (_first(headers.get("x-forwarded-proto")) or standard.get("proto") or scheme).lower()
        host = _first(headers.get("x-forwarded-host")) or standard.get("host") or host
        port = _first(headers.get("x-forwarded-port"))
        if port and port.isdecimal() and ":" not in host.rsplit("]", 1)[-1] and port != _DEFAULT_PORTS.get(scheme):
            host = f"{host}:{port}"
        prefix = _prefix(headers.get("x-forwarded-prefix")) or prefix
        scheme = scheme if scheme in _DEFAULT_PORTS else "http"
    if not _HOST.match(host):  # never echo what could not be an authority
        host = "localhost"
    return f"{scheme}://{host}{quote(prefix.rstrip('/'), safe='/') if prefix else ''}"


class RootPath:
    """Middleware: where a proxy leaves the path on under which it serves the catalog, routes begin behind it."""

    def __init__(self, app: ASGIApp, settings: Settings, names: frozenset[str]) -> None:
        """In front of an application whose routes begin with one of these names."""
        self._app = app
        self._settings = settings
        self._names = names
        public = urlsplit(settings.public_url or "").path
        self._public = unquote(public).rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if scope["type"] == "http" and not scope.get("root_path"):
            for prefix in (self._public, self._forwarded(scope)):
                if prefix and self._is_left_on(prefix, scope["path"]):
                    # The bare prefix is the root, which is written with a slash.
                    path = scope["path"] if scope["path"] != prefix else prefix + "/"
                    scope = {**scope, "root_path": prefix, "path": path}
                    break
        await self._app(scope, receive, send)

    def _forwarded(self, scope: Scope) -> str:
        proxies = self._settings.trusted_proxies
        if not proxies:
            return ""
        request = HTTPConnection(scope)
        if "x-forwarded-prefix" not in request.headers or not _is_trusted(request, proxies):
            return ""
        return _prefix(request.headers["x-forwarded-prefix"])

    def _is_left_on(self, prefix: str, path: str) -> bool:
        """Is the path below the prefix, and not a route of the same name with the prefix taken off?"""
        if path != prefix and not path.startswith(prefix + "/"):
            return False
        first = path[len(prefix) :].split("/")[1:2]
        return first[0] in self._names if first not in ([], [""]) else prefix.split("/")[1] not in self._names


_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _forwarded(value: str | None) -> dict[str, str]:
    """The parameters of the first element of a ``Forwarded`` header: what the proxy next to the client saw."""
    pairs = (pair.partition("=") for pair in (_first(value) or "").split(";"))
    return {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}


def _prefix(value: str | None) -> str:
    """A path as ``X-Forwarded-Prefix`` has it: no slash at its end, one at its beginning."""
    path = (_first(value) or "").strip("/")
    return f"/{path}" if path else ""


def _first(value: str | None) -> str | None:
    return value.split(",", 1)[0].strip() if value else None


def _is_trusted(request: HTTPConnection, proxies: tuple[str, ...]) -> bool:
    if request.client is None:
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    # A socket that listens on "::" shows its IPv4 clients as ::ffff:a.b.c.d.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in _networks(proxies))


@lru_cache(maxsize=8)
def _networks(proxies: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(proxy, strict=False) for proxy in proxies)
