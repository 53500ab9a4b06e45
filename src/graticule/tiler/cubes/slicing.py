"""Which cells of a variable are meant: ``sel``, ``sel_method``, ``datetime``, ``subdataset_bands`` (api.md 5.2).

Positions along a dimension are looked up here, by number, so that it need not be sorted, nor of a calendar that pandas
has.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from graticule.errors import InvalidParameter
from graticule.tiler.cubes.axes import coordinate_values
from graticule.tiler.datacube import CubeSelection

_EPOCH: Final = "seconds since 1970-01-01"
_TIME: Final = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)(?:[T ](?P<hour>\d\d)(?::?(?P<minute>\d\d)"
    r"(?::?(?P<second>\d\d(?:\.\d{1,9})?))?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
_LINEAR: Final = frozenset({"linear", "bilinear"})
_USABLE: Final = ("nearest", "linear", "bilinear")
#: Bands that one request may read.
MOST_BANDS: Final = 64
_DAY: Final = 86_400.0


@dataclass(frozen=True)
class Part:
    """One place in the dimensions that are not drawn, and how much it counts."""

    at: Mapping[str, int]
    weight: float = 1.0


@dataclass(frozen=True)
class Slice:
    """What is read of a variable."""

    parts: tuple[Part, ...]  #: whose weights are 1 together
    bands: tuple[int, ...] = (0,)  #: places along `band_dim`
    band_dim: str | None = None  #: the one dimension that is left
    left: tuple[tuple[str, int], ...] = ()  #: dimensions that are left over, and their sizes: must be one at most


def slice_of(array: xr.DataArray, spatial: Sequence[str], chosen: CubeSelection) -> Slice:
    """Hold what a request says against the dimensions of a variable.

    Raises:
        InvalidParameter: a dimension that is not there, or a value that is not on it.
    """
    parts: tuple[Part, ...] = (Part({}),)
    interval: tuple[str, NDArray[np.int64]] | None = None
    given: set[str] = set()
    for dim, text in chosen.sel:
        _check_dim(array, spatial, dim)
        if dim in given:
            raise InvalidParameter(f"sel: {dim[:60]!r} is given twice.", target="sel")
        given.add(dim)
        parts = _times(parts, _found(array, dim, text, chosen.sel_method, "sel"), dim)
    if chosen.datetime is not None:
        dim = _time_dim(array)
        if dim in given:
            message = f"Both datetime and sel={dim} choose the time: give one of them."
            raise InvalidParameter(message, target="datetime")
        given.add(dim)
        start, slash, end = chosen.datetime.partition("/")
        if slash:
            interval = (dim, _within(array, dim, start, end))
        else:
            parts = _times(parts, _found(array, dim, start, chosen.sel_method, "datetime"), dim)
    left = tuple(
        (str(dim), array.sizes[dim])
        for dim in array.dims
        if dim not in spatial and (dim not in given or (interval is not None and dim == interval[0]))
    )
    single = {dim: 0 for dim, size in left if size == 1}
    left = tuple((dim, size) for dim, size in left if size != 1)
    parts = tuple(Part({**part.at, **single}, part.weight) for part in parts)
    if interval is not None and interval[0] in dict(left):
        dim, places = interval
        left = tuple((name, len(places) if name == dim else size) for name, size in left)
        bands: tuple[int, ...] = tuple(int(place) for place in places)
    else:
        bands = tuple(range(left[0][1])) if left else (0,)
    if len(left) > 1:
        return Slice(parts, left=left)
    return Slice(parts, _banded(bands, chosen.subdataset_bands, left), left[0][0] if left else None, left)


def check_reduced(found: Slice, array: xr.DataArray, count: int) -> None:
    """May this be read? Every dimension but one must be reduced, and not too many bands be left.

    Raises:
        InvalidParameter: names the dimensions, and how one is chosen from.
    """
    if len(found.left) > 1:
        named = "; ".join(f"{dim} ({_range(array, dim)})" for dim, _ in found.left)
        message = f"{array.name!r} has more dimensions than can be drawn: choose with sel=dimension=value from {named}."
        raise InvalidParameter(message, target="sel")
    if count > MOST_BANDS:
        dim = found.band_dim or ""
        raise InvalidParameter(
            f"{array.name!r} has {count} steps of {dim} ({_range(array, dim)}): choose with sel={dim}=value"
            f"{', datetime' if _is_time(array, dim) else ''} or subdataset_bands; at most {MOST_BANDS} are read.",
            target="sel",
        )


def band_label(array: xr.DataArray, found: Slice, band: int) -> str:
    """What a band is: the coordinate of its step, or the variable's name."""
    if found.band_dim is None or found.band_dim not in array.coords:
        return str(array.name)
    return _text(array.coords[found.band_dim].values[band])


# --- inside


def _check_dim(array: xr.DataArray, spatial: Sequence[str], dim: str) -> None:
    known = [str(name) for name in array.dims if name not in spatial]
    known += [str(name) for name, coordinate in array.coords.items() if coordinate.ndim == 0 and _is_axis(coordinate)]
    if dim not in known:
        message = (
            f"sel: {array.name!r} has no dimension {dim[:60]!r} to choose from: it has {', '.join(known) or 'none'}."
        )
        raise InvalidParameter(message, target="sel")


