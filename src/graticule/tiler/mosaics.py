"""Owns: pixels of several layers, merged by a rule (``pixel_selection``), inside a render process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds
from rio_tiler.models import ImageData
from rio_tiler.mosaic.methods import PixelSelectionMethod
from rio_tiler.mosaic.methods.base import MosaicMethodBase
from rio_tiler.mosaic.methods.defaults import FirstMethod
from rio_tiler.utils import resize_array

from graticule.errors import OutsideData
from graticule.tiler.grids import grid
from graticule.tiler.jobs import Bounds, Box, Job, Layer, Point, Tile
from graticule.tiler.nearest import Part, bounds_in_set, bounds_of
from graticule.tiler.reading import Datasets, LayerReader

_POINT: Final = Point
_DEGREES: Final = CRS.from_epsg(4326)
_TILE_SIZE: Final = 256
#: An item that covers less of a tile is read there alone.
_MOST_OF_TILE: Final = 0.7
#: The same, where rio-tiler reads: it takes an item at another resolution then, unless that makes no difference.
_PART_OF_TILE: Final = 1 / 64


class _First(FirstMethod):
    """The topmost value of each pixel: as rio-tiler's, without a copy of the whole for each layer."""

    def feed(self, array: np.ma.MaskedArray | None) -> None:
        """Fill what is missing so far."""
        if array is None or self.mosaic is None:
            self.mosaic = array
            return
        self.feed_part(array, (slice(None), slice(None)))

    def feed_part(self, array: np.ma.MaskedArray, window: tuple[slice, slice]) -> None:
        """Fill what is missing in some rows and columns."""
        assert self.mosaic is not None
        # In place: masked arrays copy the whole of a mask that is given to them.
        own, mask = np.ma.getmask(self.mosaic), np.ma.getmaskarray(array)
        if own is np.ma.nomask:
            return
        missing = np.asarray(own)[:, *window]
        np.copyto(self.mosaic.data[:, *window], array.data, where=missing & ~mask)
        missing &= mask


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a layer: the whole area, or a part of the tile that it is."""

    image: ImageData
    part: Part | None = None

    def whole(self, job: Job) -> ImageData:
        """The image with the rest of the tile around it, which has no pixels."""
        if self.part is None:
            return self.image
        assert isinstance(job.area, Tile)
        tms, size = grid(job.area.tile_matrix_set), _TILE_SIZE * job.parameters.scale
        shape = (self.image.count, size, size)
        around = np.ma.MaskedArray(np.zeros(shape, self.image.array.dtype), mask=np.ones(shape, bool))
        around[:, *self.part.window] = self.image.array
        found = ImageData(around, bounds=bounds_in_set(job.area), crs=tms.rasterio_crs)
        found.band_names = self.image.band_names
        return found


def read_image(job: Job, datasets: Datasets) -> tuple[ImageData, tuple[str, ...]]:
    """Pixels of a job's area, and the ids of the items that they come from.

    Raises:
        OutsideData: no layer reaches there.
    """
    if not job.is_mosaic:
        return _layer(job, 0, datasets).whole(job), (job.layers[0].item,)
    chosen = job.parameters.pixel_selection
    method = _First() if chosen == "first" else PixelSelectionMethod[chosen].value()
    method.exit_when_filled = job.parameters.mosaic.exitwhenfull
    first: ImageData | None = None
    used: list[str] = []
    until = time.monotonic() + job.parameters.mosaic.time_limit
    for at, layer in enumerate(job.layers):
        if used and time.monotonic() > until:
            break
        if first is not None and method.exit_when_filled and not _may_show(layer, method, first):
            continue
        try:
            read = _layer(job, at, datasets)
        except OutsideData:
            continue
        if first is None:
            first = read.whole(job)
            method.cutline_mask = first.cutline_mask
            method.width, method.height, method.count = first.width, first.height, first.count
            method.feed(first.array)
        elif read.image.count != first.count:
            continue  # of another make than the topmost: its bands mean something else
        elif read.part is not None and isinstance(method, _First):
            method.feed_part(read.image.array, read.part.window)
        else:
            method.feed(_fitted(read.whole(job), first))
        used.append(layer.item)
        if method.is_done and method.data is not None:
            break
    if first is None or method.data is None:
        raise OutsideData("No item reaches there.")
    merged = ImageData(method.data, bounds=first.bounds, crs=first.crs, cutline_mask=first.cutline_mask)
    merged.band_names = first.band_names if merged.count == first.count else [f"b{n + 1}" for n in range(merged.count)]
    return merged, tuple(used)


@lru_cache(maxsize=8192)
def _box(bounds: Bounds, crs: CRS) -> Bounds | None:
    """Bounds in degrees in another system; None where it has no coordinates, or for those across the antimeridian."""
    if bounds[0] > bounds[2]:
        return None
    try:
        left, bottom, right, top = transform_bounds(_DEGREES, crs, *bounds, densify_pts=21)
    except RasterioError:
        return None
    return left, bottom, right, top


def _pixels(box: Bounds, bounds: Bounds, width: int, height: int) -> tuple[int, int, int, int]:
    """First and last row, first and last column of a box in a picture of `bounds`; it may lie outside.

    Pixels around it count too: the box of an item is rounded, and resampling looks aside.
    """
    left, bottom, right, top = bounds
    across, down = width / (right - left), height / (top - bottom)
    return (
        math.floor((top - box[3]) * down) - 1,
        math.ceil((top - box[1]) * down) + 1,
        math.floor((box[0] - left) * across) - 1,
        math.ceil((box[2] - left) * across) + 1,
    )


def _may_show(layer: Layer, method: MosaicMethodBase, first: ImageData) -> bool:
    """Can a layer have pixels where those above it have none? Only `first` knows without looking at them."""
    if not isinstance(method, FirstMethod) or layer.bounds is None or method.mosaic is None:
        return True
    if first.bounds is None or first.crs is None:
        return True
    box = _box(layer.bounds, first.crs)
    if box is None:
        return True
    missing = np.ma.getmaskarray(method.mosaic)
    top, bottom, left, right = _pixels(box, first.bounds, missing.shape[2], missing.shape[1])
    return bool(missing[:, max(top - 1, 0) : max(bottom + 1, 0), max(left - 1, 0) : max(right + 1, 0)].any())


def _layer(job: Job, at: int, datasets: Datasets) -> _Read:
    layer = job.layers[at]
    reader = LayerReader(layer, job.selection, job.parameters, datasets, job.max_pixels)
    if isinstance(job.area, _POINT):
        return _Read(reader.point(job.area))
    if isinstance(job.area, Tile) and (part := _part_of_tile(job, layer, job.area)) is not None:
        image = reader.part(job.area, part) or _read_alone(job, layer, job.area, part, datasets)
        if image is not None:
            return _Read(image, part)
    return _Read(reader.image(job.area))


def _part_of_tile(job: Job, layer: Layer, tile: Tile) -> Part | None:
    """What a layer covers of a tile, in whole pixels; None where that is nearly all of it, or not to be told."""
    if layer.bounds is None or job.parameters.buffer or job.parameters.padding:
        return None
    if job.parameters.algorithm is not None:
        return None  # it may look at neighbours
    tms, size = grid(tile.tile_matrix_set), _TILE_SIZE * job.parameters.scale
    box = _box(layer.bounds, tms.rasterio_crs)
    if box is None:
        return None
    found = _pixels(box, bounds_in_set(tile), size, size)
    row, last_row, column, last_column = (min(max(place, 0), size) for place in found)
    if last_row <= row or last_column <= column or (last_row - row) * (last_column - column) > _MOST_OF_TILE * size**2:
        return None
    return Part(row, column, last_row - row, last_column - column)


def _read_alone(job: Job, layer: Layer, tile: Tile, part: Part, datasets: Datasets) -> ImageData | None:
    """A little part of a tile as rio-tiler reads it; None where it is no little one.

    A reader of rio-tiler's would warp all of the tile at the resolution of the item's file.
    """
    tms, size = grid(tile.tile_matrix_set), _TILE_SIZE * job.parameters.scale
    crs = tms.rasterio_crs.to_string()
    if not crs.startswith("EPSG:") or part.width * part.height > _PART_OF_TILE * size**2:
        return None
    box = Box(bounds_of(part, bounds_in_set(tile), size))
    parameters = replace(job.parameters, coord_crs=crs, dst_crs=crs, width=part.width, height=part.height)
    return LayerReader(layer, job.selection, parameters, datasets, job.max_pixels).image(box)


def _fitted(image: ImageData, first: ImageData) -> np.ma.MaskedArray:
    if (image.width, image.height) == (first.width, first.height):
        return image.array
    height, width = first.height, first.width
    mask = resize_array(np.ma.getmaskarray(image.array).astype("uint8"), height, width).astype(bool)
    return np.ma.MaskedArray(resize_array(image.array.data, height, width), mask=mask)
