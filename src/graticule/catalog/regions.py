"""Where a search looks: integer bounds for the indexes, and the exact test of footprints.

An item lies in a region when its footprint and the region share a point, on a world whose longitudes repeat every 360
degrees. Edges count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from graticule.catalog.cells import DEGREE, TURN, Box, box_of, widened
from graticule.stac.bbox import BBox
from graticule.stac.geometry import Shape

#: Footprints lie in -360..360, regions in -180..180 or likewise: these turns bring every pair together.
_TURNS: Final = (0, 1, -1)
#: Slack for cells that are compared with a shape in floating point, degrees.
_SLACK: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Region:
    """A box or a shape to search in."""

    #: Bounds in 1e-7 degree, rounded outward, west in -180..180.
    box: Box
    #: Footprints whose bounds lie within need no exact test. None: every footprint does.
    inner: Box | None
    #: The region as exact geometries,
    parts: tuple[BaseGeometry, ...]
    #: and how far west and east each reaches, degrees.
    reaches: tuple[tuple[float, float], ...]
    #: The parts by turn, prepared: made when footprints lie there.
    _turned: dict[tuple[int, int], BaseGeometry] = field(default_factory=dict, compare=False)

    @classmethod
    def of_bbox(cls, bbox: BBox) -> Region:
        """The region of a ``bbox`` parameter."""
        boxes = [(bbox.west, bbox.east)]
        if bbox.crosses_antimeridian:
            boxes = [(bbox.west, 180.0), (-180.0, bbox.east)]
        east = bbox.east + (360 if bbox.crosses_antimeridian else 0)
        outer = Box(
            math.floor(bbox.west * DEGREE), math.floor(bbox.south * DEGREE),
            math.ceil(east * DEGREE), math.ceil(bbox.north * DEGREE),
        )  # fmt: skip
        # One unit more than rounding inward, for what the multiplications above may have lost.
        inner = Box(
            math.ceil(bbox.west * DEGREE) + 1, math.ceil(bbox.south * DEGREE) + 1,
            math.floor(east * DEGREE) - 1, math.floor(bbox.north * DEGREE) - 1,
        )  # fmt: skip
        return cls(outer, inner, tuple([_box(west, bbox.south, end, bbox.north) for west, end in boxes]), tuple(boxes))

    @classmethod
    def of_shape(cls, shape: Shape) -> Region:
        """The region of an ``intersects`` parameter."""
        members = _members(shapely.from_wkb(shape.wkb))
        reaches = tuple([(west, east) for west, _, east, _ in (member.bounds for member in members)])
        return cls(box_of(shape.parts), None, tuple(members), reaches)

    @classmethod
    def around_shape(cls, shape: Shape) -> Region:
        """The bounds of the parts of a shape: a footprint that meets the shape lies in it."""
        boxes = tuple([_box(part.west, part.south, part.east, part.north) for part in shape.parts])
        return cls(box_of(shape.parts), None, boxes, tuple([(part.west, part.east) for part in shape.parts]))

    @property
    def is_world(self) -> bool:
        """Does it hold every footprint there is?"""
        return self.inner is not None and (
            self.box.x1 - self.box.x0 >= TURN and self.box.y0 <= -90 * DEGREE and self.box.y1 >= 90 * DEGREE
        )

    @property
    def area(self) -> float:
        """Of its bounds, square degrees."""
        return (self.box.x1 - self.box.x0) / DEGREE * (self.box.y1 - self.box.y0) / DEGREE

    def doubtful(self, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """Those of some rows whose bounds alone, the fifth value to the eighth, do not prove that they lie within."""
        if self.inner is None:
            return list(rows)
        west, south, east, north = self.inner
        west_on, east_on, west_back, east_back = west + TURN, east + TURN, west - TURN, east - TURN
        return [
            row
            for row in rows
            if row[5] < south
            or row[7] > north
            or not (
                (row[4] >= west and row[6] <= east)
                or (row[4] >= west_back and row[6] <= east_back)
                or (row[4] >= west_on and row[6] <= east_on)
            )
        ]

    def intersects(self, footprints: Sequence[bytes]) -> NDArray[np.bool_]:
        """The exact test, for WKB footprints."""
        geometries = shapely.from_wkb(np.array(footprints, dtype=object))
        found: NDArray[np.bool_] = shapely.intersects(self._shape(0, 0), geometries)
        if found.all():
            return found
        bounds = shapely.bounds(geometries)
        for shape in self._between(bounds[:, 0].min(), bounds[:, 2].max(), first=1):
            left = np.flatnonzero(~found)
            if not left.size:
                break
            found[left] = shapely.intersects(shape, geometries[left])
        return found

    def near(self, cells: Sequence[int]) -> NDArray[np.bool_]:
        """Which cells hold items that can lie in the region; worth asking for shapes, true of all cells of a box."""
        west, south, east, north = np.array([widened(cell) for cell in cells]).T
        squares = shapely.box(west - _SLACK, south - _SLACK, east + _SLACK, north + _SLACK)
        found = np.zeros(len(cells), dtype=np.bool_)
        for shape in self._between(west.min() - _SLACK, east.max() + _SLACK):
            found |= shapely.intersects(shape, squares)
        return found

    def _between(self, west: float, east: float, *, first: int = 0) -> Iterator[BaseGeometry]:
        """The parts turn by turn, from the first on, without those that lie outside of two longitudes: that is most."""
        at = 0
        for turn in _TURNS:
            for part, (begin, end) in enumerate(self.reaches):
                if at >= first and begin + 360.0 * turn <= east and end + 360.0 * turn >= west:
                    yield self._shape(part, turn)
                at += 1

    def _shape(self, part: int, turn: int) -> BaseGeometry:
        shape = self._turned.get((part, turn))
        if shape is None:
            shape = self._turned[part, turn] = _turned(self.parts[part], turn)
            shapely.prepare(shape)
        return shape


def _box(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """A box that may be a line or a point: a polygon without area would intersect nothing reliably."""
    if west == east or south == north:
        if west == east and south == north:
            return shapely.Point(west, south)
        return shapely.LineString([(west, south), (east, north)])
    return shapely.box(west, south, east, north)


def _members(shape: BaseGeometry) -> list[BaseGeometry]:
    """The geometries of a collection of collections; anything else is one."""
    if not isinstance(shape, shapely.GeometryCollection):
        return [shape]
    return [leaf for member in shape.geoms for leaf in _members(member)]


def _turned(shape: BaseGeometry, turns: int) -> BaseGeometry:
    if not turns:
        return shape
    turned: BaseGeometry = shapely.transform(shape, lambda positions: positions + (360.0 * turns, 0.0))  # noqa: RUF005
    return turned
