"""Spatial predicates on a world whose longitudes repeat every 360 degrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from graticule.stac.geometry import Shape

_TURNS: Final = (0, 1, -1)
_PREDICATES: Final[dict[str, Callable[..., Any]]] = {
    "s_equals": shapely.equals,
    "s_touches": shapely.touches,
    "s_within": shapely.within,
    "s_overlaps": shapely.overlaps,
    "s_crosses": shapely.crosses,
    "s_contains": shapely.contains,
}


class Place:
    """A geometry ready for predicates."""

    __slots__ = ("_joined", "_shape", "raw")

    def __init__(self, shape: Shape) -> None:
        """Of a checked geometry."""
        self._shape = shape
        self.raw: BaseGeometry = shapely.from_wkb(shape.wkb)
        self._joined: BaseGeometry | None = None

    @property
    def joined(self) -> BaseGeometry:
        """Valid, and whole where the document splits it at the antimeridian (RFC 7946 section 3.1.9)."""
        if self._joined is None:
            self._joined = _joined(self.raw)
        return self._joined


def holds(op: str, left: Place, right: Place) -> bool:
    """Does a spatial operator hold, in one turn of the world or another?"""
    if op == "s_intersects":
        return _meet(left.raw, right.raw)
    if op == "s_disjoint":
        return not _meet(left.raw, right.raw)
    predicate = _PREDICATES[op]
    one, other = left.joined, right.joined
    turned = [
        (one, moved) for moved in (turn(other, by) for by in _TURNS) if _near(one, moved)
    ]  # all predicates imply that they meet
    if op != "s_touches":
        return any(bool(predicate(one, moved)) for one, moved in turned)
    meeting = [(one, moved) for one, moved in turned if shapely.intersects(one, moved)]
    return bool(meeting) and all(bool(shapely.touches(one, moved)) for one, moved in meeting)


def turn(geometry: BaseGeometry, turns: int) -> BaseGeometry:
    """The same place, so many times 360 degrees to the east."""
    if not turns:
        return geometry
    moved: BaseGeometry = shapely.transform(geometry, lambda positions: positions + (360.0 * turns, 0.0))  # noqa: RUF005
    return moved


def _meet(left: BaseGeometry, right: BaseGeometry) -> bool:
    return any(
        _near(left, moved) and bool(shapely.intersects(left, moved)) for moved in (turn(right, by) for by in _TURNS)
    )


def _near(left: BaseGeometry, right: BaseGeometry) -> bool:
    a, b = left.bounds, right.bounds
    return bool(a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3])


def _joined(raw: BaseGeometry) -> BaseGeometry:
    whole = raw if shapely.is_valid(raw) else shapely.make_valid(raw)
    west, _, east, _ = whole.bounds
    parts = getattr(whole, "geoms", None)
    if parts is None or east - west <= 180:
        return whole
    moved = [turn(part, 1) if part.bounds[2] <= 0 else part for part in parts]
    joined = shapely.union_all(moved)
    return joined if joined.bounds[2] - joined.bounds[0] < east - west else whole
