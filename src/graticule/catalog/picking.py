"""Which items a picture of an area is made of: those that show something, the topmost first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import shapely
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from graticule.stac.bbox import BBox

#: Footprints lie in -360..360, an area in -180..540: these turns bring every pair together.
_TURNS: Final = (0.0, 360.0, -360.0)
#: A part of the area that counts as nothing: seams between neighbours.
_SEAM: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to pick from the items that a search finds."""

    around: BBox | None  #: where the picture is; None: wherever the items lie
    most: int  #: items
    scan: int = 10_000  #: items looked at
    seconds: float = 5.0
    stop_when_covered: bool = True  #: look no further once footprints cover the area
    skip_hidden: bool = True  #: leave out an item whose footprint lies below those above it
    #: Add hidden items that were met anyway, as many as there is room for: they show where those above have holes.
    with_spares: bool = False


class Cover:
    """How far footprints cover an area."""

    def __init__(self, around: BBox) -> None:
        """Nothing is covered yet."""
        east = around.east + (360.0 if around.crosses_antimeridian else 0.0)
        self._area = shapely.box(around.west, around.south, east, around.north)
        self._has_area = self._area.area > 0
        self._covered: BaseGeometry | None = None
        #: Is all of it covered?
        self.is_full = False

    def add(self, footprint: bytes) -> bool:
        """Put a footprint (WKB) below those that are there; False where they hide it."""
        if self.is_full:
            return False
        if not self._has_area:  # a point: whatever was found there lies over it
            self.is_full = True
            return True
        try:
            return self._add(shapely.from_wkb(footprint))
        except GEOSException:  # a footprint that crosses itself: it counts, and covers nothing
            return True

    def _add(self, footprint: BaseGeometry) -> bool:
        parts = [self._area.intersection(_turned(footprint, turn)) for turn in _TURNS]
        part = shapely.union_all([one for one in parts if not one.is_empty])
        if self._covered is not None and part.area > 0:
            if part.difference(self._covered).area <= _SEAM * self._area.area:
                return False
            part = self._covered.union(part)
        elif self._covered is not None:
            return False  # it touches the area's edge
        self._covered = part
        self.is_full = bool(part.area >= self._area.area * (1 - _SEAM))
        return True


def _turned(shape: BaseGeometry, degrees: float) -> BaseGeometry:
    if not degrees:
        return shape
    turned: BaseGeometry = shapely.transform(shape, lambda positions: positions + (degrees, 0.0))  # noqa: RUF005
    return turned
