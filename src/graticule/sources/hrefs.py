"""Owns: what an href means before anybody connects: scheme, host, port, and the bytes of the request line.

Only the authority is read and normalised. Everything behind it is sent byte for byte: what follows the first ``?`` is
the query (RFC 3986 section 3.4 allows a second one), escapes stay as they were written, dot segments stay. Signatures
depend on it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

import idna

from graticule.errors import InvalidAssetHref

#: Longer hrefs are refused, characters.
MAX_HREF: Final = 16_384

_SCHEME: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_SPLIT: Final = re.compile(r"^(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_BAD_CHARACTER: Final = re.compile(
    r"[\x00-\x20\x7f-\x9f\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060\u3000\ufeff]"
)
_LABELS: Final = re.compile(r"^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?\Z")
# A last label like these makes inet_aton and browsers read the whole host as an IPv4 number (WHATWG URL, 3.5).
_NUMBER: Final = re.compile(r"^(\d+|0x[0-9a-f]*)\Z")
_QUAD: Final = re.compile(r"^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}\Z")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Href:
    """An absolute http(s) address that can be asked for."""

    #: ``http`` or ``https``.
    scheme: str
    #: Lower case ASCII: a name, a canonical IPv4 address, or an IPv6 address without brackets.
    host: str
    #: Given or the scheme's own.
    port: int
    #: Path and query as they go into the request line; begins with ``/``.
    path_query: str

    @property
    def address(self) -> Address | None:
        """The address, where the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL; a default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port (RFC 6454): whom a credential is for."""
        return self.scheme, self.host, self.port

    @property
    def path(self) -> str:
        """The path without the query."""
        return self.path_query.partition("?")[0]

    def __str__(self) -> str:
        """For messages: without the query, which may hold a signature."""
        return _shorten(f"{self.scheme}://{self.authority}{self.path}")

    def __repr__(self) -> str:
        """As `str`: tracebacks and logs show it too."""
        return f"<Href {self}>"

    def follow(self, location: str) -> Href:
        """Where a redirect from here leads; a query is never carried over.

        Raises:
            InvalidAssetHref: the location is no http(s) address.
        """
        # Header bytes that are not ASCII arrive as surrogates or Latin-1; they are taken for UTF-8, as browsers do.
        location = location.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
        if not _SCHEME.match(location):
            location = urljoin(f"{self.scheme}://{self.authority}{self.path_query}", location)
        return parse_href(location)


def parse_href(href: Any) -> Href:
    """Read an href.

    Raises:
        InvalidAssetHref: relative, another scheme, white space or control characters, no host, a bad host or port,
            a user name or password. The message says which, and shows neither query nor password.
    """
    if not isinstance(href, str):
        raise InvalidAssetHref("The href is not a string: use an absolute http(s) URL.")
    shown = redact(href)
    if len(href) > MAX_HREF:
        raise InvalidAssetHref(f"The href {shown} is longer than {MAX_HREF} characters.")
    if _BAD_CHARACTER.search(href):
        raise InvalidAssetHref(f"The href {shown} has white space or control characters: percent-encode them.")
    split = _SPLIT.match(href)
    if split is None:
        raise InvalidAssetHref(_not_absolute(href, shown))
    scheme, authority, rest = split[1].lower(), split[2], split[3]
    if "@" in authority:
        raise InvalidAssetHref(f"The href {shown} has a user name or password: use a signed URL instead.")
    host, port = _authority(authority, scheme, shown)
    try:
        path_query = _ascii(rest if rest.startswith("/") else f"/{rest}")
    except UnicodeEncodeError:
        raise InvalidAssetHref(f"The href {shown} has characters that are no Unicode text.") from None
    return Href(scheme, host, port, path_query)


def redact(href: str) -> str:
    """The href as it may be shown: without query, fragment, user name and password."""
    bare = re.split(r"[?#]", href, maxsplit=1)[0]
    bare = re.sub(
        r"^((?!https?:)[A-Za-z][A-Za-z0-9+.-]*:)(?!//).+$", "\\1\N{HORIZONTAL ELLIPSIS}", bare, flags=re.DOTALL
    )
    bare = re.sub(r"^([^/]*//)[^/]*@", r"\1", bare)
    # `user:pa/ss@host`: what stands behind a colon that is no port may be a password.
    bare = re.sub(r"^([^/]*//[^/:\[\]]*:)(?!\d*(/|$)).*$", "\\1\N{HORIZONTAL ELLIPSIS}", bare, flags=re.DOTALL)
    return _shorten(_BAD_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", bare))


def _shorten(text: str, limit: int = 300) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= limit else f"{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"


def _not_absolute(href: str, shown: str) -> str:
    scheme = _SCHEME.match(href)
    if not href:
        return "The href is empty: use an absolute http(s) URL."
    if scheme is None:
        return f"The href {shown} is relative: use an absolute http(s) URL."
    if scheme[1].lower() in _DEFAULT_PORTS:
        return f"The href {shown} has no host: use an absolute http(s) URL."
    return f"The href {shown} has the scheme {scheme[1]!r}: use an absolute http(s) URL."


def _authority(authority: str, scheme: str, shown: str) -> tuple[str, int]:
    if authority.startswith("["):
        literal, closed, after = authority[1:].partition("]")
        if not closed or (after and not after.startswith(":")):
            raise InvalidAssetHref(f"The href {shown} has a malformed IPv6 address.")
        return _ipv6(literal, shown), _port(after[1:], scheme, shown)
    host, _, port = authority.partition(":")
    if not host:
        raise InvalidAssetHref(f"The href {shown} has no host: use an absolute http(s) URL.")
    return _name(host, shown), _port(port, scheme, shown)


def _port(text: str, scheme: str, shown: str) -> int:
    if text == "":
        return _DEFAULT_PORTS[scheme]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise InvalidAssetHref(f"The href {shown} has a port that is not a number from 1 to 65535.")
    return int(text)


def _ipv6(literal: str, shown: str) -> str:
    # A zone id (RFC 6874) means something on one host's links only, so it has no place in a catalog.
    if "%" in literal:
        raise InvalidAssetHref(f"The href {shown} has an IPv6 zone id.")
    try:
        return ipaddress.IPv6Address(literal).compressed
    except ValueError:
        raise InvalidAssetHref(f"The href {shown} has a malformed IPv6 address.") from None


def _name(host: str, shown: str) -> str:
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise InvalidAssetHref(f"The href {shown} has a host that is no domain name.") from None
    host = host.lower()
    if len(host) > 254 or not _LABELS.match(host):
        raise InvalidAssetHref(f"The href {shown} has a host that is no domain name.")
    bare = host.rstrip(".")
    if not _NUMBER.match(bare.rpartition(".")[2]):
        return host
    if not _QUAD.match(bare) or any(int(part) > 255 for part in bare.split(".")):
        raise InvalidAssetHref(f"The href {shown} has an IPv4 address that is not four decimal numbers.")
    return bare


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    return "".join(
        character if character.isascii() else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in text
    )
