"""The URLs that answers carry: right behind any proxy, and with the api-version where one is due.

The base is ``GRATICULE_PUBLIC_URL`` where that is set, else what the client itself used. ``X-Forwarded-*`` is believed
only from ``GRATICULE_TRUSTED_PROXIES``.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlencode

from starlette.requests import HTTPConnection

from graticule.settings import Settings

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
        path = "/".join(quote(segment, safe="") for segment in segments)
        pairs = [(name, str(value)) for name, value in query.items() if value is not None]
        if versioned:
            pairs.append(("api-version", self.version))
        return f"{self.base}/{path}" + (f"?{urlencode(pairs)}" if pairs else "")


def base_url(request: HTTPConnection, settings: Settings) -> str:
    """Scheme, authority and root path as the client sees them, without a trailing slash."""
    if settings.public_url is not None:
        return settings.public_url
    headers = request.headers
    scheme, host = request.scope.get("scheme", "http"), headers.get("host", "")
    prefix = request.scope.get("root_path", "")
    if settings.trusted_proxies and _is_trusted(request, settings.trusted_proxies):
        scheme = (_first(headers.get("x-forwarded-proto")) or scheme).lower()
        host = _first(headers.get("x-forwarded-host")) or host
        port = _first(headers.get("x-forwarded-port"))
        if port and port.isdecimal() and ":" not in host.rsplit("]", 1)[-1] and port != _DEFAULT_PORTS.get(scheme):
            host = f"{host}:{port}"
        prefix = (_first(headers.get("x-forwarded-prefix")) or prefix).strip("/")
        prefix = f"/{prefix}" if prefix else ""
        scheme = scheme if scheme in _DEFAULT_PORTS else "http"
    if not _HOST.match(host):  # never echo what could not be an authority
        host = "localhost"
    return f"{scheme}://{host}{quote(prefix, safe='/')}"


_DEFAULT_PORTS = {"http": "80", "https": "443"}


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
