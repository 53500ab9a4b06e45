"""Owns: decoded blocks of open files, kept from one job to the next, and what is known about each file.

A block lies in memory pixel by pixel, each pixel one number that holds all its bands: resampling by nearest neighbour
is then one `take`, however many bands there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

#: Largest block that is kept, pixels: a file in one huge block is read by windows, as GDAL does it.
_LARGEST_BLOCK: Final = 1 << 22
#: A pixel of so many bytes is moved as one number of this type.
_UNITS: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("u1"),
    2: np.dtype("u2"),
    4: np.dtype("u4"),
    8: np.dtype("u8"),
    16: np.dtype("c16"),
}

Color = tuple[int, int, int, int]


@dataclass(frozen=True)
class Layout:
    """How the chosen bands of a pixel lie in memory."""

    dtype: np.dtype[Any]  #: of one band
    bands: int
    unit: np.dtype[Any]  #: of the pixel

    @classmethod
    def of(cls, dtype: np.dtype[Any], bands: int) -> Layout:
        """The smallest unit that holds the bands."""
        needed = dtype.itemsize * bands
        size = next((size for size in _UNITS if size >= needed), needed)
        unit: np.dtype[Any] = _UNITS[size] if size in _UNITS else np.dtype((np.void, needed))
        return cls(dtype, bands, unit)

    def pack(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bands, rows, columns → rows, columns of units."""
        _, height, width = values.shape
        made = np.zeros((height, width, self.unit.itemsize // self.dtype.itemsize), self.dtype)
        for band in range(self.bands):
            made[..., band] = values[band]
        return made.view(self.unit)[..., 0]

    def unpack(self, units: NDArray[Any]) -> NDArray[Any]:
        """Rows, columns of units → bands, rows, columns; in memory pixel by pixel, without gaps."""
        height, width = units.shape
        padded = units.view(self.dtype).reshape(height, width, -1)
        if padded.shape[2] == self.bands:
            return padded.transpose(2, 0, 1)
        made = np.empty((height, width, self.bands), self.dtype)
        for band in range(self.bands):  # a third of the time of one copy of a slice
            made[..., band] = padded[..., band]
        return made.transpose(2, 0, 1)


class Raster:
    """A file, open, and its overviews."""

    def __init__(self, path: str, dataset: DatasetReader, open_level: Callable[[int], DatasetReader]) -> None:
        """Take the file as it was opened, and what opens it at an overview (from 0)."""
        self.path = path
        self.dataset = dataset
        self.factors: tuple[int, ...] = tuple(dataset.overviews(1))
        self._open_level = open_level
        self._levels: dict[int, DatasetReader] = {-1: dataset}
        #: Whatever a way of reading wants to remember about the file.
        self.memory: dict[Any, Any] = {}

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the values; of nothing for types that numpy does not have."""
        try:
            found: np.dtype[Any] = np.dtype(self.dataset.dtypes[0])
        except TypeError:  # pairs of integers
            found = np.dtype("V4")
        return found

    @cached_property
    def bands(self) -> tuple[int, ...]:
        """Those that hold data, from 1."""
        interpretations = self.dataset.colorinterp
        return tuple(at for at in self.dataset.indexes if interpretations[at - 1] is not ColorInterp.alpha)

    @cached_property
    def is_regular(self) -> bool:
        """Is it a grid along the axes of its reference system, in blocks, of bands of one type, without alpha?"""
        dataset, transform = self.dataset, self.dataset.transform
        flags = dataset.mask_flag_enums
        return (
            dataset.crs is not None
            and not dataset.gcps[0]
            and transform.b == transform.d == 0
            and transform.a > 0 > transform.e
            and set(dataset.dtypes) == {self.dtype.name}
            and self.dtype.kind in "uif"
            and len(self.bands) == dataset.count
            and not any(MaskFlags.alpha in of_band for of_band in flags)
            and dataset.block_shapes[0][0] * dataset.block_shapes[0][1] <= _LARGEST_BLOCK
        )

    @cached_property
    def has_mask(self) -> bool:
        """Has it a mask of its own, beside values that mean nothing?"""
        return any(MaskFlags.per_dataset in of_band for of_band in self.dataset.mask_flag_enums)

    @cached_property
    def palette(self) -> dict[int, Color] | None:
        """The colours that the file gives its values; None where it has several bands, or no colours."""
        if self.dataset.count != 1:
            return None
        try:
            return self.dataset.colormap(1) or None
        except ValueError:
            return None

    @property
    def files(self) -> int:
        """How often it is open."""
        return len(self._levels)

    def level(self, level: int) -> DatasetReader:
        """The file at an overview; -1: itself."""
        if level not in self._levels:
            self._levels[level] = self._open_level(level)
        return self._levels[level]

    def close(self) -> None:
        """Close it, and its overviews."""
        for dataset in self._levels.values():
            dataset.close()


@dataclass(frozen=True)
class Pixels:
    """A window of a raster."""

    units: NDArray[Any]  #: rows, columns
    valid: NDArray[np.bool_] | None  #: what the file's own mask says; None: it has none


class Blocks:
    """Decoded blocks, the last used kept, up to so many bytes. Stored files are written once: none is stale."""

    def __init__(self, most_bytes: int) -> None:
        """Take how much is kept."""
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[Any, ...], Pixels] = OrderedDict()
        self.size_bytes = 0

    def window(
        self, raster: Raster, level: int, bands: tuple[int, ...], layout: Layout, box: tuple[int, int, int, int]
    ) -> Pixels:
        """A part of a raster at a level.

        Args:
            raster: it.
            level: -1: the raster itself, else which overview.
            bands: from 1.
            layout: of those.
            box: first and last row, first and last column; within the level, without the last ones.

        Returns:
            An array that is not to be changed.

        Raises:
            RasterioError: the file is damaged.
        """
        top, bottom, left, right = box
        dataset = raster.level(level)
        height, width = dataset.block_shapes[0]
        rows, columns = range(top // height, -(-bottom // height)), range(left // width, -(-right // width))
        if len(rows) == len(columns) == 1:
            block = self._block(raster, level, bands, layout, rows[0], columns[0])
            inside = np.s_[top - rows[0] * height : bottom - rows[0] * height,
                           left - columns[0] * width : right - columns[0] * width]  # fmt: skip
            return Pixels(block.units[inside], None if block.valid is None else block.valid[inside])
        units = np.empty((bottom - top, right - left), layout.unit)
        valid = np.empty(units.shape, np.bool_) if raster.has_mask else None
        for row in rows:
            for column in columns:
                block = self._block(raster, level, bands, layout, row, column)
                first_row, first_column = max(top, row * height), max(left, column * width)
                last_row, last_column = min(bottom, (row + 1) * height), min(right, (column + 1) * width)
                to = np.s_[first_row - top : last_row - top, first_column - left : last_column - left]
                of = np.s_[first_row - row * height : last_row - row * height,
                           first_column - column * width : last_column - column * width]  # fmt: skip
                units[to] = block.units[of]
                if valid is not None and block.valid is not None:
                    valid[to] = block.valid[of]
        return Pixels(units, valid)

    def _block(
        self, raster: Raster, level: int, bands: tuple[int, ...], layout: Layout, row: int, column: int
    ) -> Pixels:
        key = (raster.path, level, bands, row, column)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        dataset = raster.level(level)
        height, width = dataset.block_shapes[0]
        top, left = row * height, column * width
        window = Window(left, top, min(width, dataset.width - left), min(height, dataset.height - top))
        units = layout.pack(dataset.read(bands, window=window))
        valid = dataset.read_masks(1, window=window) != 0 if raster.has_mask else None
        found = self._kept[key] = Pixels(units, valid)
        self.size_bytes += _size(found)
        while self.size_bytes > self._most_bytes and len(self._kept) > 1:
            self.size_bytes -= _size(self._kept.popitem(last=False)[1])
        return found


def _size(pixels: Pixels) -> int:
    return pixels.units.nbytes + (0 if pixels.valid is None else pixels.valid.nbytes)
