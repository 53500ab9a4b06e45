"""What the items of a collection are as a whole: `Whole` (extent, values and ranges of properties), and `Facts` of one.

A whole grows with every item that is added. Counts of values shrink again exactly; a bound does not tell which other
item holds it, so the removal of an item that touches one is reported (`Whole.remove`), and a worker looks again.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, Literal

import orjson

from graticule.catalog.cells import TURN, Box
from graticule.stac.documents import JsonObject

#: How a property is summed up: the values it has, or the least and the greatest of them.
Kind = Literal["values", "range"]

#: Summed up for every collection (STAC common metadata; extensions eo, proj, sar, view, processing).
DEFAULT_KEYS: Final[Mapping[str, Kind]] = {
    "constellation": "values",
    "eo:cloud_cover": "range",
    "gsd": "values",
    "instruments": "values",
    "mission": "values",
    "platform": "values",
    "processing:level": "values",
    "proj:code": "values",
    "proj:epsg": "values",
    "sar:instrument_mode": "values",
    "view:off_nadir": "range",
}
#: A property with more values than this is none that a list sums up.
MAX_VALUES: Final = 100
#: Keys of a collection's own that are followed, and the length of a text that is a value.
MAX_KEYS: Final = 50
_MAX_TEXT: Final = 200
#: Intervals of longitude that are kept apart. More are joined, over the narrowest gap first.
_MAX_SPANS: Final = 16


class Stale(IntFlag):
    """What of a whole may be too wide since an item was removed."""

    NOTHING = 0
    TIME = 1
    REST = 2


def keys_of(document: Mapping[str, Any]) -> dict[str, Kind]:
    """The properties to sum up for a collection: the usual ones, and those that its ``summaries`` name.

    A summary that is a JSON Schema is the owner's alone (STAC Collection specification, Summaries), and a list may
    hold what is no value of a property, such as bands: then nothing is found, and the list stays as it is.
    """
    keys = dict(DEFAULT_KEYS)
    summaries = document.get("summaries")
    if not isinstance(summaries, Mapping):
        return keys
    for key, summary in list(summaries.items())[:MAX_KEYS]:
        if isinstance(summary, list):
            keys[key] = "values"
        elif is_range(summary):
            keys[key] = "range"
        else:
            keys.pop(key, None)
    return keys


def is_range(summary: object) -> bool:
    """Is a summary a Range Object?"""
    return isinstance(summary, Mapping) and {"minimum", "maximum"} <= summary.keys()


@dataclass(frozen=True, slots=True)
class Facts:
    """What one item adds to the whole."""

    box: Box | None
    t: int
    te: int
    #: By property: a list of values to count, or the one value that a range has to hold. The shape tells which, so that
    #: facts stay right when a collection comes to sum up a property the other way.
    properties: Mapping[str, Any]

    @classmethod
    def of_row(cls, box: Box | None, t: int, te: int, properties: Mapping[str, Any], keys: Mapping[str, Kind]) -> Facts:
        """The facts of an item: its columns, and those of its properties that are summed up."""
        return cls(box, t, te, _properties(properties, keys))

    @classmethod
    def read(cls, stored: bytes) -> Facts:
        """What `dumps` wrote."""
        x0, y0, x1, y1, t, te, properties = orjson.loads(stored)
        return cls(None if x0 is None else Box(x0, y0, x1, y1), t, te, properties)

    def dumps(self) -> bytes:
        """As JSON."""
        return _dumps(self.box or (None,) * 4, self.t, self.te, self.properties)


def _dumps(corners: Iterable[int | None], t: int, te: int, properties: Mapping[str, Any]) -> bytes:
    return orjson.dumps([*corners, t, te, properties])


def _properties(properties: Mapping[str, Any], keys: Mapping[str, Kind]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in [name for name in properties if name in keys]:
        value, kind = properties[key], keys[key]
        if kind == "range":
            if _is_value(value) and not isinstance(value, bool):
                found[key] = value
        elif type(value) is not list:
            if _is_value(value):
                found[key] = [value]
        elif values := [one for one in value[:MAX_VALUES] if _is_value(one)]:
            found[key] = values
    return found


def _is_value(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, int)


@dataclass(slots=True)
class Bounds:
    """The part of a whole that only grows: its place, its time, and the ranges of properties."""

    #: Longitudes that items cover: (west, width), west in -180..180, in order, none meeting the next; 1e-7 degree.
    spans: list[tuple[int, int]] = field(default_factory=list)
    #: Least and greatest latitude; and instants, microseconds since 1970.
    south: int | None = None
    north: int | None = None
    begin: int | None = None
    end: int | None = None
    ranges: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, facts: Facts) -> None:
        """Widen by an item."""
        box = facts.box
        if box is not None:
            self.south, self.north = _least(self.south, box.y0), _greatest(self.north, box.y1)
            self.cover(box.x0, box.x1 - box.x0)
        self.begin, self.end = _least(self.begin, facts.t), _greatest(self.end, facts.te)
        for key, value in facts.properties.items():
            if not isinstance(value, list):
                self._stretch(key, value)

    def add_sums(self, sums: Sums) -> None:
        """Widen by many items."""
        self.join(sums.bounds)
        for key, values in sums.ranged.items():
            for value in values:
                self._stretch(key, value)

    def join(self, other: Bounds) -> None:
        """Widen by other bounds."""
        for west, width in other.spans:
            self.cover(west, width)
        self.south, self.begin = _least(self.south, other.south), _least(self.begin, other.begin)
        self.north, self.end = _greatest(self.north, other.north), _greatest(self.end, other.end)
        for key, ends in other.ranges.items():
            for value in ends:
                self._stretch(key, value)

    def touched(self, facts: Facts) -> Stale:
        """What may be too wide when this item goes."""
        stale = Stale.NOTHING
        if facts.t == self.begin or facts.te == self.end:
            stale |= Stale.TIME
        box = facts.box
        if box is not None and (
            box.y0 == self.south
            or box.y1 == self.north
            or any(box.x0 == west or (box.x1 - west - width) % TURN == 0 for west, width in self.spans)
        ):
            stale |= Stale.REST
        if any(
            not isinstance(value, list) and value in self.ranges.get(key, ()) for key, value in facts.properties.items()
        ):
            stale |= Stale.REST
        return stale

    def bbox(self) -> tuple[float, float, float, float] | None:
        """West, south, east, north in degrees; west is greater than east where that box is the smaller one."""
        if not self.spans or self.south is None or self.north is None:
            return None
        west, width = _outside_widest_gap(self.spans)
        east = west + width
        if width >= TURN:
            west, east = -TURN // 2, TURN // 2
        elif east > TURN // 2:
            east -= TURN
        return degrees(west), degrees(self.south), degrees(east), degrees(self.north)

    def dumps(self) -> JsonObject:
        """As JSON members."""
        return {
            "spans": self.spans, "south": self.south, "north": self.north, "begin": self.begin, "end": self.end,
            "ranges": self.ranges,
        }  # fmt: skip

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> Bounds:
        """What `dumps` gave."""
        bounds = cls(**{name: members[name] for name in cls.__slots__ if name in members})
        bounds.spans = [(west, width) for west, width in bounds.spans]
        return bounds

    def cover(self, west: int, width: int) -> None:
        """Widen by longitudes."""
        for start, have in self.spans:  # the usual case, once a collection has some items
            if (west - start) % TURN + width <= have:
                return
        self.spans = _joined([*self.spans, ((west + TURN // 2) % TURN - TURN // 2, min(width, TURN))])

    def _stretch(self, key: str, value: Any) -> None:
        have = self.ranges.get(key)
        if have is None:
            self.ranges[key] = [value, value]
        elif isinstance(have[0], str) == isinstance(value, str):  # the first one says what is compared
            have[0], have[1] = min(have[0], value), max(have[1], value)


@dataclass(slots=True)
class Whole:
    """The items of a collection as a whole."""

    #: How many there are.
    n: int = 0
    bounds: Bounds = field(default_factory=Bounds)
    #: By property: how many items have a value, by its JSON; None: too many values to tell.
    values: dict[str, dict[str, int] | None] = field(default_factory=dict)

    def add(self, facts: Facts) -> None:
        """An item was added."""
        self.n += 1
        self.bounds.add(facts)
        self._count(_counted(facts), 1)

    def add_sums(self, sums: Sums) -> None:
        """Many items were added."""
        self.n += len(sums.facts)
        self.bounds.add_sums(sums)
        for pair, times in sums.counted.items():
            self._count((pair,), times)

    def _count(self, counted: Iterable[tuple[str, str]], times: int) -> None:
        for key, text in counted:
            counts = self.values.setdefault(key, {})
            if counts is not None:
                counts[text] = counts.get(text, 0) + times
                if len(counts) > MAX_VALUES:
                    self.values[key] = None

    def remove(self, facts: Facts) -> Stale:
        """An item was removed; answers what may be too wide now."""
        self.n -= 1
        for key, text in _counted(facts):
            counts = self.values.get(key)
            if counts is None:
                continue
            counts[text] = counts.get(text, 0) - 1
            if counts[text] <= 0:
                del counts[text]
            if not counts:
                del self.values[key]
        return self.bounds.touched(facts)

    def dumps(self) -> bytes:
        """As JSON."""
        return orjson.dumps({"n": self.n, "values": self.values, **self.bounds.dumps()})

    @classmethod
    def read(cls, stored: bytes) -> Whole:
        """What `dumps` wrote."""
        members = orjson.loads(stored)
        return cls(members.get("n", 0), Bounds.read(members), members.get("values", {}))


@dataclass(frozen=True, slots=True)
class Sums:
    """What many items of a collection add to the whole of it."""

    #: The keys by which they were taken from the properties.
    keys: Mapping[str, Kind]
    #: Of every item, `Facts.dumps`.
    facts: list[bytes]
    #: Without ranges of properties: what those have to hold is `ranged`.
    bounds: Bounds
    #: How many items have a value: by property and JSON of the value.
    counted: Mapping[tuple[str, str], int]
    ranged: Mapping[str, Sequence[Any]]

    @classmethod
    def joined(cls, parts: Sequence[Sums]) -> Sums | None:
        """Those of several batches; None if they were taken by different keys."""
        first = parts[0]
        if len(parts) == 1:
            return first
        if any(part.keys != first.keys for part in parts):
            return None
        bounds, counted, ranged = Bounds(), Counter[tuple[str, str]](), defaultdict[str, list[Any]](list)
        for part in parts:
            bounds.join(part.bounds)
            counted.update(part.counted)
            for key, values in part.ranged.items():
                ranged[key] += values
        return cls(first.keys, [fact for part in parts for fact in part.facts], bounds, counted, ranged)


class Summing:
    """Sums up items, one after the other."""

    def __init__(self, keys: Mapping[str, Kind]) -> None:
        """`keys`: the properties that their collection sums up."""
        self._keys = keys
        self._facts: list[bytes] = []
        self._boxes: list[list[int]] = []
        self._times: list[tuple[int, int]] = []
        self._counted: list[tuple[str, str]] = []
        self._ranged: defaultdict[str, list[Any]] = defaultdict(list)

    def add(self, columns: tuple[Any, ...], properties: Mapping[str, Any]) -> None:
        """Add an item: its columns (`searchable.Searchable`) and its properties."""
        _, t, te, _, *corners = columns[:8]
        found = _properties(properties, self._keys)
        for key, values in found.items():
            if type(values) is not list:
                self._ranged[key].append(values)
            elif len(values) == 1:
                self._counted.append((key, _text(values[0])))
            else:
                self._counted += _counted_in(key, values)
        self._facts.append(_dumps(corners, t, te, found))
        self._times.append((t, te))
        if corners[0] is not None:
            self._boxes.append(corners)

    def sums(self) -> Sums:
        """Of what was added."""
        bounds = Bounds()
        for x0, _, x1, _ in self._boxes:
            bounds.cover(x0, x1 - x0)
        if self._boxes:
            bounds.south, bounds.north = min([box[1] for box in self._boxes]), max([box[3] for box in self._boxes])
        if self._times:
            bounds.begin, bounds.end = min([t for t, _ in self._times]), max([te for _, te in self._times])
        ranged = {key: _ends(values) for key, values in self._ranged.items()}
        return Sums(self._keys, self._facts, bounds, dict(Counter(self._counted)), ranged)


def _ends(values: list[Any]) -> list[Any]:
    """Least and greatest; all of them where they are texts and numbers, which do not compare."""
    is_one_kind = len({isinstance(value, str) for value in values}) == 1
    return [min(values), max(values)] if is_one_kind else values


def degrees(value: int) -> float:
    """1e-7 degree as degrees: what rounding outward may have added to a shorter number is taken off again."""
    exact = value / 1e7
    short = round(exact, 6)
    return short if abs(exact - short) < 1.5e-7 else exact


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _greatest(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


def _counted(facts: Facts) -> Iterable[tuple[str, str]]:
    for key, values in facts.properties.items():
        if isinstance(values, list):
            yield from _counted_in(key, values)


def _counted_in(key: str, values: list[Any]) -> list[tuple[str, str]]:
    if len(values) == 1:
        return [(key, _text(values[0]))]
    return [(key, text) for text in {_text(value) for value in values}]


@lru_cache(maxsize=4096, typed=True)
def _text(value: str | float | bool) -> str:
    """The JSON of a value: 10 and 10.0 are two."""
    return orjson.dumps(value).decode()


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans on the circle, those that meet made one, and so many joined that few are left."""
    spans = sorted(spans)
    joined: list[tuple[int, int]] = []
    for west, width in spans:
        if joined and west <= joined[-1][0] + joined[-1][1]:
            first = joined[-1][0]
            joined[-1] = (first, max(joined[-1][1], west + width - first))
        else:
            joined.append((west, width))
    # The last ones may reach round into the first.
    while len(joined) > 1 and joined[-1][0] + joined[-1][1] - TURN >= joined[0][0]:
        west, width = joined[-1]
        first, more = joined.pop(0)
        joined[-1] = (west, max(width, first + more + TURN - west))
    if len(joined) == 1 and joined[0][1] >= TURN:
        return [(-TURN // 2, TURN)]
    while len(joined) > _MAX_SPANS:
        gaps = [joined[i + 1][0] - joined[i][0] - joined[i][1] for i in range(len(joined) - 1)]
        at = gaps.index(min(gaps))
        west, _ = joined[at]
        after, width = joined.pop(at + 1)
        joined[at] = (west, after + width - west)
    return joined


def _outside_widest_gap(spans: list[tuple[int, int]]) -> tuple[int, int]:
    """West and width of the narrowest interval round all spans; of equal ones that which does not pass 180 degrees."""
    best, start = spans[0][0] + TURN - spans[-1][0] - spans[-1][1], spans[0][0]
    for (west, width), (after, _) in pairwise(spans):
        if after - west - width > best:
            best, start = after - west - width, after
    return start, min(TURN - best, TURN)
