"""Owns: the tiler as other rooms see it: targets by id, jobs from requests, answers from render processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from graticule.catalog import Catalog
from graticule.configuration import Kind, TileSettings, store
from graticule.configuration.models import DEFAULT_TILE_SETTINGS
from graticule.database import Connection, Database
from graticule.errors import OutsideData, RenderLimitExceeded
from graticule.settings import Settings
from graticule.stac.documents import JsonObject
from graticule.stac.search import parse_search
from graticule.storage import AssetStore, ManagedHrefs
from graticule.tiler.jobs import Area, Bounds, Job, Tile, Verb
from graticule.tiler.parameters import MosaicLimits, RenderParameters
from graticule.tiler.places import check_area
from graticule.tiler.pool import RenderPool
from graticule.tiler.process import Answer
from graticule.tiler.registrations import Registrations
from graticule.tiler.searches import Layers, SearchTarget, open_collection, open_registered
from graticule.tiler.selection import Selection
from graticule.tiler.static_images import StaticImages
from graticule.tiler.targets import Files, ItemTarget, Target

#: Side of a tile at scale 1, pixels.
TILE_SIZE = 256


class Tiler:
    """Pixels of a catalog. One event loop; close it there."""

    def __init__(
        self, *, settings: Settings, database: Database, catalog: Catalog, assets: AssetStore, hrefs: ManagedHrefs
    ) -> None:
        """Take the parts; nothing is started."""
        self._settings = settings
        self._database = database
        self._catalog = catalog
        self.files = Files(assets, hrefs)
        self._layers = Layers(self.files)
        #: Searches that were registered.
        self.registrations = Registrations(database)
        #: Pictures that were asked for by POST.
        self.static_images = StaticImages(database)
        self._pool: RenderPool | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the render processes at once, and write down what was counted."""
        await self.registrations.close()
        if self._pool is not None:
            await self._pool.close()

    async def item(self, collection_id: str, item_id: str) -> ItemTarget:
        """An item as a target. Raises NotFound."""
        return await ItemTarget.open(self._catalog, self.files, collection_id, item_id)

    async def collection(
        self, collection_id: str, filters: Mapping[str, str], mosaic: str | None = None
    ) -> SearchTarget:
        """The items of a collection, merged, as a target; as `open_collection`.

        `mosaic` is the id of one that the collection's configuration has: only its items are meant. Raises NotFound.
        """
        cql: list[JsonObject] = []
        if mosaic is not None:
            found = await self._database.read(lambda tx: store.entry(tx, collection_id, Kind.MOSAIC, mosaic))
            cql = found.get("cql") or []
        return await open_collection(self._catalog, self._layers, collection_id, filters, cql)

    async def found(self, collection_id: str, search: JsonObject) -> SearchTarget:
        """What a search finds in a collection, as a target. Raises NotFound, InvalidParameter."""
        target = await self.collection(collection_id, {})
        target.search = parse_search({**search, "collections": [collection_id]})
        return target

    async def search(self, search_id: str) -> SearchTarget:
        """A registered search as a target. Raises NotFound."""
        registration = await self.registrations.get(search_id)
        self.registrations.count(search_id)
        return open_registered(self._catalog, self._layers, registration)

    async def tile_settings(self, target: SearchTarget, collection: str | None = None) -> TileSettings:
        """The tile settings that hold for a mosaic: of the collection that is named, else of those that it looks into.

        Of several the strictest count.
        """
        names = (collection,) if collection else target.collections
        if not names:
            return DEFAULT_TILE_SETTINGS
        found = await self._database.read(lambda tx: _tile_settings(tx, names))
        return {
            "minZoom": max(one.get("minZoom", 0) for one in found),
            "maxItemsPerTile": min(one.get("maxItemsPerTile", 1) for one in found),
            "defaultLocation": None,
        }

    async def limits(self, target: SearchTarget, parameters: RenderParameters, area: Area) -> MosaicLimits:
        """Where the search for an area's items ends: what the request says, within the collection's tile settings.

        Raises:
            OutsideData: tiles of the collection begin at a higher zoom.
        """
        limits = parameters.mosaic
        if not isinstance(area, Tile):
            return limits
        settings = await self.tile_settings(target, parameters.collection)
        if area.z < settings["minZoom"]:
            # As where there is no data: a map that is zoomed out stays empty, and shows no error.
            raise OutsideData(
                f"Tiles of {target.title} begin at zoom {settings['minZoom']} (tile settings, minZoom).", target="z"
            )
        return replace(limits, items_limit=min(limits.items_limit, settings["maxItemsPerTile"]))

    async def job(
        self,
        verb: Verb,
        target: Target,
        selection: Selection,
        parameters: RenderParameters,
        area: Area = None,
        *,
        around: Bounds | None = None,
    ) -> Job:
        """Put together what a render process is to do.

        Args:
            verb: what.
            target: whose pixels.
            selection: which bands; of this target's keys.
            parameters: how.
            area: where.
            around: the same in degrees, where the target is a mosaic.

        Raises:
            RenderLimitExceeded: the picture would be too large.
            InvalidParameter: the area lies nowhere.
        """
        check_area(area, parameters.coord_crs)
        limit = self._settings.render_max_pixels
        size = output_size(parameters, area)
        if size > limit:
            message = (
                f"A picture of {size} pixels is larger than {limit} (GRATICULE_RENDER_MAX_PIXELS): ask for a smaller"
                " width, height or max_size."
            )
            raise RenderLimitExceeded(message, target="width" if parameters.width else "max_size")
        limits = parameters.mosaic
        if isinstance(target, SearchTarget):
            limits = await self.limits(target, parameters, area)
            if verb == "zooms" or parameters.pixel_selection != "first":
                # Each item has its say, also where others lie above it.
                limits = replace(limits, exitwhenfull=False, skipcovered=False)
        layers = await target.layers(selection.assets, around, limits)
        if not isinstance(area, Tile):
            # A tile's is in its path; the same query without one must not make another job.
            parameters = replace(parameters, scale=1)
        return Job(verb, layers, selection, parameters, area, target.is_mosaic, limit)

    async def run(self, job: Job) -> Answer:
        """Do it; as `RenderPool.run`."""
        if self._pool is None or asyncio.get_running_loop().is_closed():
            self._pool = RenderPool(self._settings, read=self.files.read)
        return await self._pool.run(job)


def output_size(parameters: RenderParameters, area: Area) -> int:
    """Pixels of the picture that comes out, at most."""
    if isinstance(area, Tile):
        side = TILE_SIZE * parameters.scale + 2 * (parameters.buffer + parameters.padding)
        return int(side * side)
    if parameters.width and parameters.height:
        return parameters.width * parameters.height
    side = max(parameters.width or 0, parameters.height or 0) or parameters.max_size
    return side * side


def _tile_settings(tx: Connection, names: Iterable[str]) -> list[TileSettings]:
    return [store.tile_settings(tx, name) for name in names]
