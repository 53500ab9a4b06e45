"""Owns: tiles by nearest neighbour, straight from decoded blocks of the overview that suits.

Where a tile's pixels lie in the file is computed for a coarse grid of points and interpolated between, as GDAL's warper
does it too (it allows an eighth of a pixel, we half of that). `read` answers None for what it does not do; then
rio-tiler does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyproj
from morecantile import Tile as GridTile
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # rasterio.errors does not name it
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import calculate_default_transform, transform
from rasterio.windows import from_bounds
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.models import ImageData

from graticule.tiler.blocks import Blocks, Layout, Raster
from graticule.tiler.grids import grid
from graticule.tiler.jobs import Tile

#: Pixels of the file by which an interpolated position may be off.
_TOLERANCE: Final = 0.06
#: Points along each side of the coarse grid; the next finer one where the last is not good enough.
_GRIDS: Final = (9, 17, 33, 65)
#: GDAL takes an overview that is up to this much coarser than what is asked for (``GDALBandGetBestOverviewLevel2``).
_OVERSAMPLING: Final = 1.2
#: A tile that needs more pixels of the file than this is not for us: the file lacks overviews.
_MOST_PIXELS: Final = 1 << 22
#: Beyond, Web Mercator ends (and rio-tiler looks at the file up to there for its resolution).
_MERCATOR_LATITUDE: Final = 85.06


@dataclass(frozen=True)
class _Way:
    """From a tile matrix set to a file."""

    transformer: pyproj.Transformer | None  #: None: they have the same reference system
    resolution: tuple[float, float]  #: of the file, in units of the set


@dataclass(frozen=True, slots=True)
class Part:
    """Some pixels of a tile, counted from its upper left one."""

    row: int
    column: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)


@dataclass(frozen=True)
class _Positions:
    """Where each pixel of a tile, or of a part of it, lies in a level of the file, fractions of pixels."""

    rows: NDArray[np.float32]  #: one for each row, or for each pixel, counted from `first_row`
    columns: NDArray[np.float32]
    first_row: int
    first_column: int
    bounds: tuple[float, float, float, float]  #: least and largest row, least and largest column


def read(
    raster: Raster,
    blocks: Blocks,
    tile: Tile,
    size: int,
    indexes: tuple[int, ...] | None,
    nodata: float | None,
    part: Part | None = None,
) -> ImageData | None:
    """The pixels of a tile; None where this is not the way to read them.

    Args:
        raster: the file.
        blocks: keeps what is decoded.
        tile: one that its set has.
        size: of the picture, pixels.
        indexes: bands, from 1; None: all.
        nodata: the value that means nothing; None: what the file says.
        part: only these pixels, as they are in the whole tile.

    Raises:
        TileOutsideBounds: the file does not reach there.
        RasterioError: the file is damaged.
    """
    if not raster.is_regular:
        return None
    way = _way(raster, tile.tile_matrix_set)
    if way is None:
        return None
    bounds = bounds_in_set(tile)
    level, scale_rows, scale_columns = _level(raster, way, bounds, size)
    positions = _positions(raster, way, bounds, size, scale_rows, scale_columns, part)
    if positions is None:
        return None
    bands = raster.bands if indexes is None else indexes
    layout = Layout.of(raster.dtype, len(bands))
    dataset = raster.level(level)
    least_row, last_row, least_column, last_column = positions.bounds
    box = (
        max(0, math.floor(least_row)), min(dataset.height, math.floor(last_row) + 1),
        max(0, math.floor(least_column)), min(dataset.width, math.floor(last_column) + 1),
    )  # fmt: skip
    if box[0] >= box[1] or box[2] >= box[3]:
        # The tile's outermost centres are half a pixel away from its edges, which may touch the file.
        margin_rows, margin_columns = (last_row - least_row) / size, (last_column - least_column) / size
        if (
            part is not None
            or last_row < -margin_rows or least_row > dataset.height + margin_rows
            or last_column < -margin_columns or least_column > dataset.width + margin_columns
        ):  # fmt: skip
            raise TileOutsideBounds(f"Tile(x={tile.x}, y={tile.y}, z={tile.z}) is outside bounds")
        return None
    if (box[1] - box[0]) * (box[3] - box[2]) > _MOST_PIXELS:
        return None
    pixels = blocks.window(raster, level, bands, layout, box)
    places, inside = _places(positions, box)
    values = layout.unpack(np.ascontiguousarray(pixels.units).reshape(-1).take(places, mode="clip"))
    nodata = raster.dataset.nodata if nodata is None else nodata
    valid = None if nodata is not None or pixels.valid is None else pixels.valid.reshape(-1).take(places, mode="clip")
    made = ImageData(
        _masked(values, nodata, valid, inside),
        bounds=bounds if part is None else bounds_of(part, bounds, size),
        crs=grid(tile.tile_matrix_set).rasterio_crs,
        nodata=nodata,
    )
    made.band_names = [f"b{band}" for band in bands]
    return made


# --- what is known about a file --------------------------------------------------------------------------------------


def _way(raster: Raster, name: str) -> _Way | None:
    """How positions of a set become those of a file; None where rio-tiler knows better."""
    if name not in raster.memory:
        raster.memory[name] = _find_way(raster, grid(name).rasterio_crs)
    found: _Way | None = raster.memory[name]
    return found


def _find_way(raster: Raster, crs: CRS) -> _Way | None:
    dataset = raster.dataset
    if dataset.crs == crs:
        return _Way(None, dataset.res[::-1])
    west, south, east, north = dataset.bounds
    if dataset.crs.is_geographic and (west < -180.000001 or east > 180.000001):
        return None  # across the antimeridian
    width, height = dataset.width, dataset.height
    try:
        if dataset.crs.is_geographic and crs.to_epsg() == 3857:
            south, north = max(south, -_MERCATOR_LATITUDE), min(north, _MERCATOR_LATITUDE)
            if south >= north:
                return None
            window = from_bounds(west, south, east, north, dataset.transform)
            width, height = round(window.width), round(window.height)
        to, _, _ = calculate_default_transform(dataset.crs, crs, width, height, west, south, east, north)
        transformer = _transformer(crs.to_wkt(), dataset.crs.to_wkt())
        if not _agree(dataset.crs, crs, transformer, (west, south, east, north), dataset.res):
            return None
    except (RasterioError, CRSError, CPLE_BaseError, pyproj.exceptions.ProjError):
        return None
    return _Way(transformer, (-to.e, to.a))


@lru_cache(maxsize=256)
def _transformer(of: str, to: str) -> pyproj.Transformer:
    """Thousands of files have one reference system, and to make this takes longer than to draw a tile with it."""
    return pyproj.Transformer.from_crs(of, to, always_xy=True)


def _agree(
    file: CRS, crs: CRS, transformer: pyproj.Transformer, box: tuple[float, float, float, float], res: Any
) -> bool:
    """Do GDAL and pyproj, which may choose among several transformations, choose the same one here?"""
    west, south, east, north = box
    xs = [west, east, west, east, (west + east) / 2]
    ys = [south, south, north, north, (south + north) / 2]
    there = transform(file, crs, xs, ys)
    gdal = np.array(transform(crs, file, *there))
    ours = np.array(transformer.transform(*there))
    if not (np.isfinite(gdal).all() and np.isfinite(ours).all()):
        return False
    return bool((np.abs(gdal - ours) < 0.01 * np.array(res[::-1]).reshape(2, 1)).all())


@lru_cache(maxsize=4096)
def bounds_in_set(tile: Tile) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a tile, in its set's reference system."""
    found = grid(tile.tile_matrix_set).xy_bounds(GridTile(x=tile.x, y=tile.y, z=tile.z))
    return found.left, found.bottom, found.right, found.top


