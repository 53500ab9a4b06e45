"""The query extension, read into the tree of CQL2."""

from __future__ import annotations

from typing import Any

import pytest

from graticule.errors import InvalidParameter
from graticule.stac.cql2 import parse_json
from graticule.stac.cql2.evaluation import Filter
from graticule.stac.query import parse_query
from graticule.stac.search import parse_search

ITEM: dict[str, Any] = {
    "id": "i",
    "collection": "c",
    "properties": {
        "datetime": "2020-06-01T12:00:00Z",
        "gsd": 10,
        "name": r"50%_a\b",
        "flag": True,
        "null": None,
        "digits": "10",
    },
}


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ({"gsd": {"eq": 10}}, True),
        ({"gsd": {"neq": 10}}, False),
        ({"properties.gsd": {"gt": 9, "lt": 11}}, True),
        ({"gsd": {"gte": 10, "lte": 9.5}}, False),
        ({"gsd": {"eq": 10}, "flag": {"eq": False}}, False),
        ({"flag": {"eq": True}, "id": {"eq": "i"}, "collection": {"in": ["c", "d"]}}, True),
        ({"name": {"startsWith": "50%_"}}, True),
        ({"name": {"startsWith": "50_"}}, False),
        ({"name": {"startsWith": "%"}}, False),
        ({"name": {"endsWith": r"a\b"}}, True),
        ({"name": {"endsWith": "_"}}, False),
        ({"name": {"contains": "%_"}}, True),
        ({"name": {"contains": "A"}}, False),
        ({"gsd": {"in": [1, 10, "x"]}}, True),
        ({"gsd": {"in": [1, "11"]}}, False),
        ({"gsd": {"in": [1, "10"]}}, True),
        ({"gsd": {"eq": "10"}}, True),
        ({"gsd": {"eq": "10.0", "gt": "9.5", "neq": "11"}}, True),
        ({"gsd": {"neq": "10"}}, False),
        ({"gsd": {"lt": "010"}}, False),
        ({"digits": {"eq": "10"}}, True),
        ({"digits": {"eq": 10}}, False),
        ({"digits": {"neq": "10"}}, False),
        ({"digits": {"neq": "9"}}, True),
        ({"datetime": {"gte": "2020-06-01T00:00:00Z", "lt": "2020-06-02T00:00:00Z"}}, True),
        ({"null": {"isNull": True}, "nowhere": {"isNull": True}, "gsd": {"isNull": False}}, True),
        ({"gsd": {"isNull": True}}, False),
        ({"nowhere": {"neq": 5}}, False),
        ('{"gsd": {"eq": 10}}', True),
    ],
)
def test_all_conditions_must_hold(query: Any, *, matches: bool) -> None:
    expression = parse_query(query)
    assert expression is not None
    assert (Filter(expression)(ITEM) is True) is matches


@pytest.mark.parametrize("query", ["", {}, "{}", {"gsd": {}}])
def test_no_condition_is_none(query: Any) -> None:
    assert parse_query(query) is None


def test_filter_and_query_must_both_hold() -> None:
    search = parse_search({"filter": "gsd = 1", "query": {"gsd": {"lt": 5}}})
    both = {"op": "and", "args": [{"op": op, "args": [{"property": "gsd"}, n]} for op, n in (("=", 1), ("<", 5))]}
    assert search.filter == parse_json(both)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (5, "give an object"),
        ([], "give an object"),
        ("{", "it is not JSON"),
        ("5", "give an object"),
        ({"gsd": 5}, "takes an object of operators"),
        ({"gsd": {"like": "x"}}, "'like' is not one of"),
        ({"gsd": {"eq": None}}, "for missing values use isNull"),
        ({"gsd": {"lt": [1]}}, "takes a text, a number"),
        ({"gsd": {"in": 5}}, "takes a list"),
        ({"gsd": {"in": [{}]}}, "takes a text"),
        ({"gsd": {"isNull": "yes"}}, "takes true or false"),
        ({"gsd": {"contains": 5}}, "takes a text"),
        ({"geometry": {"eq": 5}}, "geometry|property"),
        ({f"p{n}": {"eq": 1} for n in range(1000)}, ""),
    ],
)
def test_everything_else_is_refused(query: Any, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^query: .*({reason})") as refused:
        parse_query(query)
    assert refused.value.target == "query"
