"""What an item search asks for: `Search`, and the parsers of its simple parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from graticule.errors import InvalidParameter
from graticule.stac.bbox import BBox, parse_bbox
from graticule.stac.cql2 import Expression, parse_filter
from graticule.stac.cql2.expressions import all_of
from graticule.stac.datetimes import TimeInterval, parse_datetime
from graticule.stac.free_text import TextQuery, parse_q
from graticule.stac.geometry import Shape, parse_shape
from graticule.stac.query import parse_query
from graticule.stac.sorting import SortKey, parse_sortby

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 10_000
#: So many items may be read without knowing how large they are.
_FEW_IDS: Final = 100

_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Search:
    """The conditions of an item search, joined by AND; None means no condition."""

    collections: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    bbox: BBox | None = None
    #: Any GeoJSON geometry; not together with `bbox` (STAC API item-search, parameter `intersects`).
    intersects: Shape | None = None
    datetime: TimeInterval | None = None
    #: Items per page.
    limit: int = DEFAULT_LIMIT
    #: Where the page begins: `ItemPage.next_token` of the page before.
    token: str | None = None
    #: The parameters ``filter`` (CQL2) and ``query`` together.
    filter: Expression | None = None
    #: The order; empty: newest first, then by id. See `graticule.catalog.sorting` for ties and missing values.
    sortby: tuple[SortKey, ...] = ()
    #: What the texts of items must hold (the parameter ``q``).
    text: TextQuery | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be asked together."""
        if self.bbox is not None and self.intersects is not None:
            raise InvalidParameter("bbox and intersects: give one of them, not both.", target="intersects")

    @property
    def is_lookup(self) -> bool:
        """Are ids all that is asked for, and are they few? Collections may be named."""
        if self.ids is None or len(self.ids) > min(self.limit, _FEW_IDS):
            return False
        place = self.bbox is None and self.intersects is None
        rest = self.filter is None and self.text is None and not self.sortby
        return place and rest and self.datetime is None and self.token is None


def parse_search(parameters: Mapping[str, Any]) -> Search:
    """A `Search` from query parameters or a JSON body; members it does not know are left to the caller.

    ``collection`` is an alias of ``collections``. A member that is null counts as absent. A query writes `intersects`
    as the JSON of a geometry.

    Raises:
        InvalidParameter: names the parameter and what it takes.
    """

    def optional(name: str, parse: Any) -> Any:
        value = parameters.get(name)
        return None if value is None else parse(value)

    collections = parse_names("collections", parameters.get("collections"))
    return Search(
        collections=collections or parse_names("collection", parameters.get("collection")),
        ids=parse_names("ids", parameters.get("ids")),
        bbox=optional("bbox", parse_bbox),
        intersects=optional("intersects", _parse_intersects),
        datetime=optional("datetime", parse_datetime),
        limit=parse_limit(parameters.get("limit")),
        token=optional("token", parse_token),
        filter=all_of(parse_filter(parameters), optional("query", parse_query)),
        sortby=optional("sortby", parse_sortby) or (),
        text=optional("q", parse_q),
    )


def parse_limit(value: object) -> int:
    """The ``limit`` parameter: 1 to 10,000, larger values are clamped; absent: 10.

    Raises:
        InvalidParameter: it is no integer or below 1.
    """
    if value is None:
        return DEFAULT_LIMIT
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        digits = value.lstrip("+-0")
        number = (-1 if value.startswith("-") else 1) * (int(digits or "0") if len(digits) < 10 else MAX_LIMIT)
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise InvalidParameter(f"limit: {value!r} is not an integer: give 1 to {MAX_LIMIT}.", target="limit")
    if number < 1:
        raise InvalidParameter(f"limit: {value} is below 1: give 1 to {MAX_LIMIT}.", target="limit")
    return min(number, MAX_LIMIT)


def parse_names(name: str, value: object) -> tuple[str, ...] | None:
    """A list parameter such as ``ids``: comma-separated text, or a list of texts taken as they are.

    Each name once, in the order given. Absent and empty lists are no condition (None).

    Raises:
        InvalidParameter: it is something else.
    """
    if value is None:
        return None
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
        raise InvalidParameter(f"{name}: give texts separated by commas, or a list of texts.", target=name)
    return tuple(dict.fromkeys(one for one in names if one)) or None


def _parse_intersects(value: object) -> Shape:
    if not isinstance(value, str):
        return parse_shape(value)
    try:
        return parse_shape(orjson.loads(value))
    except orjson.JSONDecodeError as exc:
        raise InvalidParameter(
            f"intersects: it is not the JSON of a GeoJSON geometry: {exc}.", target="intersects"
        ) from exc


def parse_token(value: object) -> str:
    """The ``token`` parameter.

    Raises:
        InvalidParameter: it is empty or no text.
    """
    if not isinstance(value, str) or not value:
        raise InvalidParameter("token: take it from the 'next' link of the page before.", target="token")
    return value
