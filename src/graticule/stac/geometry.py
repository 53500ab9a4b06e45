"""GeoJSON geometries (RFC 7946): read once, checked, and written as flat WKB with the bounds of each part."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

from graticule.errors import InvalidParameter

#: Longitudes may leave -180..180 by less than half a turn: footprints over the antimeridian come as 170..190 too.
_MAX_LONGITUDE: Final = 360.0
_MAX_LATITUDE: Final = 90.0
#: Of the ``intersects`` parameter.
MAX_POSITIONS: Final = 10_000
#: Refuse documents whose nesting is no geometry any more.
_MAX_DEPTH: Final = 8
_POSITIONS: Final = frozenset({list, tuple})
_NUMBERS: Final = frozenset({float, int})
_FIRST_TWO: Final = itemgetter(slice(2))

_WKB_TYPES: Final = {
    "Point": 1,
    "LineString": 2,
    "Polygon": 3,
    "MultiPoint": 4,
    "MultiLineString": 5,
    "MultiPolygon": 6,
    "GeometryCollection": 7,
}
_COUNT: Final = struct.Struct("<I")
_HEADER: Final = struct.Struct("<BI")


class Bounds(NamedTuple):
    """Least and greatest coordinates, degrees."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class Shape:
    """A geometry as given, without heights."""

    #: Little-endian WKB.
    wkb: bytes
    #: One for each part of a multi geometry or collection, one for a simple geometry.
    parts: tuple[Bounds, ...]


def read_geometry(geometry: object) -> Shape:
    """Check a GeoJSON geometry and read it.

    Self-intersecting rings pass: real footprints have them, and searching them is well defined.

    Raises:
        ValueError: a sentence without its subject: "has a ring that is not closed …".
    """
    parts: list[Bounds] = []
    wkb = _write(geometry, parts, depth=0)
    return Shape(wkb, tuple(parts))


def parse_shape(value: object) -> Shape:
    """The ``intersects`` parameter: any GeoJSON geometry.

    Raises:
        InvalidParameter: says what is wrong with it.
    """
    try:
        if (count := _positions_of(value)) > MAX_POSITIONS:
            raise InvalidParameter(
                f"intersects: the geometry has {count} positions; at most {MAX_POSITIONS} are taken: simplify it, or"
                " search its parts one after the other.",
                target="intersects",
            )
        return read_geometry(value)
    except ValueError as exc:
        raise InvalidParameter(f"intersects: the geometry {exc}.", target="intersects") from exc


def _positions_of(value: object, depth: int = 0) -> int:
    """How many positions there are below a geometry, coordinates, or what takes their place."""
    if depth > _MAX_DEPTH:
        return 0  # refused by `read_geometry`
    if isinstance(value, Mapping):
        return sum(_positions_of(value.get(name), depth + 1) for name in ("coordinates", "geometries"))
    if not isinstance(value, list | tuple) or not value:
        return 0
    if isinstance(value[0], int | float):
        return 1
    return sum(_positions_of(member, depth + 1) for member in value)


def _write(geometry: object, parts: list[Bounds], *, depth: int) -> bytes:
    if not isinstance(geometry, Mapping):
        raise ValueError("is not a GeoJSON object")  # noqa: TRY004 - one kind of error for one kind of trouble
    kind: Any = geometry.get("type")
    code = _WKB_TYPES.get(kind) if isinstance(kind, str) else None
    if code is None:
        raise ValueError(f"has the type {kind!r}: it must be one of {', '.join(_WKB_TYPES)}")
    if code == 7:
        if depth >= _MAX_DEPTH:
            raise ValueError("nests its collections too deep")
        members = _sequence(geometry.get("geometries"), "geometries")
        return _collect(code, [_write(member, parts, depth=depth + 1) for member in members])
    coordinates = _sequence(geometry.get("coordinates"), "coordinates")
    if code <= 3:
        return _SIMPLE[code](coordinates, parts)
    return _collect(code, [_SIMPLE[code - 3](_sequence(part, "parts"), parts) for part in coordinates])


