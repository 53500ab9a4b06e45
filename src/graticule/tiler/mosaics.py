"""Owns: pixels of several layers, merged by a rule (``pixel_selection``), inside a render process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from morecantile import Tile as Place
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
from graticule.tiler.reading import Datasets, LayerReader

_POINT: Final = Point
_DEGREES: Final = CRS.from_epsg(4326)
_TILE_SIZE: Final = 256
#: An item that covers less of a tile is read there alone.
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
        missing, mask = np.ma.getmaskarray(self.mosaic), np.ma.getmaskarray(array)
        np.copyto(self.mosaic.data, array.data, where=missing & ~mask)
        self.mosaic.mask = missing & mask


def read_image(job: Job, datasets: Datasets) -> tuple[ImageData, tuple[str, ...]]:
    """Pixels of a job's area, and the ids of the items that they come from.

    Raises:
        OutsideData: no layer reaches there.
    """
    if not job.is_mosaic:
        return _layer(job, 0, datasets), (job.layers[0].item,)
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
            image = _layer(job, at, datasets)
        except OutsideData:
            continue
        if first is None:
            first = image
            method.cutline_mask = image.cutline_mask
            method.width, method.height, method.count = image.width, image.height, image.count
        if image.count != first.count:
            continue  # of another make than the topmost: its bands mean something else
        method.feed(_fitted(image, first))
        used.append(layer.item)
        if method.is_done and method.data is not None:
            break
    if first is None or method.data is None:
        raise OutsideData("No item reaches there.")
    merged = ImageData(method.data, bounds=first.bounds, crs=first.crs, cutline_mask=first.cutline_mask)
    merged.band_names = first.band_names if merged.count == first.count else [f"b{n + 1}" for n in range(merged.count)]
    return merged, tuple(used)


def _may_show(layer: Layer, method: MosaicMethodBase, first: ImageData) -> bool:
    """Can a layer have pixels where those above it have none? Only `first` knows without looking at them."""
    if not isinstance(method, FirstMethod) or layer.bounds is None or method.mosaic is None:
        return True
    if first.bounds is None or first.crs is None:
        return True
    west, south, east, north = layer.bounds
    if west > east:
        return True
    missing = np.any(np.ma.getmaskarray(method.mosaic), axis=0)
    try:
        box = transform_bounds(_DEGREES, first.crs, west, south, east, north, densify_pts=21)
    except RasterioError:  # it lies where this system has no coordinates
        return True
    left, bottom, right, top = first.bounds
    across, down = missing.shape[1] / (right - left), missing.shape[0] / (top - bottom)
    # Pixels around it count too: the box of an item is rounded, and resampling looks aside.
    columns = math.floor((box[0] - left) * across) - 2, math.ceil((box[2] - left) * across) + 2
    rows = math.floor((top - box[3]) * down) - 2, math.ceil((top - box[1]) * down) + 2
    return bool(missing[max(rows[0], 0) : max(rows[1], 0), max(columns[0], 0) : max(columns[1], 0)].any())


def _layer(job: Job, at: int, datasets: Datasets) -> ImageData:
    if isinstance(job.area, Tile) and (part := _part_of_tile(job, job.layers[at], job.area, datasets)) is not None:
        return part.read(job, at, datasets)
    reader = LayerReader(job.layers[at], job.selection, job.parameters, datasets, job.max_pixels)
    return reader.point(job.area) if isinstance(job.area, _POINT) else reader.image(job.area)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some pixels of a tile: what an item covers of it, which at low zooms is little.

    Without it a reader warps all of the tile at the resolution of the item's file.
    """

    tile: Bounds  #: in the tile's reference system
    crs: str
    size: int  #: of the tile, pixels
    column: int
    row: int
    width: int
    height: int

    def read(self, job: Job, at: int, datasets: Datasets) -> ImageData:
        """The layer's pixels there, and none in the rest of the tile."""
        left, bottom, right, top = self.tile
        across, down = (right - left) / self.size, (top - bottom) / self.size
        box = Box(
            (
                left + self.column * across,
                top - (self.row + self.height) * down,
                left + (self.column + self.width) * across,
                top - self.row * down,
            )
        )
        parameters = replace(
            job.parameters, coord_crs=self.crs, dst_crs=self.crs, width=self.width, height=self.height, buffer=0.0
        )
        image = LayerReader(job.layers[at], job.selection, parameters, datasets, job.max_pixels).image(box)
        shape = (image.count, self.size, self.size)
        whole = np.ma.MaskedArray(np.zeros(shape, image.array.dtype), mask=np.ones(shape, bool))
        rows, columns = slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)
        whole[:, rows, columns] = image.array
        found = ImageData(whole, bounds=self.tile, crs=CRS.from_string(self.crs))
        found.band_names = image.band_names
        return found


