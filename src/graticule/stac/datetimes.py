"""Instants and intervals: RFC 3339 text to microseconds since 1970 UTC, and the ``datetime`` search parameter.

Microseconds are the resolution everywhere in the catalog; digits beyond are cut off, on both sides of a comparison.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from graticule.errors import InvalidParameter

#: RFC 3339 section 5.6 date-time; `t` and `z` may be lower case. The separator is captured so that callers may insist.
_INSTANT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)([Tt ])(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)
_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - offsets are subtracted by hand, so that year 1 does not overflow
_SECOND: Final = 1_000_000
#: Microseconds.
DAY: Final = 86_400 * _SECOND

_REMEDY: Final = (
    "use an RFC 3339 date-time such as 2021-01-01T00:00:00Z, or two of them joined by '/', either of which may be '..' "
    "(in a URL, + is written %2B)"
)


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """A closed interval of microseconds since 1970 UTC; None is an open end. An instant starts and ends at once."""

    start: int | None
    end: int | None


def now_us() -> int:
    """The time now, microseconds since 1970 UTC."""
    return time.time_ns() // 1_000


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as RFC 3339 text: six fractional digits and ``Z``, as the contract has it everywhere."""
    seconds, rest = divmod(us, _SECOND)
    return f"{_to_the_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    """Documents that are written together mostly differ in what follows."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_instant(text: str, *, allow_space: bool = False) -> int:
    """Microseconds since 1970 of an RFC 3339 date-time.

    `allow_space` takes a blank for the ``T``, as the note in section 5.6 permits and published items have it.

    Raises:
        ValueError: with a sentence's second half, such as "has no such day or hour".
    """
    match = _INSTANT.fullmatch(text)
    if match is None or (match[4] == " " and not allow_space):
        raise ValueError("is not an RFC 3339 date-time with a time zone")
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 5, 6, 7))
    leap = second == 60  # a leap second has no place of its own: it counts as the next second
    fraction = int((match[8] or "")[:6].ljust(6, "0"))
    offset = 0
    if match[10]:
        offset_hour, offset_minute = int(match[11]), int(match[12])
        if offset_hour > 23 or offset_minute > 59:
            raise ValueError("has no such time zone offset")
        offset = (offset_hour * 3600 + offset_minute * 60) * (-1 if match[10] == "-" else 1)
    try:
        delta = datetime(year, month, day, hour, minute, 59 if leap else second) - _EPOCH  # noqa: DTZ001 - see _EPOCH
    except ValueError as exc:
        raise ValueError("has no such day or time of day") from exc
    return (delta.days * 86_400 + delta.seconds + leap - offset) * _SECOND + fraction


def parse_extent_end(text: str, *, last: bool) -> int:
    """As `parse_instant`, of one end of a collection's interval: published ones leave out the zone, or the time of day.

    Without a zone it is UTC; a day begins at its first second and ends (`last`) at its last.
    """
    for rest in ("", "Z", "T23:59:59Z" if last else "T00:00:00Z"):
        try:
            return parse_instant(text + rest, allow_space=True)
        except ValueError:
            continue
    raise ValueError("is not an RFC 3339 date-time such as 2021-01-01T00:00:00Z")


def parse_datetime(value: object) -> TimeInterval:
    """The ``datetime`` parameter: an instant, or ``a/b`` with ``..`` or nothing for an open end.

    A date alone is refused, as the STAC API asks ("datetime" of item-search: RFC 3339, section 5.6): readers differ on
    whether it is a day or its first instant. OGC API Features 7.15.4 knows no interval that is open on both sides, so
    neither do we: leave the parameter out.

    Raises:
        InvalidParameter: names the part that cannot be read.
    """
    if not isinstance(value, str) or not value:
        raise _refused("it is not a text")
    parts = value.split("/")
    if len(parts) > 2:
        raise _refused(f"'{value}' has more than two parts")
    if len(parts) == 1:
        instant = _bound(value)
        return TimeInterval(instant, instant)
    start, end = (None if part in ("", "..") else _bound(part) for part in parts)
    if start is None and end is None:
        raise InvalidParameter("datetime: the interval is open on both sides: leave it out.", target="datetime")
    if start is not None and end is not None and start > end:
        raise InvalidParameter(f"datetime: '{value}' ends before it starts.", target="datetime")
    return TimeInterval(start, end)


def _bound(text: str) -> int:
    if _DATE.fullmatch(text):
        raise _refused(f"'{text}' has no time of day: write {text}T00:00:00Z, or {text}T23:59:59Z as an end")
    try:
        return parse_instant(text)
    except ValueError as exc:
        raise _refused(f"'{text}' {exc}") from exc


def _refused(reason: str) -> InvalidParameter:
    return InvalidParameter(f"datetime: {reason}: {_REMEDY}.", target="datetime")
