"""Owns: what a search finds as a target: a registered search, or a whole collection (api.md 6.3, 6.4)."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from graticule.catalog import Catalog, described
from graticule.errors import InvalidParameter, NotFound, OutsideData
from graticule.stac.bbox import BBox
from graticule.stac.cql2 import parse_filter
from graticule.stac.cql2.expressions import all_of
from graticule.stac.documents import JsonObject
from graticule.stac.search import Search, parse_search
from graticule.tiler.jobs import Bounds, Layer
from graticule.tiler.parameters import MosaicLimits
from graticule.tiler.registrations import Registration
from graticule.tiler.targets import WORLD, Files, asset_keys, item_bounds, layer_of

#: Parameters that choose items (api.md 5.3, F).
FILTERS: Final = ("ids", "bbox", "query", "sortby", "datetime")
#: Layers that are kept, by the digest of their documents.
_KEPT_LAYERS: Final = 20_000
#: Items at the top that are looked into for their assets.
_MOST_LOOKED: Final = 10
#: What they have is believed for so long, seconds: each tile of a viewport asks.
_KEYS_SECONDS: Final = 2.0
_KEPT_KEYS: Final = 1_000


@dataclass(frozen=True, slots=True)
class ZoomLimits:
    """The zooms that a document about tiles offers; None: those of the tile matrix set."""

    lowest: int | None = None
    highest: int | None = None


class Layers:
    """Layers of items, made once for each document: a document that changes is another one."""

    def __init__(self, files: Files) -> None:
        """Take what finds files."""
        self._files = files
        self._kept: OrderedDict[tuple[bytes, tuple[str, ...]], Layer | InvalidParameter] = OrderedDict()
        self._keys: OrderedDict[Search, tuple[float, tuple[str, ...]]] = OrderedDict()

    def of(self, document: bytes, assets: tuple[str, ...]) -> Layer | InvalidParameter:
        """The layer of an item; the error where one of the assets is not stored here."""
        key = hashlib.blake2b(document, digest_size=16).digest(), assets
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        made = self._kept[key] = self._make(orjson.loads(document), assets)
        if len(self._kept) > _KEPT_LAYERS:
            self._kept.popitem(last=False)
        return made

    async def keys(self, catalog: Catalog, search: Search) -> tuple[str, ...]:
        """Keys of the assets that a request may name: those of the first items that a search finds."""
        read_at, kept = self._keys.get(search, (0.0, ()))
        if kept and time.monotonic() - read_at < _KEYS_SECONDS:
            return kept
        page = await catalog.search(replace(search, limit=_MOST_LOOKED))
        of_items = [asset_keys(orjson.loads(item), self._files) for item in page.items]
        keys = tuple(dict.fromkeys(key for some in of_items for key in some))
        self._keys[search] = time.monotonic(), keys
        while len(self._keys) > _KEPT_KEYS:
            self._keys.popitem(last=False)
        return keys

    def _make(self, item: JsonObject, assets: tuple[str, ...]) -> Layer | InvalidParameter:
        try:
            layer = layer_of(item, assets, self._files)
        except InvalidParameter as exc:
            return exc
        return replace(layer, bounds=item_bounds(item))


class SearchTarget:
    """The items that a search finds, merged."""

    is_mosaic = True

    def __init__(
        self,
        title: str,
        search: Search,
        catalog: Catalog,
        layers: Layers,
        *,
        extent: Bounds | None = None,
        zooms: ZoomLimits | None = None,
    ) -> None:
        """Take the search; `open_collection` and `open_registered` make one.

        Without an `extent` it is that of the collection, where there is one only.
        """
        self.title = title
        self.zooms = zooms or ZoomLimits()
        self.search = search
        self._extent = extent
        self._catalog = catalog
        self._layers = layers

    @property
    def collections(self) -> tuple[str, ...]:
        """The collections that the search names, in its filter too; none where it looks into all."""
        # Imported here, because numpy and shapely are for processes that search.
        from graticule.catalog.narrowing import Narrowing  # noqa: PLC0415

        return Narrowing(self.search).collections or ()

    async def keys(self) -> tuple[str, ...]:
        """As `Target.keys`: those of the first items that are found."""
        return await self._layers.keys(self._catalog, self.search)

    async def bounds(self) -> Bounds:
        """As `Target.bounds`. Tiles need it not, so it is found when it is asked for."""
        if self._extent is not None:
            return self._extent
        if len(names := self.collections) != 1:
            return WORLD
        try:
            return _extent(orjson.loads(described(await self._catalog.collection(names[0]))))
        except NotFound:
            return WORLD

    async def layers(
        self, assets: Sequence[str], around: Bounds | None = None, limits: MosaicLimits | None = None
    ) -> tuple[Layer, ...]:
        """As `Target.layers`.

        Items that lack one of the assets are left out, and those whose assets lie elsewhere, if others are left.

        Raises:
            OutsideData: no item touches the area.
            InvalidParameter: the assets of all items lie elsewhere.
        """
        names = tuple(dict.fromkeys(assets))
        found = [self._layers.of(document, names) for document in await self._pick(around, limits, with_spares=True)]
        usable = tuple(layer for layer in found if isinstance(layer, Layer) and len(layer.sources) == len(names))
        if not usable:
            for error in found:
                if isinstance(error, InvalidParameter):
                    raise InvalidParameter(error.message, target=error.target)
            raise OutsideData(f"No item of {self.title} with these assets lies there.")
        return usable

    async def items(self, around: Bounds | None, limits: MosaicLimits | None) -> list[JsonObject]:
        """The items that an area's picture is made of, the topmost first, as documents."""
        return [orjson.loads(item) for item in await self._pick(around, limits)]

    async def _pick(
        self, around: Bounds | None, limits: MosaicLimits | None, *, with_spares: bool = False
    ) -> list[bytes]:
        from graticule.catalog.picking import Wanted  # noqa: PLC0415 - shapely, as above

        limits = limits or MosaicLimits()
        area = None if around is None else _area(around)
        if around is not None and area is None:
            return []
        wanted = Wanted(
            around=area,
            most=limits.items_limit,
            scan=limits.scan_limit,
            seconds=limits.time_limit,
            stop_when_covered=limits.exitwhenfull,
            skip_hidden=limits.skipcovered,
            with_spares=with_spares,
        )
        return await self._catalog.pick(self.search, wanted)