def bounds_of(part: Part, bounds: tuple[float, float, float, float], size: int) -> tuple[float, float, float, float]:
    """Where a part of a tile lies; `bounds` are the tile's, `size` its pixels."""
    left, bottom, right, top = bounds
    across, down = (right - left) / size, (top - bottom) / size
    return (
        left + part.column * across,
        top - (part.row + part.height) * down,
        left + (part.column + part.width) * across,
        top - part.row * down,
    )


def _level(raster: Raster, way: _Way, bounds: tuple[float, float, float, float], size: int) -> tuple[int, float, float]:
    """The overview that GDAL would read, and how many of its rows and columns are one of the file's."""
    left, bottom, right, top = bounds
    wanted = min((right - left) / size / way.resolution[1], (top - bottom) / size / way.resolution[0])
    best, level = 1.0, -1
    for at, factor in enumerate(raster.factors):
        if best < factor < wanted * _OVERSAMPLING:
            best, level = factor, at
    chosen = raster.level(level)
    return level, chosen.height / raster.dataset.height, chosen.width / raster.dataset.width


# --- where pixels lie ------------------------------------------------------------------------------------------------


def _positions(
    raster: Raster,
    way: _Way,
    bounds: tuple[float, float, float, float],
    size: int,
    scale_rows: float,
    scale_columns: float,
    part: Part | None,
) -> _Positions | None:
    left, bottom, right, top = bounds
    inverse = ~raster.dataset.transform

    def locate(places: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[Any, Any]:
        """Positions across and down the tile, of 0 to 1 → columns and rows of the level."""
        x, y = np.meshgrid(left + (right - left) * places, top - (top - bottom) * others)
        if way.transformer is not None:
            x, y = way.transformer.transform(x, y)
        return (inverse.a * x + inverse.c) * scale_columns, (inverse.e * y + inverse.f) * scale_rows

    for points in (2,) if way.transformer is None else _GRIDS:
        nodes = (0.5 + np.linspace(0, size - 1, points)) / size
        columns, rows = locate(nodes, nodes)
        if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
            return None
        if way.transformer is None:
            break
        middles = (nodes[1:] + nodes[:-1]) / 2
        exact = locate(middles, middles)
        error = max(
            float(np.abs(found - (of[1:, 1:] + of[1:, :-1] + of[:-1, 1:] + of[:-1, :-1]) / 4).max())
            for found, of in zip(exact, (columns, rows), strict=True)
        )
        if error <= _TOLERANCE:
            break
    else:
        return None
    extent = (float(rows.min()), float(rows.max()), float(columns.min()), float(columns.max()))
    first_row, first_column = math.floor(extent[0]), math.floor(extent[2])
    down = across = _weights(size, points)
    if part is not None:
        down, across = down[part.window[0]], across[part.window[1]]
    if np.ptp(columns, axis=0).max() < 1e-6 and np.ptp(rows, axis=1).max() < 1e-6:
        for_rows = (down @ (rows[:, 0] - first_row)).reshape(-1, 1).astype(np.float32)
        for_columns = (across @ (columns[0] - first_column)).reshape(1, -1).astype(np.float32)
    else:
        # Counted from the first one, 32 bits are exact to a thousandth of a pixel.
        narrow_down, narrow_across = down.astype(np.float32), across.astype(np.float32).T
        for_rows = narrow_down @ (rows - first_row).astype(np.float32) @ narrow_across
        for_columns = narrow_down @ (columns - first_column).astype(np.float32) @ narrow_across
    if part is not None:
        extent = (
            first_row + float(for_rows.min()),
            first_row + float(for_rows.max()),
            first_column + float(for_columns.min()),
            first_column + float(for_columns.max()),
        )
    return _Positions(for_rows, for_columns, first_row, first_column, extent)


@lru_cache(maxsize=32)
def _weights(size: int, points: int) -> NDArray[np.float64]:
    """What each of the points counts for each pixel in a row: rows of pixels, columns of points."""
    places = np.linspace(0, points - 1, size)
    before = np.minimum(places.astype(int), points - 2)
    made = np.zeros((size, points))
    made[np.arange(size), before] = 1 - (places - before)
    made[np.arange(size), before + 1] = places - before
    return made


def _places(positions: _Positions, box: tuple[int, int, int, int]) -> tuple[NDArray[np.intp], NDArray[np.bool_] | None]:
    """Where in the window each pixel lies, and which ones lie in it; None: all."""
    top, bottom, left, right = box
    least_row, last_row, least_column, last_column = positions.bounds
    # Positions count from the tile's least one, which may lie outside; none is negative, so cutting off rounds down.
    rows = positions.rows.astype(np.intp)
    columns = positions.columns.astype(np.intp)
    rows += positions.first_row - top
    columns += positions.first_column - left
    height, width = bottom - top, right - left
    is_inside = math.floor(least_row) >= top and math.floor(last_row) < bottom
    inside = None
    if not (is_inside and math.floor(least_column) >= left and math.floor(last_column) < right):
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    return rows * width + columns, inside


def _masked(
    values: NDArray[Any], nodata: float | None, valid: NDArray[np.bool_] | None, inside: NDArray[np.bool_] | None
) -> np.ma.MaskedArray[Any, Any]:
    """Values with the mask that rio-tiler gives them; nothing lies outside the file."""
    if inside is not None:
        outside = ~inside
        fill = 0 if nodata is None else nodata
        values[:, outside] = np.array(fill).astype(values.dtype)
    if nodata is not None:
        mask = np.empty(values.shape, np.bool_)  # band by band, which is how masks are reduced; values lie otherwise
        if math.isnan(nodata):
            np.isnan(values, out=mask)
        else:
            np.equal(values, nodata, out=mask)
        if inside is not None:
            mask |= outside
    else:
        mask = np.zeros(values.shape, np.bool_)
        if inside is not None:
            mask |= outside
        if valid is not None:
            mask |= ~valid
    return np.ma.MaskedArray(values, mask=mask)
