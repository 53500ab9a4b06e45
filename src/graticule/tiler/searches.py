"""Owns: what a search finds as a target, newest first; a whole collection is one (api.md 6.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Final

import orjson

from graticule.catalog import Catalog
from graticule.errors import OutsideData
from graticule.stac.bbox import BBox
from graticule.stac.cql2 import Expression
from graticule.stac.cql2.expressions import all_of
from graticule.stac.documents import JsonObject
from graticule.stac.search import Search, parse_search
from graticule.tiler.jobs import Bounds, Layer
from graticule.tiler.parameters import MosaicLimits
from graticule.tiler.targets import WORLD, Files, asset_keys, layer_of

#: Parameters that choose items (api.md 5.3, F).
FILTERS: Final = ("ids", "bbox", "query", "sortby", "datetime")


class SearchTarget:
    """The items that a search finds, merged."""

    is_mosaic = True

    def __init__(self, title: str, search: Search, extent: Bounds, catalog: Catalog, files: Files) -> None:
        """Take the search; `open_collection` makes one."""
        self.title = title
        self._search = search
        self._extent = extent
        self._catalog = catalog
        self._files = files

    async def keys(self) -> tuple[str, ...]:
        """As `Target.keys`: those of the first item that is found."""
        page = await self._catalog.search(replace(self._search, limit=1))
        return asset_keys(orjson.loads(page.items[0]), self._files) if page.items else ()

    async def bounds(self) -> Bounds:
        """As `Target.bounds`."""
        return self._extent

    def narrowed(self, condition: Expression) -> SearchTarget:
        """The same where a further condition holds."""
        made = copy(self)
        made._search = replace(self._search, filter=all_of(self._search.filter, condition))  # noqa: SLF001 - our own
        return made

    async def layers(
        self, assets: Sequence[str], around: Bounds | None = None, limits: MosaicLimits | None = None
    ) -> tuple[Layer, ...]:
        """As `Target.layers`.

        Raises:
            OutsideData: no item touches the area.
        """
        found = await self.items(around, limits)
        layers = tuple(layer_of(item, assets, self._files) for item in found)
        usable = tuple(layer for layer in layers if len(layer.sources) == len(set(assets)))
        if not usable:
            raise OutsideData(f"No item of {self.title} with these assets lies there.")
        return usable

    async def items(self, around: Bounds | None, limits: MosaicLimits | None) -> list[JsonObject]:
        """The items that touch an area, the topmost first, as documents."""
        limits = limits or MosaicLimits()
        search = replace(self._search, limit=min(limits.items_limit, limits.scan_limit))
        if around is not None:
            box = _common(search.bbox, around)
            if box is None:
                return []
            search = replace(search, bbox=box)
        return [orjson.loads(item) for item in (await self._catalog.search(search)).items]


async def open_collection(
    catalog: Catalog, files: Files, collection_id: str, filters: Mapping[str, str]
) -> SearchTarget:
    """A collection, or what ``ids``, ``bbox``, ``query`` and ``datetime`` leave of it, in the order of ``sortby``.

    Raises:
        NotFound: there is no such collection.
        InvalidParameter: a filter cannot be used.
    """
    record = await catalog.collection(collection_id)
    given = {name: value for name, value in filters.items() if name in FILTERS and value}
    search = parse_search({**given, "collections": [collection_id]})
    return SearchTarget(collection_id, search, _extent(orjson.loads(record.doc)), catalog, files)


def _extent(collection: JsonObject) -> Bounds:
    """The whole extent: the first box (STAC Collection, Spatial Extent Object)."""
    try:
        box: list[Any] = collection["extent"]["spatial"]["bbox"][0]
        half = len(box) // 2
        west, south, east, north = (float(value) for value in (box[0], box[1], box[half], box[half + 1]))
    except (KeyError, IndexError, TypeError, ValueError):
        return WORLD
    return west, south, east, north


def _common(first: BBox | None, around: Bounds) -> BBox | None:
    """Where a filter's box and an area overlap; a little more where the filter crosses the antimeridian."""
    west, south, east, north = around
    west, east = max(west, -180.0), min(east, 180.0)
    south, north = max(south, -90.0), min(north, 90.0)
    if first is not None:
        south, north = max(south, first.south), min(north, first.north)
        if not first.crosses_antimeridian:
            west, east = max(west, first.west), min(east, first.east)
        elif first.east < west and east < first.west:
            return None
    return BBox(west, south, east, north) if west <= east and south <= north else None