def _is_axis(coordinate: xr.DataArray) -> bool:
    return "grid_mapping_name" not in coordinate.attrs and coordinate.dtype.kind in "iufMmO"


def _time_dim(array: xr.DataArray) -> str:
    for name in (*array.dims, *(name for name, found in array.coords.items() if found.ndim == 0)):
        if _is_time(array, str(name)):
            return str(name)
    message = (
        f"datetime: {array.name!r} has no dimension of time; choose with sel from {', '.join(map(str, array.dims))}."
    )
    raise InvalidParameter(message, target="datetime")


def _is_time(array: xr.DataArray, dim: str) -> bool:
    coordinate = array.coords.get(dim)
    if coordinate is None or not coordinate.size:
        return False
    return coordinate.dtype.kind == "M" or isinstance(coordinate.values.ravel()[0], cftime.datetime)


def _found(
    array: xr.DataArray, dim: str, text: str, method: str | None, target: Literal["sel", "datetime"]
) -> list[tuple[int, float]]:
    """Places along a dimension, and their weights."""
    if method is not None and method not in _USABLE:
        message = f"sel_method {method!r} does not apply to a single value: give one of {', '.join(_USABLE)}."
        raise InvalidParameter(message, target="sel_method")
    coordinate = array.coords.get(dim)
    if coordinate is None:  # a dimension without a coordinate is counted
        values: NDArray[Any] = np.arange(array.sizes[dim])
    else:
        values = coordinate_values(coordinate)
    if not len(values):
        raise InvalidParameter(f"{target}: {dim!r} has no steps.", target=target)
    if _is_time(array, dim):
        calendar = _calendar(values)
        low, high = _period(text, calendar, target)
        return _pick(_seconds(values, calendar), low, high, text, method, array, dim, target)
    if values.dtype.kind in "iuf":
        try:
            wanted = float(text)
        except ValueError:
            wanted = np.nan
        if not np.isfinite(wanted):
            message = f"{target}: {text[:60]!r} is no number; {dim!r} is {_range(array, dim)}."
            raise InvalidParameter(message, target=target)
        return _pick(values.astype("float64"), wanted, None, text, method, array, dim, target)
    names = [_text(value) for value in values]
    if text not in names:
        message = f"{target}: {dim!r} has no {text[:60]!r}; it is {_range(array, dim)}."
        raise InvalidParameter(message, target=target)
    return [(names.index(text), 1.0)]


def _pick(
    values: NDArray[np.float64],
    wanted: float,
    end: float | None,
    text: str,
    method: str | None,
    array: xr.DataArray,
    dim: str,
    target: Literal["sel", "datetime"],
) -> list[tuple[int, float]]:
    """The step that is meant: the very one, or by the method. A time may name a period, up to `end`."""
    if end is None:
        exact = np.flatnonzero(np.isclose(values, wanted, rtol=1e-6, atol=1e-9))
    else:
        exact = np.flatnonzero((values >= wanted - 1e-3) & (values < max(end, wanted + 2e-3) - 1e-3))
    if len(exact) == 1:
        return [(int(exact[0]), 1.0)]
    distance = np.abs(values - wanted)
    if not np.isfinite(distance).any():
        raise InvalidParameter(f"{target}: {dim!r} has no values to choose from.", target=target)
    nearest = int(np.nanargmin(distance))
    if method == "nearest":
        return [(nearest, 1.0)]
    if method in _LINEAR:
        return _between(values, wanted, text, array, dim, target)
    if len(exact) and end is not None and target == "sel":
        message = f"sel: {text[:60]!r} names {len(exact)} steps of {dim!r}: give the time too, or sel_method=nearest."
        raise InvalidParameter(message, target=target)
    if target == "datetime" and _reaches(values, distance[nearest]):
        return [(nearest, 1.0)]
    message = (
        f"{target}: {dim!r} has no {text[:60]!r}; it is {_range(array, dim)}. sel_method=nearest takes the nearest."
    )
    raise InvalidParameter(message, target=target)


def _reaches(values: NDArray[np.float64], distance: float) -> bool:
    """Is a moment within the steps, or as far outside as they lie apart? A single step stands for its day."""
    ordered = np.unique(values[np.isfinite(values)])
    return bool(distance <= (np.diff(ordered).max() if len(ordered) > 1 else _DAY))


def _between(
    values: NDArray[np.float64],
    wanted: float,
    text: str,
    array: xr.DataArray,
    dim: str,
    target: Literal["sel", "datetime"],
) -> list[tuple[int, float]]:
    order = np.argsort(values)
    after = int(np.searchsorted(values[order], wanted))
    if after in {0, len(values)}:
        if wanted in values:
            return [(int(np.flatnonzero(values == wanted)[0]), 1.0)]
        message = f"{target}: {text[:60]!r} lies outside {dim!r}, which is {_range(array, dim)}."
        raise InvalidParameter(message, target=target)
    low, high = int(order[after - 1]), int(order[after])
    share = float((wanted - values[low]) / (values[high] - values[low]))
    return [(place, weight) for place, weight in ((low, 1 - share), (high, share)) if weight > 0]