def _collect(code: int, members: list[bytes]) -> bytes:
    return _HEADER.pack(1, code) + _COUNT.pack(len(members)) + b"".join(members)


def _point(position: Sequence[Any], parts: list[Bounds]) -> bytes:
    flat, bounds = _flatten([position])
    parts.append(bounds)
    return _HEADER.pack(1, 1) + struct.pack("<2d", *flat)


def _line(positions: Sequence[Any], parts: list[Bounds]) -> bytes:
    if len(positions) < 2:
        raise ValueError("has a line of fewer than two positions")
    flat, bounds = _flatten(positions)
    parts.append(bounds)
    return _HEADER.pack(1, 2) + _pack(flat)


def _polygon(rings: Sequence[Any], parts: list[Bounds]) -> bytes:
    flats, bounds = [], []
    for ring in rings:
        flat, around = _flatten(_sequence(ring, "rings"))
        if flat[:2] != flat[-2:]:
            raise ValueError("has a ring that is not closed: its last position must repeat the first")
        if len(flat) < 8:
            raise ValueError("has a ring of fewer than four positions")
        flats.append(flat)
        bounds.append(around)
    # A hole lies within the outer ring; where a document says otherwise, wider bounds still find every match.
    parts.append(bounds[0] if len(bounds) == 1 else _around(bounds))
    return _HEADER.pack(1, 3) + _COUNT.pack(len(flats)) + b"".join(map(_pack, flats))


_SIMPLE: Final[dict[int, Callable[[Sequence[Any], list[Bounds]], bytes]]] = {1: _point, 2: _line, 3: _polygon}


def _pack(flat: list[float]) -> bytes:
    return _COUNT.pack(len(flat) // 2) + struct.pack(f"<{len(flat)}d", *flat)


def _flatten(positions: Sequence[Any]) -> tuple[list[float], Bounds]:
    """Longitude, latitude, longitude, … of checked positions, and their bounds."""
    if set(map(type, positions)) <= _POSITIONS:
        flat: list[float] = list(chain.from_iterable(map(_FIRST_TWO, positions)))
        if len(flat) == 2 * len(positions) and set(map(type, flat)) <= _NUMBERS:
            xs, ys = flat[0::2], flat[1::2]
            bounds = Bounds(min(xs), min(ys), max(xs), max(ys))
            if _is_on_earth(bounds) and not math.isnan(sum(flat)):  # NaN hides from min and max
                return flat, _narrow(bounds)
    raise ValueError(next(filter(None, map(_fault_of, positions))))


def _around(bounds: Sequence[Bounds]) -> Bounds:
    wests, souths, easts, norths = zip(*bounds, strict=True)
    return _narrow(Bounds(min(wests), min(souths), max(easts), max(norths)))


def _narrow(bounds: Bounds) -> Bounds:
    if bounds.east - bounds.west > 360:
        raise ValueError("is wider than 360 degrees")
    return bounds


def _is_on_earth(bounds: Bounds) -> bool:
    """Written so that NaN fails too."""
    west, south, east, north = bounds
    return -_MAX_LONGITUDE < west <= east < _MAX_LONGITUDE and -_MAX_LATITUDE <= south <= north <= _MAX_LATITUDE


def _fault_of(position: Any) -> str | None:
    """What is wrong with a position."""
    shown = str(position)[:60]
    if type(position) not in _POSITIONS or len(position) < 2:
        return f"has {shown} where a position [longitude, latitude] is expected"
    x, y = position[0], position[1]
    if type(x) not in _NUMBERS or type(y) not in _NUMBERS:
        return f"has the position {shown}, which is not made of numbers"
    if not _is_on_earth(Bounds(x, y, x, y)):
        return f"has the position {shown}: longitude and latitude in degrees (WGS 84) are expected"
    return None


def _sequence(value: object, name: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"has no {name}")
    return value
