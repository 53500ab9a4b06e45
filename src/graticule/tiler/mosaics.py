"""Owns: pixels of several layers, merged by a rule (``pixel_selection``), inside a render process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from rasterio._err import CPLE_BaseError  # rasterio.errors does not name it
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds
from rio_tiler.models import ImageData
from rio_tiler.mosaic.methods import PixelSelectionMethod
from rio_tiler.mosaic.methods.base import MosaicMethodBase
from rio_tiler.mosaic.methods.defaults import FirstMethod
from rio_tiler.utils import resize_array

from graticule.errors import AssetUnreadable, OutsideData
from graticule.tiler.grids import check_tile, grid
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
#: Pixels of its file that a whole tile would take, were the file as large: to warp more takes seconds.
_MOST_WARPED: Final = 1 << 28


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
        bounds, size = _frame(job, job.area)
        shape = (self.image.count, size, size)
        around = np.ma.MaskedArray(np.zeros(shape, self.image.array.dtype), mask=np.ones(shape, bool))
        around[:, *self.part.window] = self.image.array
        found = ImageData(around, bounds=bounds, crs=grid(job.area.tile_matrix_set).rasterio_crs)
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
    """Bounds in degrees in another system; as `_transformed`."""
    return _transformed(_DEGREES, crs, bounds)


def _transformed(of: CRS, to: CRS, bounds: Bounds) -> Bounds | None:
    """Bounds in another system; None where that has no coordinates for them, or they cross the antimeridian."""
    if bounds[0] > bounds[2]:
        return None
    try:
        west, south, east, north = transform_bounds(of, to, *bounds, densify_pts=21)
    except (RasterioError, CPLE_BaseError):  # of another planet, or partly in the sky
        return None
    is_somewhere = west <= east and all(map(math.isfinite, (west, south, east, north)))
    return (west, south, east, north) if is_somewhere else None


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
    if isinstance(job.area, Tile) and (part := _part_of_tile(job, layer, job.area, datasets)) is not None:
        image = reader.part(job.area, part) or _read_alone(job, layer, job.area, part, datasets)
        if image is not None:
            return _Read(image, part)
    return _Read(reader.image(job.area))


def _frame(job: Job, tile: Tile) -> tuple[Bounds, int]:
    """The bounds of a picture of a tile, in its set's system, and its side in pixels; a buffer is part of it."""
    size, bounds = _TILE_SIZE * job.parameters.scale, bounds_in_set(tile)
    if buffer := job.parameters.buffer:  # as rio-tiler does it
        left, bottom, right, top = bounds
        across, down = (right - left) / size * buffer, (top - bottom) / size * buffer
        bounds = left - across, bottom - down, right + across, top + down
        size += round(2 * buffer)
    return bounds, size


def _part_of_tile(job: Job, layer: Layer, tile: Tile, datasets: Datasets) -> Part | None:
    """What a layer covers of a tile, in whole pixels; None where that is nearly all of it, or not to be told.

    Raises:
        OutsideData: the one file of an item is elsewhere.
    """
    if job.parameters.padding or job.parameters.algorithm is not None:
        return None  # it may look at neighbours
    bounds, size = _frame(job, tile)
    if layer.bounds is None:
        area = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1])
        box = _box_of_file(layer, tile.tile_matrix_set, area, datasets)
    else:
        box = _box(layer.bounds, grid(tile.tile_matrix_set).rasterio_crs)
    if box is None:
        return None
    row, last_row, column, last_column = (min(max(at, 0), size) for at in _pixels(box, bounds, size, size))
    if last_row <= row or last_column <= column:
        if layer.bounds is not None:
            return None
        # rio-tiler compares bounds in the system of the file, which may bend half a world around it.
        check_tile(tile.tile_matrix_set, tile.z, tile.x, tile.y)
        raise OutsideData(f"Tile {tile.z}/{tile.x}/{tile.y} is outside the data of item {layer.item!r}.")
    part = Part(row, column, last_row - row, last_column - column)
    return None if part.height * part.width > _MOST_OF_TILE * size**2 else part


def _box_of_file(layer: Layer, name: str, area: float, datasets: Datasets) -> Bounds | None:
    """Where the file of an item that is drawn by itself lies in a tile matrix set.

    None where a tile of this area is read as quickly as a whole, so that its pixels are exactly rio-tiler's.
    """
    if len(layer.sources) != 1 or layer.sources[0][1].reader != "raster":
        return None
    try:
        raster = datasets.raster(layer.sources[0][1].path)
    except (RasterioError, AssetUnreadable):  # whoever reads it tells why
        return None
    dataset, known = raster.dataset, ("box", name)
    if known not in raster.memory:
        crs = grid(name).rasterio_crs
        raster.memory[known] = None if dataset.crs is None else _transformed(dataset.crs, crs, dataset.bounds)
    box: Bounds | None = raster.memory[known]
    if box is None or dataset.width * dataset.height * area < _MOST_WARPED * (box[2] - box[0]) * (box[3] - box[1]):
        return None
    return box


def _read_alone(job: Job, layer: Layer, tile: Tile, part: Part, datasets: Datasets) -> ImageData | None:
    """A little part of a tile as rio-tiler reads it; None where it is no little one.

    A reader of rio-tiler's would warp all of the tile at the resolution of the item's file.
    """
    bounds, size = _frame(job, tile)
    crs = grid(tile.tile_matrix_set).rasterio_crs.to_string()
    if not crs.startswith("EPSG:") or part.width * part.height > _PART_OF_TILE * size**2:
        return None
    box = Box(bounds_of(part, bounds, size))
    parameters = replace(job.parameters, coord_crs=crs, dst_crs=crs, width=part.width, height=part.height, buffer=0.0)
    return LayerReader(layer, job.selection, parameters, datasets, job.max_pixels).image(box)


def _fitted(image: ImageData, first: ImageData) -> np.ma.MaskedArray:
    if (image.width, image.height) == (first.width, first.height):
        return image.array
    height, width = first.height, first.width
    mask = resize_array(np.ma.getmaskarray(image.array).astype("uint8"), height, width).astype(bool)
    return np.ma.MaskedArray(resize_array(image.array.data, height, width), mask=mask)
