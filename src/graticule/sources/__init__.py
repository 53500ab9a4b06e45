"""Owns: the way from an href to bytes, and whether an address may be connected to at all.

Refuses: to know what the bytes are for. Everything that a user's URL points at is opened here and nowhere else.
Entry points: `Fetcher`, `Guard`, `parse_href`, `redact`.
"""

from graticule.sources.fetcher import Fetcher
from graticule.sources.guard import Guard
from graticule.sources.hrefs import Href, parse_href, redact
from graticule.sources.transfer import Download

__all__ = ["Download", "Fetcher", "Guard", "Href", "parse_href", "redact"]
