"""Owns: the way from an href to bytes, whether an address may be connected to at all, and the registered sources.

Refuses: to know what the bytes are for. Everything that a user's URL points at is opened here and nowhere else.
Entry points: `Fetcher`, `Sources`, `Guard`, `offer`, `parse_href`, `parse_place`, `redact`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graticule.sources.guard import Guard
from graticule.sources.hrefs import Href, parse_href, redact
from graticule.sources.offers import offer
from graticule.sources.places import FileHref, join, parse_place
from graticule.sources.registry import Sources

if TYPE_CHECKING:
    from graticule.sources.fetcher import Fetcher
    from graticule.sources.transfer import Download

__all__ = [
    "Download",
    "Fetcher",
    "FileHref",
    "Guard",
    "Href",
    "Sources",
    "join",
    "offer",
    "parse_href",
    "parse_place",
    "redact",
]


def __getattr__(name: str) -> Any:
    """The client is imported when it is first asked for: an API process keeps sources and seldom reads one."""
    if name == "Fetcher":
        from graticule.sources.fetcher import Fetcher  # noqa: PLC0415

        return Fetcher
    if name == "Download":
        from graticule.sources.transfer import Download  # noqa: PLC0415

        return Download
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
