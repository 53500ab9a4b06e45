"""Finding collections: each is looked at as it is answered, with the extent and summaries of its items.

There are thousands of them at most, so there is no index: a document that was read is kept by its bytes, and what a
search asks of it takes some microseconds.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from graticule.catalog.base import CollectionRecord
from graticule.catalog.describing import described_members, instant_text
from graticule.errors import InvalidParameter
from graticule.stac.bbox import BBox
from graticule.stac.collection_search import CollectionSearch
from graticule.stac.cql2.evaluation import Filter
from graticule.stac.datetimes import TimeInterval, parse_extent_end
from graticule.stac.free_text import fields_of, folded, found_in
from graticule.stac.sorting import SortKey

#: Documents that are kept, some ten kilobytes each.
_KEPT: Final = 4_096
#: Open ends of an extent, for conditions on ``datetime``.
_FIRST, _LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
#: A tenth of a millimetre, degrees.
_TRACE: Final = 1e-9
#: Longitudes repeat.
_TURNS: Final = (0.0, 360.0, -360.0)

#: A value that sorts: kind (0 number, 1 text, 2 boolean, 3 missing), number, text; as for items.
Value = tuple[int, float, str]
_MISSING: Final[Value] = (3, 0.0, "")


@dataclass(frozen=True, slots=True)
class CollectionPage:
    """One page of collections."""

    records: list[CollectionRecord]
    #: Where the next page begins; None when nothing follows.
    next_token: str | None
    #: How many are found in all.
    matched: int


@dataclass(frozen=True, slots=True)
class _Described:
    """What a collection is searched by. Extents that cannot be read are none."""

    members: Mapping[str, Any]
    #: West, south, east, north in degrees; east is the greater.
    boxes: Sequence[tuple[float, float, float, float]]
    intervals: Sequence[TimeInterval]
    #: The whole extent as the times of an item; empty if there is none.
    times: Mapping[str, str | None]
    text: str

    def as_item(self) -> dict[str, Any]:
        """The document in the form that filters are asked about: its members are the properties."""
        return {
            "id": self.members.get("id"),
            "geometry": {"type": "MultiPolygon", "coordinates": [[ring] for box in self.boxes for ring in _rings(box)]},
            "properties": {**self.members, **self.times},
        }


def find_collections(records: Iterable[CollectionRecord], search: CollectionSearch) -> CollectionPage:
    """The page that a search asks for.

    Raises:
        InvalidParameter: the token is none, or belongs to another order.
    """
    holds = None if search.filter is None else Filter(search.filter)
    order = ",".join(map(str, search.sortby))
    after = None if search.token is None else _decode(search.token, order, len(search.sortby))
    found = []
    for record in records:
        described = _described(record.doc, record.whole)
        if _matches(described, search) and (holds is None or holds(_item(record.doc, record.whole), record.id) is True):
            values = [_value(described, key) for key in search.sortby]
            found.append((values, record.created_us, record.id, record))
    found.sort(key=lambda one: _Place(one[0], one[1], one[2], search.sortby))
    left = found
    if after is not None:
        place = _Place(*after, search.sortby)
        left = [one for one in found if place < _Place(one[0], one[1], one[2], search.sortby)]
    page = left[: search.limit]
    token = _encode(order, *page[-1][:3]) if len(left) > len(page) else None
    return CollectionPage([one[3] for one in page], token, len(found))


# --- conditions ------------------------------------------------------------------------------------------------------


def _matches(described: _Described, search: CollectionSearch) -> bool:
    return (
        (search.bbox is None or any(_overlap(box, search.bbox) for box in described.boxes))
        and (search.datetime is None or any(_share(one, search.datetime) for one in described.intervals))
        and (search.text is None or found_in(search.text, described.text))
    )


def _overlap(box: tuple[float, float, float, float], asked: BBox) -> bool:
    west, south, east, north = box
    end = asked.east + (360 if asked.crosses_antimeridian else 0)
    return (
        south <= asked.north
        and north >= asked.south
        and any(west + turn <= end and east + turn >= asked.west for turn in _TURNS)
    )


def _share(one: TimeInterval, other: TimeInterval) -> bool:
    return (one.start is None or other.end is None or one.start <= other.end) and (
        one.end is None or other.start is None or one.end >= other.start
    )


# --- documents -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=_KEPT)
def _described(doc: bytes, whole: bytes | None) -> _Described:
    members = described_members(doc, whole)
    extent = members.get("extent")
    extent = extent if isinstance(extent, Mapping) else {}
    boxes = [_box(one) for one in _listed(extent, "spatial", "bbox")]
    intervals = [one for one in map(_interval, _listed(extent, "temporal", "interval")) if one is not None]
    times: dict[str, str | None] = {}
    if intervals:
        start, end = intervals[0].start, intervals[0].end
        times = {
            "datetime": None,
            "start_datetime": instant_text(start) or _FIRST,
            "end_datetime": instant_text(end) or _LAST,
        }
    return _Described(
        members,
        tuple(box for box in boxes if box is not None),
        intervals,
        times,
        folded(fields_of(members)),
    )


@lru_cache(maxsize=_KEPT)
def _item(doc: bytes, whole: bytes | None) -> dict[str, Any]:
    return _described(doc, whole).as_item()


def _listed(extent: Mapping[str, Any], kind: str, name: str) -> list[Any]:
    part = extent.get(kind)
    found = part.get(name) if isinstance(part, Mapping) else None
    return found if isinstance(found, list) else []


def _box(value: object) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or not all(type(one) in (int, float) for one in value) or len(value) not in (4, 6):
        return None
    west, south, east, north = value if len(value) == 4 else (*value[:2], *value[3:5])
    return float(west), float(south), float(east) + (360 if west > east else 0), float(north)


def _interval(value: object) -> TimeInterval | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    try:
        start = None if value[0] is None else parse_extent_end(str(value[0]), last=False)
        end = None if value[1] is None else parse_extent_end(str(value[1]), last=True)
    except ValueError:
        return None
    return TimeInterval(start, end)


def _rings(box: tuple[float, float, float, float]) -> list[list[list[float]]]:
    """The box as rings; one that crosses the antimeridian in two halves, and a point or line a trace wider."""
    west, south, east, north = box
    east = max(east, west + _TRACE)
    south, north = (south - _TRACE, north) if south == north > 0 else (south, max(north, south + _TRACE))
    parts = [(west, east)] if east <= 180 or west > 180 else [(west, 180.0), (-180.0, east - 360)]
    return [[[w, south], [e, south], [e, north], [w, north], [w, south]] for w, e in parts]


# --- order -----------------------------------------------------------------------------------------------------------


def _value(described: _Described, key: SortKey) -> Value:
    """The value to sort by; ``datetime`` is the beginning of the whole extent."""
    if key.path == ("datetime",):
        starts = described.intervals[:1]
        return (0, float(-(1 << 62) if starts[0].start is None else starts[0].start), "") if starts else _MISSING
    value: Any = described.members
    for name in key.path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return 2, float(value), ""
    if isinstance(value, str):
        return 1, 0.0, value
    return (0, float(value), "") if isinstance(value, int | float) else _MISSING


class _Place:
    """A place in the order: missing values are last in either direction, ties go by creation."""

    __slots__ = ("_created", "_id", "_keys", "_values")

    def __init__(self, values: Sequence[Value], created: int, collection_id: str, keys: Sequence[SortKey]) -> None:
        self._values = values
        self._created = created
        self._id = collection_id
        self._keys = keys

    def __lt__(self, other: _Place) -> bool:
        for mine, theirs, key in zip(self._values, other._values, self._keys, strict=True):
            if mine != theirs:
                if _MISSING in (mine, theirs):
                    return theirs == _MISSING
                return mine > theirs if key.descending else mine < theirs
        return (self._created, self._id) < (other._created, other._id)


def _encode(order: str, values: Sequence[Value], created: int, collection_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([order, values, created, collection_id])).rstrip(b"=").decode("ascii")


def _decode(token: str, order: str, keys: int) -> tuple[list[Value], int, str]:
    try:
        text = token.encode("ascii")
        parts = orjson.loads(base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError) as exc:
        raise _refused("not a token of this catalog: take it from a 'next' link") from exc
    match parts:
        case [str(asked), [*values], int(created), str(collection_id)]:
            if asked != order:
                raise _refused("it belongs to another sortby: keep that of the first page")
            read = [tuple(value) for value in values if isinstance(value, list)]
            if len(read) == keys and all([type(one) for one in value] == [int, float, str] for value in read):
                return read, created, collection_id
    raise _refused("not a token of this catalog: take it from a 'next' link")


def _refused(reason: str) -> InvalidParameter:
    return InvalidParameter(f"token: {reason}.", target="token")