async def open_collection(
    catalog: Catalog, layers: Layers, collection_id: str, filters: Mapping[str, str], cql: Sequence[JsonObject] = ()
) -> SearchTarget:
    """A collection, or what ``ids``, ``bbox``, ``query`` and ``datetime`` leave of it, in the order of ``sortby``.

    Args:
        catalog: where to look.
        layers: kept from request to request.
        collection_id: which.
        filters: of the query.
        cql: CQL2-JSON expressions that hold besides: those of a mosaic of the collection's configuration.

    Raises:
        NotFound: there is no such collection.
        InvalidParameter: a filter cannot be used.
    """
    await catalog.collection(collection_id)  # NotFound
    given = {name: value for name, value in filters.items() if name in FILTERS and value}
    search = parse_search({**given, "collections": [collection_id]})
    if cql:
        both = parse_filter({"filter": {"op": "and", "args": list(cql)}, "filter-lang": "cql2-json"})
        search = replace(search, filter=all_of(search.filter, both))
    return SearchTarget(collection_id, search, catalog, layers)


def open_registered(catalog: Catalog, layers: Layers, registration: Registration) -> SearchTarget:
    """A registered search as a target."""
    metadata = registration.metadata
    box = registration.bounds or registration.search.bbox
    return SearchTarget(
        metadata.get("name") or registration.id,
        registration.search,
        catalog,
        layers,
        extent=None if box is None else (box.west, box.south, box.east, box.north),
        zooms=ZoomLimits(metadata.get("minzoom"), metadata.get("maxzoom")),
    )


def _extent(collection: JsonObject) -> Bounds:
    """The whole extent: the first box (STAC Collection, Spatial Extent Object)."""
    try:
        box: list[Any] = collection["extent"]["spatial"]["bbox"][0]
        half = len(box) // 2
        west, south, east, north = (float(value) for value in (box[0], box[1], box[half], box[half + 1]))
    except (KeyError, IndexError, TypeError, ValueError):
        return WORLD
    return west, south, east, north


def _area(around: Bounds) -> BBox | None:
    """A box in degrees as one on the globe: across the antimeridian west is greater than east. None: there is none."""
    west, south, east, north = around
    south, north = max(south, -90.0), min(north, 90.0)
    if south > north:
        return None
    if west > east:  # as reference systems give a box that crosses it
        east += 360.0
    if east - west >= 360.0:
        return BBox(-180.0, south, 180.0, north)
    return BBox(_longitude(west), south, _longitude(east, east=True), north)


def _longitude(value: float, *, east: bool = False) -> float:
    if -180.0 <= value <= 180.0:
        return value
    turned = (value + 180.0) % 360.0 - 180.0
    return 180.0 if east and turned == -180.0 else turned
