"""What an aggregation asks for: the names of the Aggregation extension 0.3.0, their options, and the parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

_INTERVAL: Final = "datetime_frequency_interval"
_PRECISION: Final = "centroid_geohash_grid_frequency_precision"
#: Parameters of a search that mean nothing here.
_MEANINGLESS: Final = frozenset({"limit", "token", "sortby", "fields"})


@dataclass(frozen=True, slots=True)
class AggregationRequest:
    """The aggregations to compute over what a search finds."""

    names: tuple[str, ...]
    search: Search
    #: One of `INTERVALS`; None: whatever suits the range of time found.
    interval: str | None = None
    #: Letters of a geohash.
    precision: int = DEFAULT_PRECISION


def parse_aggregation(parameters: Mapping[str, Any]) -> AggregationRequest:
    """An `AggregationRequest` from query parameters or a JSON body: those of a search, and ``aggregations``.

    Raises:
        InvalidParameter: names the parameter and what it takes.
    """
    names = parse_names("aggregations", parameters.get("aggregations"))
    if names is None:
        raise InvalidParameter(f"aggregations: name at least one of {', '.join(AGGREGATIONS)}.", target="aggregations")
    for name in names:
        if name not in AGGREGATIONS:
            raise InvalidParameter(
                f"aggregations: '{name[:60]}' is not one of {', '.join(AGGREGATIONS)}.", target="aggregations"
            )
    return AggregationRequest(
        names,
        parse_search({name: value for name, value in parameters.items() if name not in _MEANINGLESS}),
        _interval(parameters.get(_INTERVAL)),
        _precision(parameters.get(_PRECISION)),
    )


def _interval(value: object) -> str | None:
    if value is None or value in INTERVALS:
        return value
    raise InvalidParameter(f"{_INTERVAL}: {str(value)[:40]!r} is not one of {', '.join(INTERVALS)}.", target=_INTERVAL)


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
