"""What an aggregation asks for: the names of the Aggregation extension 0.3.0, their options, and the parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from graticule.errors import InvalidParameter
from graticule.stac.search import Search, parse_names, parse_search

#: Intervals of ``datetime_frequency``, the shortest first.
INTERVALS: Final = ("second", "minute", "hour", "day", "week", "month", "year")
DEFAULT_PRECISION: Final = 3
#: Cells of 1.2 km by 600 m at the equator; beyond, there are more cells than buckets.
MAX_PRECISION: Final = 6

#: What can be asked for: the data type, and what it says.
AGGREGATIONS: Final[dict[str, tuple[str, str]]] = {
    "total_count": ("numeric", "How many items match."),
    "collection_frequency": ("string", "How many of them each collection has."),
    "datetime_min": ("datetime", "The earliest datetime (start_datetime where that is null)."),
    "datetime_max": ("datetime", "The latest datetime (start_datetime where that is null)."),
    "datetime_frequency": ("datetime", "How many there are per interval, in UTC; see datetime_frequency_interval."),
    "cloud_cover_frequency": ("numeric", "How many have an eo:cloud_cover in each range of ten percent."),
    "platform_frequency": ("string", "How many each platform has."),
    "centroid_geohash_grid_frequency": (
        "string",
        "How many have the centre of their bounds in each cell; see centroid_geohash_grid_frequency_precision.",
    ),
}

#: Aggregations of properties that the extension names without their prefix.
_SHORT: Final = {
    "view:off_nadir": "off_nadir_frequency",
    "view:sun_azimuth": "sun_azimuth_frequency",
    "view:sun_elevation": "sun_elevation_frequency",
    "grid:code": "grid_code_frequency",
}

_INTERVAL: Final = "datetime_frequency_interval"
_PRECISION: Final = "centroid_geohash_grid_frequency_precision"
#: Parameters of a search that mean nothing here.
_MEANINGLESS: Final = frozenset({"limit", "token", "sortby", "fields"})


#: A width of ranges: so many digits at most, and none beyond 9 places.
_WIDTH: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


class Scale(Enum):
    """What the values of a property are, and so how they are put into buckets."""

    TERMS = "terms"  #: each value by itself
    NUMBERS = "numbers"  #: ranges of equal width
    INTEGERS = "integers"  #: ranges of whole numbers
    TIMES = "times"  #: intervals of the calendar

    @property
    def data_type(self) -> str:
        """As the extension calls it."""
        return {Scale.TERMS: "string", Scale.TIMES: "datetime"}.get(self, "numeric")


@dataclass(frozen=True, slots=True)
class Frequency:
    """A count of the values of one property."""

    property: str
    scale: Scale
    #: Of times one of `INTERVALS`, of numbers the width of a range; None: whatever suits the values found.
    interval: str | Decimal | None = None


def scale_of(definition: Mapping[str, Any], data_type: str | None = None) -> Scale:
    """How the values of a property of this JSON schema are counted; `data_type` where that is silent."""
    if "enum" in definition or "const" in definition:
        return Scale.TERMS
    named = definition.get("type")
    types = {one for one in (named if isinstance(named, list) else [named]) if isinstance(one, str)} - {"null"}
    if types and types <= {"number", "integer"}:
        return Scale.NUMBERS if "number" in types else Scale.INTEGERS
    if definition.get("format") in {"date-time", "date"}:
        return Scale.TIMES
    by_data_type = {"number": Scale.NUMBERS, "timestamp": Scale.TIMES, "date": Scale.TIMES}
    return Scale.TERMS if types else by_data_type.get(data_type or "", Scale.TERMS)


def frequency_names(properties: Mapping[str, Scale]) -> dict[str, str]:
    """Aggregations over declared properties, by name: ``{property}_frequency`` unless there is a shorter one."""
    names = {_SHORT.get(name, f"{name}_frequency"): name for name in properties}
    return {name: of for name, of in names.items() if name not in AGGREGATIONS}


@dataclass(frozen=True, slots=True)
class AggregationRequest:
    """The aggregations to compute over what a search finds."""

    names: tuple[str, ...]
    search: Search
    #: One of `INTERVALS`; None: whatever suits the range of time found.
    interval: str | None = None
    #: Letters of a geohash.
    precision: int = DEFAULT_PRECISION
    #: Those of `names` that count a declared property.
    frequencies: Mapping[str, Frequency] = field(default_factory=dict)


def parse_aggregation(
    parameters: Mapping[str, Any], properties: Mapping[str, Scale] | None = None
) -> AggregationRequest:
    """An `AggregationRequest` from query parameters or a JSON body: those of a search, and ``aggregations``.

    `properties` are those that are declared, which may be counted too.

    Raises:
        InvalidParameter: names the parameter and what it takes.
    """
    properties = properties or {}
    declared = frequency_names(properties)
    names = parse_names("aggregations", parameters.get("aggregations"))
    if names is None:
        raise _refused("aggregations", f"name at least one of {_listed(declared)}")
    for name in names:
        if name not in AGGREGATIONS and name not in declared:
            raise _refused("aggregations", f"'{name[:60]}' is not one of {_listed(declared)}")
    return AggregationRequest(
        names,
        parse_search({name: value for name, value in parameters.items() if name not in _MEANINGLESS}),
        _interval(_INTERVAL, parameters.get(_INTERVAL)),
        _precision(parameters.get(_PRECISION)),
        {
            name: _frequency(name, declared[name], properties[declared[name]], parameters)
            for name in names
            if name in declared
        },
    )


def _frequency(name: str, of: str, scale: Scale, parameters: Mapping[str, Any]) -> Frequency:
    parameter = f"{name}_interval"
    value = parameters.get(parameter)
    if value is None:
        return Frequency(of, scale)
    if scale is Scale.TERMS:
        raise _refused(parameter, f"'{of}' is neither a number nor a time: each of its values is counted by itself")
    if scale is Scale.TIMES:
        return Frequency(of, scale, _interval(parameter, value))
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not _WIDTH.fullmatch(text) or not Decimal(text):
        reason = "is not the width of a range: a number above 0, of up to 12 digits and 9 decimals"
        raise _refused(parameter, f"{str(value)[:40]!r} {reason}")
    return Frequency(of, scale, Decimal(text))


def _listed(declared: Mapping[str, str]) -> str:
    """Of hundreds of names only the first are told; the endpoint ``aggregations`` has them all."""
    names = [*AGGREGATIONS, *declared]
    return ", ".join(names[:40]) + (f" and {len(names) - 40} more (see /aggregations)" if len(names) > 40 else "")


def _interval(parameter: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value in INTERVALS):
        return value
    raise _refused(parameter, f"{str(value)[:40]!r} is not one of {', '.join(INTERVALS)}")


def _refused(parameter: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f"{parameter}: {reason}.", target=parameter)


def _precision(value: object) -> int:
    if value is None:
        return DEFAULT_PRECISION
    try:
        number = int(value) if isinstance(value, str) and value.isascii() else value
    except ValueError:
        number = None
    if type(number) is not int or not 1 <= number <= MAX_PRECISION:
        raise InvalidParameter(
            f"{_PRECISION}: {str(value)[:40]!r} is not a number of letters from 1 to {MAX_PRECISION}.",
            target=_PRECISION,
        )
    return number
