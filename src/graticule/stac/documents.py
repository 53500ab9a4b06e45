"""STAC documents: JSON objects typed by TypedDicts, so that unknown members survive.

Shapes: STAC Item and Collection specification 1.0.0 and 1.1.0.
"""

from __future__ import annotations

import random
from typing import Any, Final, TypedDict

JsonObject = dict[str, Any]

#: Bits of a UUID that say its version and variant, and those that are left.
_VERSION_4: Final = 4 << 76 | 2 << 62
_FREE: Final = ~(0xF << 76 | 3 << 62)


class Link(TypedDict, total=False):
    """A link object."""

    rel: str
    href: str
    type: str
    title: str
    method: str
    body: JsonObject
    merge: bool


class Asset(TypedDict, total=False):
    """An asset object."""

    href: str
    type: str
    title: str
    description: str
    roles: list[str]


class Item(TypedDict, total=False):
    """A STAC Item: a GeoJSON Feature."""

    type: str
    stac_version: str
    stac_extensions: list[str]
    id: str
    geometry: JsonObject | None
    bbox: list[float]
    properties: JsonObject
    links: list[Link]
    assets: dict[str, Asset]
    collection: str


class Collection(TypedDict, total=False):
    """A STAC Collection."""

    type: str
    stac_version: str
    stac_extensions: list[str]
    id: str
    title: str
    description: str
    license: str
    extent: JsonObject
    links: list[Link]
    assets: dict[str, Asset]
    item_assets: dict[str, JsonObject]
    keywords: list[str]
    providers: list[JsonObject]
    summaries: JsonObject


def new_etag() -> str:
    """A value for ``_msft:etag``: a UUID of version 4 (RFC 9562), another one each time, and no secret.

    The system's own source of random bits is asked once in each process, and not for each item: that takes longer than
    to write its geometry. Python does so again in processes that are forked.
    """
    digits = f"{random.getrandbits(128) & _FREE | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
