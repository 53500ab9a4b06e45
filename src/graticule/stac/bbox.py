"""The ``bbox`` search parameter (OGC API Features 7.15.3, GeoJSON section 5)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from graticule.errors import InvalidParameter

_NUMBER: Final = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class BBox:
    """A box in degrees of WGS 84. West greater than east: it crosses the antimeridian (RFC 7946 section 5.2)."""

    west: float
    south: float
    east: float
    north: float

    @property
    def crosses_antimeridian(self) -> bool:
        """Does the box run eastwards over 180°?"""
        return self.west > self.east


def parse_bbox(value: object) -> BBox:
    """The ``bbox`` parameter: text ``w,s,e,n``, or 4 or 6 numbers (heights are checked and otherwise ignored).

    Raises:
        InvalidParameter: says which corner is wrong.
    """
    numbers = _numbers(value)
    if len(numbers) == 6:
        west, south, low, east, north, high = numbers
        if low > high:
            raise _refused(f"the lowest height {low:g} is above the highest {high:g}")
    elif len(numbers) == 4:
        west, south, east, north = numbers
    else:
        raise _refused(f"it has {len(numbers)} numbers")
    for name, longitude in (("west", west), ("east", east)):
        if not -180 <= longitude <= 180:
            raise _refused(f"{name} is {longitude:g}, longitudes lie between -180 and 180")
    for name, latitude in (("south", south), ("north", north)):
        if not -90 <= latitude <= 90:
            raise _refused(f"{name} is {latitude:g}, latitudes lie between -90 and 90")
    if south > north:
        raise _refused(f"south {south:g} is greater than north {north:g}")
    return BBox(west, south, east, north)


def _numbers(value: object) -> list[float]:
    parts: Sequence[object]
    if isinstance(value, str):
        parts = value.split(",")
    elif isinstance(value, list | tuple):
        parts = value
    else:
        raise _refused("it is neither a text nor a list")
    return [_number(part) for part in parts]


def _number(part: object) -> float:
    if isinstance(part, str):
        if _NUMBER.fullmatch(part) is None:
            raise _refused(f"'{part}' is not a number")
        number = float(part)
    elif isinstance(part, int | float) and not isinstance(part, bool):
        number = float(part) if abs(part) < 1e300 else math.inf
    else:
        raise _refused(f"{part!r} is not a number")
    if not math.isfinite(number):
        raise _refused(f"{part} is not a finite number")
    return number


def _refused(reason: str) -> InvalidParameter:
    return InvalidParameter(
        f"bbox: {reason}: give west,south,east,north in degrees, or six numbers with heights third and sixth.",
        target="bbox",
    )
