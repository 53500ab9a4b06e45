"""Owns: the tiler as other rooms see it: targets by id, jobs from requests, answers from render processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from graticule.catalog import Catalog
from graticule.errors import RenderLimitExceeded
from graticule.settings import Settings
from graticule.storage import AssetStore, ManagedHrefs
from graticule.tiler.jobs import Area, Bounds, Job, Tile, Verb
from graticule.tiler.parameters import RenderParameters
from graticule.tiler.places import check_area
from graticule.tiler.pool import RenderPool
from graticule.tiler.process import Answer
from graticule.tiler.searches import SearchTarget, open_collection
from graticule.tiler.selection import Selection
from graticule.tiler.targets import Files, ItemTarget, Target

#: Side of a tile at scale 1, pixels.
TILE_SIZE = 256


class Tiler:
    """Pixels of a catalog. One event loop; close it there."""

    def __init__(self, *, settings: Settings, catalog: Catalog, store: AssetStore, hrefs: ManagedHrefs) -> None:
        """Take the parts; nothing is started."""
        self._settings = settings
        self._catalog = catalog
        self.files = Files(store, hrefs)
        self._pool: RenderPool | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the render processes at once."""
        if self._pool is not None:
            await self._pool.close()

    async def item(self, collection_id: str, item_id: str) -> ItemTarget:
        """An item as a target. Raises NotFound."""
        return await ItemTarget.open(self._catalog, self.files, collection_id, item_id)

    async def collection(self, collection_id: str, filters: Mapping[str, str]) -> SearchTarget:
        """The items of a collection, merged, as a target; as `open_collection`."""
        return await open_collection(self._catalog, self.files, collection_id, filters)

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
        layers = await target.layers(selection.assets, around, parameters.mosaic)
        if not isinstance(area, Tile):
            # A tile's is in its path; the same query without one must not make another job.
            parameters = replace(parameters, scale=1)
        return Job(verb, layers, selection, parameters, area, target.is_mosaic, limit)

    async def run(self, job: Job) -> Answer:
        """Do it; as `RenderPool.run`."""
        if self._pool is None or asyncio.get_running_loop().is_closed():
            self._pool = RenderPool(self._settings)
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
