"""Owns: whether an address may be connected to.

Whoever may post an item chooses an address that this machine then connects to. So by default only public unicast
addresses are reached, and only by https; an entry of ``GRATICULE_FETCH_ALLOW`` opens a host or a network, also for
plain http; besides, a command of the user's own may offer its files on loopback (`offers`). The judgement is about the
address that the socket will use, never about a name alone.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import idna

from graticule.errors import SourceForbidden
from graticule.settings import Settings
from graticule.sources.hrefs import Address, Href
from graticule.sources.offers import is_offered
from graticule.sources.places import FileHref

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA special-purpose registries (RFC 6890 and later), with multicast and class E; written out because what
# `ipaddress.is_global` answers differs between patch releases of Python.
_REFUSED_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network, unspecified
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is Alibaba Cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent: a public number that never leaves the machine's host
        "169.254.0.0/16",  # link-local; 169.254.169.254 is the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle Cloud's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
#: All that is global unicast; everything else (fc00::/7, fe80::/10, ff00::/8, ::/128, …) is refused by not being here.
_UNICAST_V6: Final = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo (2001::/32) among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: holds an IPv4 address, and nobody runs relays any more
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv4-mapped or NAT64 address stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Is this a unicast address of the open internet?"""
    address = embedded(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    # Addresses with an interface identifier of ISATAP (RFC 5214) hold an IPv4 address in their last 32 bits.
    if (int(address) >> 32) & 0xFDFF_FFFF == 0x5EFE:
        return False
    return address in _UNICAST_V6 and not any(address in network for network in _REFUSED_V6)


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """A host of the setting, for all its ports or for one."""

    host: str
    port: int | None

    def matches(self, href: Href) -> bool:
        """Is this the host of an href?"""
        return href.host.rstrip(".") == self.host and self.port in (None, href.port)


class Guard:
    """Decides about addresses, by the setting ``GRATICULE_FETCH_ALLOW``."""

    def __init__(self, settings: Settings) -> None:
        """Read the entries: a CIDR or a bare address is a network, anything else a host with or without port."""
        self._data_dir = settings.data_dir
        self._folders = settings.local_sources
        self._networks: list[Network] = []
        self._hosts: list[AllowedHost] = []
        for entry in settings.fetch_allow:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._hosts.append(allowed_host(entry))

    def check(self, href: Href) -> None:
        """Refuse what can be refused before a name is looked up.

        Raises:
            SourceForbidden: plain http to a host that no entry can allow, or an address that may not be reached.
        """
        if href.address is not None:
            if not self.admits(href, href.address):
                raise self.refusal(href)
        elif href.scheme == "http" and not self._networks and not self._allows_host(href):
            raise self.refusal(href)

    def check_file(self, place: FileHref) -> None:
        """Refuse a local file that is in no folder of ``GRATICULE_LOCAL_SOURCES``.

        Raises:
            SourceForbidden: it is in none.
        """
        if not any(PurePosixPath(place.path).is_relative_to(folder) for folder in self._folders):
            raise SourceForbidden(
                f"{place} may not be read: an operator names its folder, or one above it, in GRATICULE_LOCAL_SOURCES."
            )

    def admits(self, href: Href, address: Address) -> bool:
        """May this href be fetched from this address?"""
        if self._allows_host(href):
            return True
        plain = embedded(address)
        if any(plain in network for network in self._networks):
            return True
        if href.scheme == "https" and is_public(address):
            return True
        return plain.is_loopback and href.address == plain and is_offered(self._data_dir, href)

    def refusal(self, href: Href) -> SourceForbidden:
        """The error of a refused href: names the host as it was written, never an address that it resolved to."""
        if href.scheme == "http":
            return SourceForbidden(
                f"{href} may not be fetched over plain http: use https, or let an operator name {href.authority} in "
                "GRATICULE_FETCH_ALLOW."
            )
        return SourceForbidden(
            f"{href} may not be fetched: the host {href.authority} is not on the open internet. If this catalog is to "
            "read from it, an operator names it in GRATICULE_FETCH_ALLOW."
        )

    def _allows_host(self, href: Href) -> bool:
        return any(entry.matches(href) for entry in self._hosts)


def allowed_host(entry: str) -> AllowedHost:
    """Read ``host[:port]`` of a setting."""
    host, colon, port = entry.rpartition(":")
    if not colon or entry.endswith("]"):
        host, port = entry, ""
    host = host.strip("[]").lower().rstrip(".")
    if ":" in host:
        host = ipaddress.IPv6Address(host).compressed
    elif not host.isascii():
        host = idna.encode(host, uts46=True).decode("ascii")
    return AllowedHost(host, int(port) if port else None)