def _within(array: xr.DataArray, dim: str, start: str, end: str) -> NDArray[np.int64]:
    values = np.atleast_1d(array.coords[dim].values)
    calendar = _calendar(values)
    seconds = _seconds(values, calendar)
    low = -np.inf if start in {"", ".."} else _period(start, calendar, "datetime")[0]
    high = np.inf
    if end not in {"", ".."}:
        begun, ended = _period(end, calendar, "datetime")
        high = max(ended, begun + 1e-3)  # a moment is within; a day with all its hours
    places = np.flatnonzero((seconds >= low) & (seconds < high))
    if not len(places):
        message = f"datetime: no step of {dim!r} lies within {start[:40]}/{end[:40]}; it is {_range(array, dim)}."
        raise InvalidParameter(message, target="datetime")
    return places


def _times(parts: Iterable[Part], places: Sequence[tuple[int, float]], dim: str) -> tuple[Part, ...]:
    made = tuple(Part({**part.at, dim: place}, part.weight * weight) for part in parts for place, weight in places)
    if len(made) > 8:
        raise InvalidParameter("sel: at most three dimensions are interpolated.", target="sel_method")
    return made


def _banded(bands: tuple[int, ...], wanted: tuple[int, ...], left: tuple[tuple[str, int], ...]) -> tuple[int, ...]:
    if not wanted:
        return bands
    for band in wanted:
        if band > len(bands):
            of = f" steps of {left[0][0]}" if left else ""
            message = f"subdataset_bands: there is no band {band}: there are {len(bands)}{of}."
            raise InvalidParameter(message, target="subdataset_bands")
    return tuple(bands[band - 1] for band in wanted)


def _calendar(values: NDArray[Any]) -> str:
    first = values.ravel()[0]
    return str(first.calendar) if isinstance(first, cftime.datetime) else "proleptic_gregorian"


def _seconds(values: NDArray[Any], calendar: str) -> NDArray[np.float64]:
    """Since 1970, as the calendar counts."""
    if values.dtype.kind == "M":
        seconds = (values - np.datetime64(0, "s")) / np.timedelta64(1, "us") / 1e6
        return np.asarray(seconds, dtype="float64")
    return np.asarray(cftime.date2num(values, _EPOCH, calendar=calendar), dtype="float64")


def _period(text: str, calendar: str, target: Literal["sel", "datetime"]) -> tuple[float, float]:
    """Begin and end of what a date or time names (RFC 3339, or less of it), seconds since 1970."""
    match = _TIME.fullmatch(text.strip())
    if match is not None:
        with contextlib.suppress(ValueError, OverflowError):
            return _bounds(match.groupdict(), calendar)
    message = f"{target}: {text[:60]!r} is no date or time of the {calendar} calendar, such as 2024-05-01T00:00:00Z."
    raise InvalidParameter(message, target=target)


def _bounds(found: Mapping[str, str | None], calendar: str) -> tuple[float, float]:
    names = (("year", 0), ("month", 1), ("day", 1), ("hour", 0), ("minute", 0))
    year, month, day, hour, minute = (int(found[name] or least) for name, least in names)
    second = float(found["second"] or 0)
    begin = cftime.datetime(year, month, day, hour, minute, calendar=calendar)
    start = float(cftime.date2num(begin, _EPOCH, calendar=calendar)) + second - _zone(found["zone"])
    if found["month"] is None:
        after = cftime.datetime(year + 1, 1, 1, calendar=calendar)
    elif found["day"] is None:
        after = cftime.datetime(year + month // 12, month % 12 + 1, 1, calendar=calendar)
    else:
        length = _DAY if found["hour"] is None else 3600.0 if found["minute"] is None else 60.0
        return start, start + (length if found["second"] is None else 0.0)
    return start, float(cftime.date2num(after, _EPOCH, calendar=calendar))


def _zone(text: str | None) -> float:
    if text is None or text == "Z":
        return 0.0
    sign = -1 if text[0] == "-" else 1
    return sign * (int(text[1:3]) * 3600 + int(text[-2:]) * 60)


def _range(array: xr.DataArray, dim: str) -> str:
    """The steps of a dimension, for people."""
    coordinate = array.coords.get(dim)
    if coordinate is None:
        return f"0 to {array.sizes[dim] - 1}"
    values = coordinate_values(coordinate)
    shown = [_text(value) for value in (values if len(values) <= 8 else values[[0, 1, -2, -1]])]
    return ", ".join(shown) if len(values) <= 8 else f"{shown[0]}, {shown[1]}, … {shown[2]}, {shown[3]}"


def _text(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return f"{np.datetime_as_string(value, unit='s')}Z"
    if isinstance(value, cftime.datetime):
        return str(value.isoformat())
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
