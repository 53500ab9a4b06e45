"""Owns: when a scene was taken, and how that is known.

In this order: what the user says of all (``--datetime``), what a pattern finds in the path (``--datetime-pattern``),
the scene's metadata file (MTL, SAFE), GDAL's acquisition time, a date in the file's name, TIFF's DateTime (which is
when the file was written), a fallback. Times without a zone count as UTC.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from graticule.errors import NotForged
from graticule.stac.datetimes import parse_instant, rfc3339
from graticule.stac.documents import JsonObject

_DAY: Final = re.compile(
    r"(?<!\d)(?P<Y>(?:19|20)\d\d)(?P<s>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=s)(?P<d>0[1-9]|[12]\d|3[01])"
    r"(?:[T_\-](?P<H>[01]\d|2[0-3])[-_:]?(?P<M>[0-5]\d)[-_:]?(?P<S>[0-5]\d))?(?!\d)"
)
_DAY_OF_YEAR: Final = re.compile(r"(?<![0-9A-Za-z])A(?P<Y>(?:19|20)\d\d)(?P<j>[0-3]\d\d)(?!\d)")
_MONTH: Final = re.compile(r"(?<!\d)(?P<Y>(?:19|20)\d\d)[-_]?(?P<m>0[1-9]|1[0-2])(?!\d)")
_YEAR: Final = re.compile(r"(?<![0-9A-Za-z])(?P<Y>(?:19|20)\d\d)(?![0-9A-Za-z])")

_DIRECTIVES: Final = {
    "Y": r"(?P<Y>\d{4})",
    "m": r"(?P<m>\d{2})",
    "d": r"(?P<d>\d{2})",
    "j": r"(?P<j>\d{3})",
    "H": r"(?P<H>\d{2})",
    "M": r"(?P<M>\d{2})",
    "S": r"(?P<S>\d{2})",
}

#: Names of members of metadata files that hold the time: Sentinel-2 and Sentinel-1 SAFE.
_SENSED: Final = ("DATATAKE_SENSING_START", "PRODUCT_START_TIME", "SENSING_TIME", "startTime")
_TIFF_DATE: Final = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")
_REMEDY: Final = (
    "no time is known of it: name it with --datetime (or --fallback-datetime for those that tell none), or say where"
    " the path has it, such as --datetime-pattern '_%Y%m%d_'"
)


@dataclass(frozen=True)
class When:
    """An instant, or a year or month that a scene stands for."""

    start: datetime
    end: datetime | None  #: None: an instant
    source: str  #: how it is known

    def properties(self) -> JsonObject:
        """Members of an Item's properties (STAC common metadata, date and time)."""
        if self.end is None:
            return {"datetime": _text(self.start)}
        return {"datetime": None, "start_datetime": _text(self.start), "end_datetime": _text(self.end)}


@dataclass(frozen=True)
class TimeRules:
    """What the user says of times."""

    fixed: When | None = None
    fallback: When | None = None
    pattern: re.Pattern[str] | None = None

    @classmethod
    def from_options(cls, fixed: str | None, fallback: str | None, pattern: str | None) -> TimeRules:
        """Read the options.

        Raises:
            NotForged: one of them is no time, or no pattern.
        """
        return cls(
            fixed=None if fixed is None else read_time(fixed, "--datetime"),
            fallback=None if fallback is None else read_time(fallback, "--fallback-datetime"),
            pattern=None if pattern is None else _compiled(pattern),
        )

    def when(self, place: str, names: Iterable[str], metadata: Mapping[str, str], tags: Mapping[str, str]) -> When:
        """The time of a scene.

        Args:
            place: the path of its first raster.
            names: its id and the names of its rasters, the first one first.
            metadata: what its metadata files say.
            tags: what its rasters say.

        Raises:
            NotForged: nothing tells.
        """
        if self.fixed is not None:
            return self.fixed
        if self.pattern is not None:
            match = self.pattern.search(place)
            if match is None and self.fallback is None:
                raise NotForged(f"its path does not fit --datetime-pattern: {_REMEDY.partition(': ')[2]}")
            if match is not None:
                return _matched(match, "pattern")
        found = _sensed(metadata) or _acquired(tags)
        found = found or next((when for name in names if (when := _named(name))), None)
        found = found or _written(tags) or self.fallback
        if found is None:
            raise NotForged(_REMEDY)
        return found


