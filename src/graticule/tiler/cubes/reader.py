"""A slice of a cube as rio-tiler's reader has it.

The cells that a request touches are read by xarray, scaled and masked as CF has it, and laid out as a raster in memory;
from there on it is one like any other, so that resampling, masks and points are the same for cubes and for GeoTIFFs.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import rasterio.features
import xarray as xr
from affine import Affine
from morecantile import Tile, TileMatrixSet
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import DatasetReader, MemoryFile
from rasterio.warp import transform_bounds
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io.base import SpatialMixin
from rio_tiler.io.rasterio import Reader
from rio_tiler.models import ImageData, Info, PointData

from graticule.errors import AssetUnreadable, InvalidParameter, RenderLimitExceeded
from graticule.tiler.cubes import axes, slicing
from graticule.tiler.cubes.opening import BROKEN, Cube
from graticule.tiler.datacube import CubeSelection
from graticule.tiler.remote import StoredPath

Bounds = tuple[float, float, float, float]

#: Cells of a band that are read as a whole; of a larger one, those around the area that is drawn.
WHOLE_CELLS: Final = 20_000_000
#: Cells that are read for one picture.
MOST_CELLS: Final = 100_000_000
#: Decoded bytes of the largest chunk: all of it is decoded for one cell.
_MOST_CHUNK: Final = 1 << 30
_KEPT_BYTES: Final = 256 << 20
_OPEN_CUBES: Final = 16
#: Cells around an area: what the widest kernel (lanczos) looks at, and one.
_MARGIN: Final = 4


class _Kept:
    """Cubes that are open and slices that were read, the last used kept. Stored files are written once."""

    def __init__(self) -> None:
        self._cubes: OrderedDict[str, Cube] = OrderedDict()
        self._slices: OrderedDict[tuple[Any, ...], tuple[MemoryFile, DatasetReader, int]] = OrderedDict()

    def cube(self, path: StoredPath) -> Cube:
        found = self._cubes.pop(str(path), None) or Cube(path)
        self._cubes[str(path)] = found
        if len(self._cubes) > _OPEN_CUBES:
            self._cubes.popitem(last=False)[1].close()
        return found

    def slice(self, key: tuple[Any, ...]) -> DatasetReader | None:
        if key not in self._slices:
            return None
        self._slices.move_to_end(key)
        return self._slices[key][1]

    def keep(self, key: tuple[Any, ...], memory: MemoryFile, dataset: DatasetReader, size: int) -> None:
        self._slices[key] = (memory, dataset, size)
        while len(self._slices) > 1 and sum(kept for _, _, kept in self._slices.values()) > _KEPT_BYTES:
            _, (old, opened, _) = self._slices.popitem(last=False)
            opened.close()
            old.close()


_KEPT: Final = _Kept()
#: Grids of open cubes, by variable and the reference system that requests give.
_GRIDS: Final[WeakKeyDictionary[Cube, dict[tuple[str, str | None], axes.Grid]]] = WeakKeyDictionary()
_MOST_GRIDS: Final = 200


def open_cube(path: StoredPath, tms: TileMatrixSet, chosen: CubeSelection) -> CubeReader:
    """A reader of what a request chooses from a managed file.

    Raises:
        AssetUnreadable: the file is of no format that is read here, damaged, no even grid, or refers to other files.
        InvalidParameter: a variable, dimension or value that is not there.
    """
    return CubeReader(_KEPT.cube(path), tms, chosen)


class CubeReader(SpatialMixin):
    """A variable's slice, with the verbs of rio-tiler's readers."""

    def __init__(self, cube: Cube, tms: TileMatrixSet, chosen: CubeSelection) -> None:
        """Work out what is meant; no value is read yet."""
        super().__init__(tms=tms)
        self._cube = cube
        self._chosen = chosen
        self._name = _variable(cube, chosen.subdataset_name)
        #: Then what is known about it is about the first variable, and nothing is drawn.
        self._is_ambiguous = chosen.subdataset_name is None and len(cube.variables) > 1
        self._array = cube.array(self._name)
        self._grid = _grid(cube, self._name, chosen.crs)
        self._slice = slicing.slice_of(self._array, (self._grid.x_dim, self._grid.y_dim), chosen)
        _check_chunks(self._array)
        self.bounds = self._grid.bounds
        self.crs = self._grid.crs
        self.transform = self._grid.transform
        self.height, self.width = self._grid.shape
        #: As a rasterio dataset, as far as it is asked for its bands.
        self.dataset = SimpleNamespace(count=len(self._slice.bands))

    @property
    def minzoom(self) -> int:
        """The zoom at which it is one tile, about."""
        return int(self._minzoom)

    @property
    def maxzoom(self) -> int:
        """The zoom whose pixels are as large as its cells."""
        return int(self._maxzoom)

    def info(self) -> Info:
        """About the slice, and which other variables there are."""
        found, array = self._slice, self._array
        bands = found.bands if len(found.left) < 2 else ()
        labels = [(f"b{n}", slicing.band_label(array, found, band)) for n, band in enumerate(bands[:1000], 1)]
        has_nodata = array.dtype.kind == "f"
        return Info.model_validate(
            {
                "bounds": self.bounds,
                "crs": self.crs.to_string(),
                "band_metadata": [(name, {}) for name, _ in labels],
                "band_descriptions": labels,
                "dtype": str(array.dtype),
                "nodata_type": "Nodata" if has_nodata else "None",
                "name": self._name,
                "count": len(bands) or math.prod(size for _, size in found.left),
                "width": self.width,
                "height": self.height,
                "dimensions": [str(dim) for dim in array.dims],
                "attrs": {str(name): _plain(value) for name, value in array.attrs.items()},
                "subdatasets": list(self._cube.variables),
            }
        )

    def tile(self, tile_x: int, tile_y: int, tile_z: int, **kwargs: Any) -> ImageData:
        """As rio-tiler's `Reader.tile`."""
        if not self.tile_exists(tile_x, tile_y, tile_z):
            raise TileOutsideBounds(f"Tile {tile_z}/{tile_x}/{tile_y} is outside bounds")
        left, bottom, right, top = self.tms.xy_bounds(Tile(tile_x, tile_y, tile_z))
        # The buffer and the padding are pixels of the tile.
        size = kwargs.get("tilesize") or 256
        more = ((kwargs.get("buffer") or 0) + (kwargs.get("padding") or 0)) / size
        reader, rest = self._raster(kwargs, (left, bottom, right, top), self.tms.rasterio_crs, more)
        return _named(reader.tile(tile_x, tile_y, tile_z, **rest), kwargs)

    def part(self, bbox: Bounds, **kwargs: Any) -> ImageData:
        """As rio-tiler's `Reader.part`."""
        reader, rest = self._raster(kwargs, bbox, kwargs["bounds_crs"])
        return _named(reader.part(bbox, **rest), kwargs)

    def feature(self, shape: dict[str, Any], **kwargs: Any) -> ImageData:
        """As rio-tiler's `Reader.feature`."""
        reader, rest = self._raster(kwargs, rasterio.features.bounds(shape), kwargs["shape_crs"])
        return _named(reader.feature(shape, **rest), kwargs)

    def preview(self, **kwargs: Any) -> ImageData:
        """As rio-tiler's `Reader.preview`."""
        reader, rest = self._raster(kwargs, None, None)
        return _named(reader.preview(**rest), kwargs)

    def point(self, lon: float, lat: float, **kwargs: Any) -> PointData:
        """As rio-tiler's `Reader.point`."""
        reader, rest = self._raster(kwargs, (lon, lat, lon, lat), kwargs["coord_crs"])
        return _named(reader.point(lon, lat, **rest), kwargs)

    # --- inside

    def _raster(
        self, kwargs: dict[str, Any], around: Bounds | None, crs: CRS | None, more: float = 0.0
    ) -> tuple[Reader, dict[str, Any]]:
        """The bands that are meant, as a raster that covers an area at least; and what is left to say to its reader."""
        if self._is_ambiguous:
            message = f"The file has several variables: choose one with subdataset_name from {_listed(self._cube)}."
            raise InvalidParameter(message, target="subdataset_name")
        indexes = kwargs.get("indexes")
        bands = self._slice.bands
        if indexes is not None and len(self._slice.left) < 2:
            bands = tuple(bands[index - 1] for index in indexes)
        slicing.check_reduced(self._slice, self._array, len(bands))
        rows, columns, stride = self._window(around, crs, more, len(bands))
        key = (str(self._cube.path), self._name, self._chosen, bands, rows, columns, stride)
        dataset = _KEPT.slice(key)
        if dataset is None:
            cells = self._cells(bands, rows, columns, stride)
            transform = self._grid.transform * Affine.translation(columns[0], rows[0]) * Affine.scale(stride)
            memory, dataset = _laid_out(cells, self.crs, transform)
            _KEPT.keep(key, memory, dataset, cells.nbytes)
        # The values are those that the file means already, so there is nothing to unscale.
        return Reader(None, dataset=dataset, tms=self.tms), {**kwargs, "indexes": None, "unscale": False}

    def _window(
        self, around: Bounds | None, crs: CRS | None, more: float, bands: int
    ) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Rows and columns that are read, and each how manieth of them."""
        height, width = self._grid.shape
        rows, columns = (0, height), (0, width)
        if height * width * bands > WHOLE_CELLS and around is not None and crs is not None:
            left, bottom, right, top = around
            wider, higher = (right - left) * more, (top - bottom) * more
            left, bottom, right, top = transform_bounds(
                crs, self.crs, left - wider, bottom - higher, right + wider, top + higher, densify_pts=21
            )
            if left <= right:
                inverse = ~self._grid.transform
                (first, upper), (last, lower) = inverse @ (left, top), inverse @ (right, bottom)
                columns = _clipped(first, last, width)
                rows = _clipped(upper, lower, height)
        cells = (rows[1] - rows[0]) * (columns[1] - columns[0]) * bands
        stride = max(1, math.ceil(math.sqrt(cells / MOST_CELLS)))
        return rows, columns, stride

    def _cells(
        self, bands: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int], stride: int
    ) -> NDArray[Any]:
        """Bands, rows and columns of values; those that are missing are not numbers."""
        picked = slice(*rows, stride), slice(*columns, stride)
        try:
            layers = [self._layer(band, self._grid.rows[picked[0]], self._grid.columns[picked[1]]) for band in bands]
        except (MemoryError, InvalidParameter, RenderLimitExceeded):
            raise
        except BROKEN as exc:
            message = f"its file cannot be read there ({type(exc).__name__}: {str(exc)[:200]})."
            raise AssetUnreadable(message) from exc
        return np.stack(layers)

    def _layer(self, band: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[Any]:
        total: NDArray[Any] | None = None
        for part in self._slice.parts:
            at = {dim: place for dim, place in part.at.items() if dim in self._array.dims}
            if self._slice.band_dim is not None:
                at[self._slice.band_dim] = band
            flat = self._array.isel(at).transpose(self._grid.y_dim, self._grid.x_dim)
            values = _read(flat, rows, columns)
            if part.weight != 1.0:
                values = values * part.weight
            total = values if total is None else total + values
        assert total is not None
        return total


P = TypeVar("P", ImageData, PointData)


def _named(pixels: P, kwargs: dict[str, Any]) -> P:
    """Bands by their numbers in the slice."""
    indexes = kwargs.get("indexes") or range(1, pixels.count + 1)
    pixels.band_names = [f"b{index}" for index in indexes]
    return pixels


def _grid(cube: Cube, name: str, crs: str | None) -> axes.Grid:
    found = _GRIDS.get(cube, {}).get((name, crs))
    if found is None:
        found = axes.grid_of(cube.array(name), crs)
        known = _GRIDS.setdefault(cube, {})
        if len(known) < _MOST_GRIDS:
            known[(name, crs)] = found
    return found


def _variable(cube: Cube, name: str | None) -> str:
    """The variable that is meant: by its name, its name without the group, or as the first one.

    Raises:
        InvalidParameter: there is none of that name.
        AssetUnreadable: there is none at all.
    """
    known = list(cube.variables)
    if not known:
        raise AssetUnreadable("its file has no variable of numbers with two dimensions or more.")
    if name is None:
        return known[0]
    plain = name.strip("/")
    if plain in cube.variables:
        return plain
    ends = [other for other in known if other.rpartition("/")[2] == plain]
    if len(ends) != 1:
        message = f"subdataset_name: there is no variable {name[:80]!r}; there are {_listed(cube)}."
        raise InvalidParameter(message, target="subdataset_name")
    return ends[0]


def _listed(cube: Cube) -> str:
    known = list(cube.variables)
    return ", ".join(known[:40]) + (f", … ({len(known)} in all)" if len(known) > 40 else "")


def _check_chunks(array: xr.DataArray) -> None:
    sizes = array.encoding.get("chunksizes") or array.encoding.get("chunks")
    if not sizes:
        return
    size = math.prod(int(side) for side in sizes) * np.dtype(array.encoding.get("dtype", array.dtype)).itemsize
    if size > _MOST_CHUNK:
        message = (
            f"{array.name!r} has chunks of {size >> 20} MiB, at most {_MOST_CHUNK >> 20} MiB are decoded: rechunk it."
        )
        raise RenderLimitExceeded(message)


def _clipped(first: float, last: float, size: int) -> tuple[int, int]:
    """A range of cells with a margin, within the grid; one cell at least."""
    begin = min(max(math.floor(min(first, last)) - _MARGIN, 0), size - 1)
    end = max(min(math.ceil(max(first, last)) + _MARGIN, size), begin + 1)
    return begin, end


def _read(flat: xr.DataArray, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[Any]:
    """Cells of a lazy array of two dimensions, each run of neighbours read in one piece; columns of -1 are missing."""
    runs = []
    for run in np.split(columns, _breaks(columns)):
        if run[0] < 0:
            runs.append(np.full((len(rows), len(run)), np.nan))
        else:
            runs.append(np.asarray(flat[_as_slice(rows), _as_slice(run)].values))
    return runs[0] if len(runs) == 1 else np.concatenate(runs, axis=1)


def _breaks(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the even runs of places begin, but for the first."""
    steps = np.diff(places)
    if not len(steps):
        return steps
    usual = np.bincount(steps - steps.min()).argmax() + steps.min()
    missing = places < 0
    together = (steps == usual) & ~missing[1:] & ~missing[:-1] | (missing[1:] & missing[:-1])
    return np.flatnonzero(~together) + 1


def _as_slice(places: NDArray[np.int64]) -> slice:
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    end = int(places[-1]) + (1 if step > 0 else -1)
    return slice(int(places[0]), None if end < 0 else end, step)


def _laid_out(cells: NDArray[Any], crs: CRS, transform: Affine) -> tuple[MemoryFile, DatasetReader]:
    """Cells as a raster in memory; what is not a number is missing."""
    kinds = {"bool": "uint8", "float16": "float32", "int64": "float64", "uint64": "float64"}
    cells = cells.astype(kinds.get(cells.dtype.name, cells.dtype), copy=False)
    count, height, width = cells.shape
    memory = MemoryFile()
    with memory.open(
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=cells.dtype.name,
        crs=crs,
        transform=transform,
        nodata=math.nan if cells.dtype.kind == "f" else None,
        interleave="band",
        bigtiff="IF_SAFER",
    ) as written:
        written.write(cells)
    return memory, memory.open()


def _plain(value: Any) -> Any:
    """An attribute as JSON has it."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
