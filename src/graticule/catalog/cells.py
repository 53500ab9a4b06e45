"""The loose grid: every footprint has one cell, and every box a list of cells whose items may reach into it.

All of it is integer arithmetic in units of 1e-7 degree, so that two processes never disagree about a cell.

Level L divides the world into columns and rows of 360/2^L degrees. An item lies in the cell of its bounds' centre, at
the finest level whose cells are no smaller than it. It therefore reaches at most half a cell beyond its cell: a box
widened by half a cell per level meets the cells of everything that can touch it, and columns count modulo 2^L.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from graticule.stac.geometry import Bounds

DEGREE: Final = 10_000_000
TURN: Final = 360 * DEGREE
_HALF_TURN: Final = 180 * DEGREE
_POLE: Final = 90 * DEGREE

MAX_LEVEL: Final = 12
#: cell = level << 40 | row << 20 | column
_LEVEL_SHIFT: Final = 40
_ROW_SHIFT: Final = 20
_COLUMN_MASK: Final = (1 << _ROW_SHIFT) - 1
#: The cell of items without a geometry: below every cell of the grid, so that no box ever lists it.
NOWHERE: Final = -1


class Box(NamedTuple):
    """Bounds in 1e-7 degree, rounded outward. x0 is in -180..180; x1 passes 180 where the antimeridian is crossed."""

    x0: int
    y0: int
    x1: int
    y1: int


class CellRange(NamedTuple):
    """The cells ``low <= cell <= high`` whose column is among ``first..last``."""

    low: int
    high: int
    first: int
    last: int


def box_of(parts: Sequence[Bounds]) -> Box:
    """The narrowest box round all parts, where the world has no edge at 180 degrees.

    Parts on both sides of the antimeridian would otherwise have bounds from -180 to 180, lie in level 0 and be read by
    every search. So the box begins behind the widest gap between the parts.
    """
    rounded = [
        (
            math.floor(p.west * DEGREE),
            math.floor(p.south * DEGREE),
            math.ceil(p.east * DEGREE),
            math.ceil(p.north * DEGREE),
        )
        for p in parts
    ]
    if len(rounded) == 1:
        x0, y0, x1, y1 = rounded[0]
        start = _wrap(x0)
        return Box(start, y0, min(start + x1 - x0, start + TURN), y1)
    y0, y1 = min(part[1] for part in rounded), max(part[3] for part in rounded)
    spans = sorted((_wrap(x0), x1 - x0) for x0, _, x1, _ in rounded)
    x0, width = _narrowest(spans)
    return Box(x0, y0, x0 + width, y1)


def _wrap(x: int) -> int:
    """The same meridian in -180 <= x < 180."""
    return (x + _HALF_TURN) % TURN - _HALF_TURN


def _narrowest(spans: list[tuple[int, int]]) -> tuple[int, int]:
    """West and width of the narrowest interval on the circle round (west, width) spans, sorted by west."""
    start, gap = -_HALF_TURN, 0
    reach = max(west + width for west, width in spans) - TURN  # how far the last ones reach round into the first
    for west, width in spans:
        if west - reach > gap:
            start, gap = west, west - reach
        reach = max(reach, west + width)
    return start, TURN - gap


def cell_of(box: Box) -> int:
    """The one cell of an item with these bounds."""
    size = max(box.x1 - box.x0, box.y1 - box.y0, 1)
    level = min((TURN // size).bit_length() - 1, MAX_LEVEL)
    column = (((box.x0 + box.x1 + TURN) << level) // (2 * TURN)) % (1 << level)
    row = ((box.y0 + box.y1 + 2 * _POLE) << level) // (2 * TURN)
    return level << _LEVEL_SHIFT | row << _ROW_SHIFT | column


def level_of(cell: int) -> int:
    """The level that a cell belongs to."""
    return cell >> _LEVEL_SHIFT


def widened(cell: int) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees of all that items of this cell can reach; west is in -360..180."""
    level = level_of(cell)
    size = 360.0 / (1 << level)
    west = (cell & _COLUMN_MASK) * size - 180 - size / 2
    south = ((cell >> _ROW_SHIFT) & _COLUMN_MASK) * size - 90 - size / 2
    return west, south, west + 2 * size, south + 2 * size


def cover(box: Box, levels: int, *, most: int) -> list[CellRange]:
    """The cells whose items may reach into a box, for each level in the bit mask `levels`.

    One range per row of cells as long as that makes at most `most` ranges, else one per level, which reads all
    non-empty cells of the band of rows and leaves out by column.
    """
    blocks = [_block(box, level) for level in range(MAX_LEVEL + 1) if levels >> level & 1]
    by_row = sum((top - bottom + 1) * len(columns) for _, bottom, top, columns in blocks) <= most
    found: list[CellRange] = []
    for level, bottom, top, columns in blocks:
        base = level << _LEVEL_SHIFT
        for first, last in columns:
            if by_row:
                rows = [base | row << _ROW_SHIFT for row in range(bottom, top + 1)]
                found += [CellRange(row | first, row | last, first, last) for row in rows]
            else:
                low, high = base | bottom << _ROW_SHIFT, base | top << _ROW_SHIFT | _COLUMN_MASK
                found.append(CellRange(low, high, first, last))
    return found


def _block(box: Box, level: int) -> tuple[int, int, int, list[tuple[int, int]]]:
    """Level, lowest and highest row, and one or two intervals of columns."""
    count = 1 << level
    # In units of 1/2^(level + 1), where a turn is two cells' worth and half a cell is one turn.
    bottom = max((((box.y0 + _POLE) << (level + 1)) - TURN) // (2 * TURN), 0)
    top = min((((box.y1 + _POLE) << (level + 1)) + TURN) // (2 * TURN), count >> 1)
    first = (((box.x0 + _HALF_TURN) << (level + 1)) - TURN) // (2 * TURN)
    last = (((box.x1 + _HALF_TURN) << (level + 1)) + TURN) // (2 * TURN)
    if last - first + 1 >= count:
        return level, bottom, top, [(0, count - 1)]
    first, last = first % count, last % count
    if first <= last:
        return level, bottom, top, [(first, last)]
    return level, bottom, top, [(0, last), (first, count - 1)]
