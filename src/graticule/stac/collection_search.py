"""What a search for collections asks: `CollectionSearch`, and the parser of its parameters.

Collection Search 1.0.0-rc.1 with the extensions free text, filter, query, sort and fields. Conditions and sort keys
name any member of a Collection (``title``, ``summaries.gsd``); ``datetime`` and ``geometry`` stand for its extents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graticule.stac.bbox import BBox, parse_bbox
from graticule.stac.cql2 import Expression, parse_filter
from graticule.stac.cql2.expressions import all_of
from graticule.stac.datetimes import TimeInterval, parse_datetime
from graticule.stac.fields import FieldSelection, Path, parse_fields
from graticule.stac.free_text import TextQuery, parse_q
from graticule.stac.query import parse_query
from graticule.stac.search import MAX_LIMIT, parse_limit, parse_token
from graticule.stac.sorting import SortKey, parse_sortby

#: Without one of these, all collections are listed.
PARAMETERS: Final = (
    "bbox", "datetime", "limit", "q", "query", "filter", "filter-lang", "filter_lang", "filter-crs", "filter_crs",
    "sortby", "fields", "token",
)  # fmt: skip
#: What a collection shows when no field is named: the members that a Collection must have.
_DEFAULT_FIELDS: Final[tuple[Path, ...]] = (
    ("type",), ("stac_version",), ("id",), ("description",), ("license",), ("extent",), ("links",),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CollectionSearch:
    """The conditions of a search for collections, joined by AND; None means no condition."""

    bbox: BBox | None = None
    datetime: TimeInterval | None = None
    text: TextQuery | None = None
    #: The parameters ``filter`` (CQL2) and ``query`` together.
    filter: Expression | None = None
    #: The order, as paths into the Collection; empty: the order of creation.
    sortby: tuple[SortKey, ...] = ()
    #: Collections per page: all of them where no limit is given.
    limit: int = MAX_LIMIT
    token: str | None = None
    fields: FieldSelection | None = None


def parse_collection_search(parameters: Mapping[str, Any]) -> CollectionSearch:
    """A `CollectionSearch` from query parameters or a JSON body.

    Raises:
        InvalidParameter: names the parameter and what it takes.
    """

    def optional(name: str, parse: Any) -> Any:
        value = parameters.get(name)
        return None if value is None else parse(value)

    return CollectionSearch(
        bbox=optional("bbox", parse_bbox),
        datetime=optional("datetime", parse_datetime),
        text=optional("q", parse_q),
        filter=all_of(parse_filter(parameters), optional("query", parse_query)),
        sortby=tuple(_of_collection(key) for key in optional("sortby", parse_sortby) or ()),
        limit=optional("limit", parse_limit) or MAX_LIMIT,
        token=optional("token", parse_token),
        fields=parse_fields(parameters["fields"], _DEFAULT_FIELDS) if "fields" in parameters else None,
    )


def _of_collection(key: SortKey) -> SortKey:
    """Members of a Collection are not below ``properties``."""
    path = key.path[1:] if key.path[0] == "properties" else key.path
    return SortKey(path, descending=key.descending)
