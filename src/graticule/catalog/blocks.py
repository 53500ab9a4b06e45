"""How many items lie where and when, in blocks of the grid: for estimates over large areas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graticule.catalog.cells import DEGREE
from graticule.catalog.regions import Region

#: The finest level of blocks: cells of finer levels are counted in the blocks of this one, 5.6 degrees wide.
BLOCK_LEVEL: Final = 6
#: How far a usual item reaches beyond its cell, in sizes of the cell: see `counting`.
_REACH: Final = 0.375
_TURNS: Final = (-360.0, 0.0, 360.0)

Floats = NDArray[np.float64]


class Blocks:
    """Counts of blocks."""

    def __init__(self, rows: NDArray[np.int64] | Sequence[Sequence[int]]) -> None:
        """Of rows (level of the cells, row and column of the block, number of items, least t0, greatest t1)."""
        self._rows: NDArray[np.int64] = np.array(rows, dtype=np.int64).reshape(-1, 6)

    def times(self, factor: float) -> Blocks:
        """With so many times as many items each."""
        rows = self._rows.copy()
        rows[:, 3] = np.rint(rows[:, 3] * factor)
        return Blocks(rows)

    def __add__(self, other: Blocks) -> Blocks:
        """Of both."""
        return Blocks(np.concatenate((self._rows, other._rows)))

    def about(self, region: Region) -> Callable[[int, int], float]:
        """About how many items meet the bounds of a region between two instants, if those of a block are spread evenly.

        What is answered takes the instants, microseconds.
        """
        level, row, column, n, t0, t1 = self._rows.T
        size = 360.0 / (1 << np.minimum(level, BLOCK_LEVEL))
        reach = 360.0 / (1 << level) * _REACH
        box = region.box
        south, west = row * size - 90, column * size - 180
        high = _overlap(south, size, box.y0 / DEGREE - reach, box.y1 / DEGREE + reach)
        west_end, east_end = box.x0 / DEGREE - reach, box.x1 / DEGREE + reach
        wide = np.max([_overlap(west + turn, size, west_end, east_end) for turn in _TURNS], axis=0)
        weighted = n * high * wide
        return lambda first, last: float(np.sum(weighted * _shares(first, last, t0, t1)))


def _overlap(start: Floats, size: Floats, low: Floats, high: Floats) -> Floats:
    """The part of each interval that lies within bounds."""
    parts: Floats = np.clip(np.minimum(start + size, high) - np.maximum(start, low), 0, None) / size
    return parts


def _shares(first: int, last: int, t0: NDArray[Any], t1: NDArray[Any]) -> Floats:
    """The part of each time range that an interval overlaps."""
    lasting = np.maximum(t1 - t0, 1)
    shared = np.minimum(last, t1) - np.maximum(first, t0)
    shares: Floats = np.where(shared < 0, 0.0, np.where(t1 > t0, shared / lasting, 1.0))
    return shares