def read_time(text: str, option: str) -> When:
    """An instant, a day, month or year, or two of them with a slash between.

    Raises:
        NotForged: it is none.
    """
    start, slash, end = text.partition("/")
    try:
        first, last = _span(start), _span(end) if slash else None
    except ValueError as exc:
        raise NotForged(
            f"{option} {text!r} is no time: write 2021, 2021-07, 2021-07-14, 2021-07-14T10:20:30Z, or two of them"
            " joined by a slash."
        ) from exc
    if last is None:
        return When(first[0], first[1], "given")
    finish = last[1] or last[0]
    if finish < first[0]:
        raise NotForged(f"{option} {text!r} ends before it starts.")
    return When(first[0], finish, "given")


def _span(text: str) -> tuple[datetime, datetime | None]:
    text = text.strip()
    if re.fullmatch(r"\d{4}", text):
        return _whole(int(text), None)
    if re.fullmatch(r"\d{4}-\d\d", text):
        return _whole(int(text[:4]), int(text[5:]))
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC), None
    return _instant(text), None


def _instant(text: str) -> datetime:
    zoned = text if re.search(r"(?:[Zz]|[+-]\d\d:\d\d)$", text) else f"{text}Z"
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=parse_instant(zoned, allow_space=True))


def _whole(year: int, month: int | None) -> tuple[datetime, datetime]:
    """A year or month, from its first to its last second."""
    last = 12 if month is None else month
    start = datetime(year, month or 1, 1, tzinfo=UTC)
    return start, datetime(year, last, calendar.monthrange(year, last)[1], 23, 59, 59, tzinfo=UTC)


def _compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression in which %Y, %m, %d, %j, %H, %M and %S stand for digits."""
    text = re.sub(r"%([A-Za-z])", lambda match: _DIRECTIVES.get(match[1], match[0]), pattern)
    try:
        compiled = re.compile(text)
    except re.error as exc:
        raise NotForged(f"--datetime-pattern {pattern!r} is no pattern: {exc}.") from exc
    if "Y" not in compiled.groupindex:
        raise NotForged(f"--datetime-pattern {pattern!r} has no %Y; also known are %m, %d, %j, %H, %M, %S.")
    return compiled


def _matched(match: re.Match[str], source: str) -> When:
    parts = {name: int(text) for name, text in match.groupdict().items() if text and text.isdigit()}
    try:
        if "j" in parts:
            day = datetime(parts["Y"], 1, 1, tzinfo=UTC) + timedelta(days=parts["j"] - 1)
        elif "d" in parts and "m" in parts:
            day = datetime(parts["Y"], parts["m"], parts["d"], tzinfo=UTC)
        else:
            return When(*_whole(parts["Y"], parts.get("m")), source)
        clock = timedelta(hours=parts.get("H", 0), minutes=parts.get("M", 0), seconds=parts.get("S", 0))
    except ValueError as exc:
        raise NotForged(f"{match[0]!r} in its path is no date ({exc}): correct --datetime-pattern") from exc
    return When(day + clock, None, source)


def _named(name: str) -> When | None:
    """The first date in a name that a calendar has, and that is not in the future: else digits mean something else."""
    for pattern in (_DAY, _DAY_OF_YEAR, _MONTH, _YEAR):
        for match in pattern.finditer(name):
            try:
                when = _matched(match, "name")
            except NotForged:
                continue
            if when.start <= datetime.now(UTC) + timedelta(days=1):
                return when
    return None


def _sensed(metadata: Mapping[str, str]) -> When | None:
    day, clock = metadata.get("DATE_ACQUIRED"), metadata.get("SCENE_CENTER_TIME")
    texts = [f"{day}T{clock}", day] if day and clock else [day] if day else []
    texts += [metadata[name] for name in _SENSED if name in metadata]
    for text in texts:
        try:
            return When(*_span(text or ""), "metadata")
        except ValueError:
            continue
    return None


def _acquired(tags: Mapping[str, str]) -> When | None:
    """GDAL's IMAGERY domain: what its readers of satellite formats know."""
    try:
        return When(*_span(tags.get("ACQUISITIONDATETIME", "")), "tags")
    except ValueError:
        return None


def _written(tags: Mapping[str, str]) -> When | None:
    match = _TIFF_DATE.fullmatch(tags.get("TIFFTAG_DATETIME", "").strip("\0 "))
    try:
        return When(datetime(*map(int, match.groups()), tzinfo=UTC), None, "TIFFTAG_DATETIME") if match else None  # type: ignore[arg-type,misc]
    except ValueError:
        return None


def _text(moment: datetime) -> str:
    whole = rfc3339(round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)))
    return re.sub(r"\.?0*Z$", "Z", whole) if "." in whole else whole
