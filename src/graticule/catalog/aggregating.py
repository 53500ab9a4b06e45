"""Aggregations: what comes out, and how counts of groups become buckets.

Every aggregation is a count per group of what a search finds. The store counts (`Groups`, keys as below); what the keys
stand for is said here. Each item is in one bucket, or in `overflow` if it has no value or its bucket is not shown.

Keys: the number of the collection; whole units since 1970 for times; the number of the range for cloud cover; the
platform; and for a geohash its column and row as one number. None: the item has no such value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from graticule.catalog.ranges import Ranges
from graticule.stac.aggregation import AGGREGATIONS
from graticule.stac.datetimes import DAY

#: Groups with their numbers of items.
Groups = Mapping[Any, int]

#: As many buckets are shown; the greatest, where there are more.
MOST_BUCKETS: Final = 10_000
#: Lower ends of the ranges of cloud cover, percent; the first range is below all of them.
CLOUD_RANGES: Final = tuple(range(0, 100, 10))

#: Microseconds of the unit that an interval is counted in; calendars are made of days.
UNITS: Final = {
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": DAY,
    "week": DAY,
    "month": DAY,
    "year": DAY,
}
#: Microseconds of range up to which an interval suits.
_SUITS: Final = ((2 * DAY, "hour"), (92 * DAY, "day"), (3_653 * DAY, "month"))

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - all is UTC
_LETTERS: Final = "0123456789bcdefghjkmnpqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The items of one group."""

    key: str
    frequency: int
    #: Ends of a range of numbers, the lower one within it; None is open.
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One answer: a value, or buckets."""

    name: str
    data_type: str
    value: int | str | None = None
    buckets: tuple[Bucket, ...] | None = None
    #: Items in none of the buckets.
    overflow: int = 0


def value(name: str, found: int | str | None) -> Aggregation:
    """A single value; None where nothing matches."""
    return Aggregation(name, AGGREGATIONS[name][0], value=found)


def terms(
    name: str, groups: Groups, names: Mapping[Any, str] | None = None, *, data_type: str = "string"
) -> Aggregation:
    """The most frequent groups first."""
    buckets = [
        Bucket(str(key) if names is None else names[key], count) for key, count in groups.items() if key is not None
    ]
    buckets.sort(key=lambda one: (-one.frequency, one.key))
    return _shown(name, data_type, buckets, groups)


def cloud_ranges(name: str, groups: Groups) -> Aggregation:
    """Every range from 0 to 100 percent; below 0 only if something is there."""
    ends: list[int | None] = [None, *CLOUD_RANGES, None]
    buckets = []
    for number, (start, end) in enumerate(pairwise(ends)):
        count = groups.get(number, 0)
        if start is not None or count:
            key = f"{'*' if start is None else float(start)}-{'*' if end is None else float(end)}"
            buckets.append(Bucket(key, count, start, end))
    return _shown(name, AGGREGATIONS[name][0], buckets, groups)


def times(name: str, groups: Groups, interval: str) -> Aggregation:
    """The intervals that have items, in the order of time; keys are where they begin."""
    merged: dict[datetime, int] = {}
    for units, count in groups.items():
        if units is None:
            continue
        begin = _begin(_at(units * UNITS[interval]), interval)
        merged[begin] = merged.get(begin, 0) + count
    buckets = [Bucket(_written(begin), count) for begin, count in sorted(merged.items())]
    return _shown(name, f"interval_{interval}", buckets, groups)


def ranges(name: str, groups: Groups, of: Ranges) -> Aggregation:
    """Every range from the first to the last that has items; keys of the groups are numbers of ranges."""
    places = [place for place in groups if place is not None]
    buckets = []
    for place in range(min(places), max(places) + 1) if places else ():
        start, end = of.edge(place), of.edge(place + 1)
        buckets.append(Bucket(f"{start}-{end}", groups.get(place, 0), start, end))
    return _shown(name, "numeric", buckets, groups)


def suitable(first: int, last: int) -> str:
    """An interval that gives a range of time, microseconds since 1970, some dozen buckets."""
    return next((interval for most, interval in _SUITS if last - first <= most), "year")


def instant(us: int | None) -> str | None:
    """Microseconds since 1970 as text."""
    return None if us is None else _written(_at(us))


def grid_bits(precision: int) -> tuple[int, int]:
    """Bits of column and row of a geohash of so many letters."""
    return (5 * precision + 1) // 2, 5 * precision // 2


def geohashes(name: str, groups: Groups, precision: int) -> Aggregation:
    """The most frequent cells first; a key is ``column << 32 | row``."""
    names = {key: _geohash(key >> 32, key & 0xFFFF_FFFF, precision) for key in groups if key is not None}
    return terms(name, groups, names)


def _geohash(column: int, row: int, precision: int) -> str:
    across, up = grid_bits(precision)
    bits = 0
    for place in range(5 * precision):  # from the greatest bit on, longitude and latitude in turn
        if place % 2 == 0:
            across -= 1
            bits = bits << 1 | column >> across & 1
        else:
            up -= 1
            bits = bits << 1 | row >> up & 1
    return "".join(_LETTERS[bits >> 5 * place & 31] for place in reversed(range(precision)))


def _at(us: int) -> datetime:
    """An offset can lead beyond the first and the last year: that counts as their end."""
    try:
        return _EPOCH + timedelta(microseconds=us)
    except OverflowError:
        return datetime.min if us < 0 else datetime.max  # noqa: DTZ901 - as above


def _begin(at: datetime, interval: str) -> datetime:
    if interval == "week":
        return at - timedelta(days=at.weekday())
    if interval == "month":
        return at.replace(day=1)
    return at.replace(month=1, day=1) if interval == "year" else at


def _written(at: datetime) -> str:
    return at.isoformat(timespec="microseconds") + "Z"


def _shown(name: str, data_type: str, buckets: Iterable[Bucket], groups: Groups) -> Aggregation:
    shown = list(buckets)
    if len(shown) > MOST_BUCKETS:
        if data_type.startswith("interval"):
            least = sorted((one.frequency for one in shown), reverse=True)[MOST_BUCKETS - 1]
            shown = [one for one in shown if one.frequency >= least]
        shown = shown[:MOST_BUCKETS]
    overflow = sum(groups.values()) - sum(one.frequency for one in shown)
    return Aggregation(name, data_type, buckets=tuple(shown), overflow=overflow)