def _part_of_tile(job: Job, layer: Layer, tile: Tile, datasets: Datasets) -> _Part | None:
    """What a layer covers of a tile, in whole pixels; None where that is much of it, or not to be told.

    Raises:
        OutsideData: the one file of an item is elsewhere.
    """
    if job.parameters.padding or job.parameters.algorithm is not None:
        return None  # it may look at neighbours
    tms = grid(tile.tile_matrix_set)
    crs, size = tms.rasterio_crs.to_string(), _TILE_SIZE * job.parameters.scale
    if not crs.startswith("EPSG:"):
        return None
    left, bottom, right, top = tms.xy_bounds(Place(tile.x, tile.y, tile.z))
    if buffer := job.parameters.buffer:  # as rio-tiler does it
        across, down = (right - left) / size * buffer, (top - bottom) / size * buffer
        left, bottom, right, top = left - across, bottom - down, right + across, top + down
        size += round(2 * buffer)
    if layer.bounds is None:
        box = _box_of_file(layer, tile.tile_matrix_set, (right - left) * (top - bottom), datasets)
    else:
        box = _box(_DEGREES, tms.rasterio_crs, layer.bounds)
    if box is None:
        return None
    # A pixel around it counts too: the box of an item is rounded, and resampling looks aside.
    first = (
        math.floor((box[0] - left) / (right - left) * size) - 1,
        math.floor((top - box[3]) / (top - bottom) * size) - 1,
    )
    last = math.ceil((box[2] - left) / (right - left) * size) + 1, math.ceil((top - box[1]) / (top - bottom) * size) + 1
    column, row = max(first[0], 0), max(first[1], 0)
    width, height = min(last[0], size) - column, min(last[1], size) - row
    if layer.bounds is None and (width <= 0 or height <= 0):
        # rio-tiler compares bounds in the system of the file, which may bend half a world around it.
        check_tile(tile.tile_matrix_set, tile.z, tile.x, tile.y)
        raise OutsideData(f"Tile {tile.z}/{tile.x}/{tile.y} is outside the data of item {layer.item!r}.")
    if width <= 0 or height <= 0 or width * height > _PART_OF_TILE * size * size:
        return None
    return _Part((left, bottom, right, top), crs, size, column, row, width, height)


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
        raster.memory[known] = None if dataset.crs is None else _box(dataset.crs, crs, dataset.bounds)
    box: Bounds | None = raster.memory[known]
    if box is None or dataset.width * dataset.height * area < _MOST_WARPED * (box[2] - box[0]) * (box[3] - box[1]):
        return None
    return box


def _box(of: CRS, to: CRS, bounds: Bounds) -> Bounds | None:
    """Bounds in another system; None where that has no coordinates for them, or they cross the antimeridian."""
    if bounds[0] > bounds[2]:
        return None
    try:
        west, south, east, north = transform_bounds(of, to, *bounds, densify_pts=21)
    except (RasterioError, CPLE_BaseError):  # of another planet, or partly in the sky
        return None
    is_somewhere = west <= east and all(map(math.isfinite, (west, south, east, north)))
    return (west, south, east, north) if is_somewhere else None


def _fitted(image: ImageData, first: ImageData) -> np.ma.MaskedArray:
    if (image.width, image.height) == (first.width, first.height):
        return image.array
    height, width = first.height, first.width
    mask = resize_array(np.ma.getmaskarray(image.array).astype("uint8"), height, width).astype(bool)
    return np.ma.MaskedArray(resize_array(image.array.data, height, width), mask=mask)
