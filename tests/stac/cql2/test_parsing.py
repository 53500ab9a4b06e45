"""Filters are checked whole before anything is done with them."""

from __future__ import annotations

from typing import Any

import pytest

from graticule.errors import InvalidParameter
from graticule.stac.cql2 import parse_filter, parse_json, parse_text
from graticule.stac.cql2.expressions import END, Interval, Literal, Operation, Property, Span

AN_EQUALS = {"op": "=", "args": [{"property": "a"}, 1]}
GEOMETRY = {"property": "geometry"}
DATETIME = {"property": "datetime"}
MIDNIGHT_2020 = 1_577_836_800_000_000


def square(positions: int = 5) -> dict[str, Any]:
    ring = [[0, 0], [1, 0], *([[1, 1]] * (positions - 3)), [0, 0]]
    return {"type": "Polygon", "coordinates": [ring]}


def test_both_encodings_make_one_tree() -> None:
    expected = Operation("=", (Property("a"), Literal(1)))
    for name in ("a", "properties.a"):
        assert parse_text(f"{name} = 1") == parse_json({"op": "=", "args": [{"property": name}, 1]}) == expected
    found = parse_text("a = 9007199254740993")
    assert isinstance(found, Operation)
    assert found.args[1] == Literal(9007199254740993)


def test_id_collection_and_geometry_are_of_the_item_itself_unless_prefixed() -> None:
    assert parse_text("id = 'x'") == Operation("=", (Property("id", of_item=True), Literal("x")))
    assert parse_text("properties.id = 'x'") == Operation("=", (Property("id"), Literal("x")))


def test_texts_beside_a_time_are_times() -> None:
    second = Span(MIDNIGHT_2020, MIDNIGHT_2020)
    assert parse_text("datetime >= '2020-01-01T00:00:00Z'") == Operation(">=", (Property("datetime"), second))
    assert parse_text("a >= '2020-01-01T00:00:00Z'").args[1] == Literal("2020-01-01T00:00:00Z")  # type: ignore[union-attr]
    older = parse_json({"op": "anyinteracts", "args": [DATETIME, {"interval": ["2020-01-01T00:00:00Z", ".."]}]})
    assert older == Operation("t_intersects", (Property("datetime"), Interval(second, Span(END, END))))
    assert parse_json({"op": "t_after", "args": [DATETIME, "2020-01-01T00:00:00Z"]}).args[1] == second  # type: ignore[union-attr]
    assert parse_json({"op": "t_intersects", "args": [DATETIME, "2020-01-01T00:00:00Z/.."]}) == older


@pytest.mark.parametrize("lang", ["filter-lang", "filter_lang"])
def test_the_language_is_taken_by_either_spelling_or_from_the_type(lang: str) -> None:
    expected = parse_json(AN_EQUALS)
    assert parse_filter({"filter": AN_EQUALS}) == expected
    assert parse_filter({"filter": "a=1"}) == expected
    assert parse_filter({"filter": '{"op":"=","args":[{"property":"a"},1]}'}) == expected
    assert parse_filter({"filter": '{"op":"=","args":[{"property":"a"},1]}', lang: "cql2-json"}) == expected
    assert parse_filter({"filter": "a=1", lang: "cql2-text"}) == expected
    assert parse_filter({"filter": AN_EQUALS, lang: "cql-json"}) == expected
    assert parse_filter({"filter": AN_EQUALS, "filter-crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}) == expected
    for wrong in ("cql-text", "sql", 5, ["cql2-json"]):
        with pytest.raises(InvalidParameter, match="is not one of cql2-text, cql2-json"):
            parse_filter({"filter": "a=1", lang: wrong})
    with pytest.raises(InvalidParameter, match="must be a text"):
        parse_filter({"filter": AN_EQUALS, lang: "cql2-text"})
    with pytest.raises(InvalidParameter, match="not JSON"):
        parse_filter({"filter": "a=1", lang: "cql2-json"})


def test_no_filter_is_none() -> None:
    nothing: dict[str, Any]
    for nothing in ({}, {"filter": None}, {"filter": ""}, {"filter": {}}, {"filter-lang": "cql2-json"}):
        assert parse_filter(nothing) is None


@pytest.mark.parametrize("crs", ["EPSG:3857", "http://www.opengis.net/def/crs/EPSG/0/4326", 4326, "x"])
def test_only_longitude_and_latitude_are_known(crs: object) -> None:
    with pytest.raises(InvalidParameter, match="CRS84"):
        parse_filter({"filter": "a=1", "filter-crs": crs})


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, "null is no value"),
        (5, "a value and no condition"),
        ("a", "a value and no condition"),
        ([], "a value and no condition"),
        ({"property": "a"}, "a value and no condition"),
        ({"op": "+", "args": [1, 2]}, "a value and no condition"),
        ({"op": "casei", "args": ["x"]}, "a value and no condition"),
        ({"and": [AN_EQUALS]}, "operators are in 'op'"),
        ({"x": 1}, "an object with x is no expression"),
        ({"op": "avg", "args": []}, "no operator or function 'avg'"),
        ({"op": ["and"], "args": []}, "no operator or function"),
        ({"op": None, "args": []}, "no operator or function"),
        ({"function": {"name": "x"}}, "no operator or function"),
        ({"op": "="}, "'=' needs 'args'"),
        ({"op": "=", "args": {}}, "'=' needs 'args'"),
        ({"op": "=", "args": [1]}, "'=' takes 2 arguments, 1 were given"),
        ({"op": "not", "args": [AN_EQUALS, AN_EQUALS]}, "'not' takes 1 argument, 2 were given"),
        ({"op": "and", "args": []}, "'and' takes one or more arguments, 0 were given"),
        ({"op": "and", "args": [AN_EQUALS, 1]}, "argument 2 of 'and' must be a condition"),
        ({"op": "=", "args": [AN_EQUALS, True]}, "argument 1 of '=' must be"),
        ({"op": "=", "args": [GEOMETRY, 1]}, "argument 1 of '=' must be"),
        ({"op": "=", "args": [{"property": "a"}, None]}, "null is no value: use isNull"),
        ({"op": "=", "args": [{"property": 5}, 1]}, "name of a property must be a text"),
        ({"op": "=", "args": [{"property": "a\0"}, 1]}, "name of a property must be a text"),
        ({"op": "=", "args": [{"property": "a"}, "\0"]}, r"U\+0000"),
        ({"op": "+", "args": [1, "x"]}, "argument 2 of '\\+' must be a number"),
        ({"op": "like", "args": [{"property": "a"}, 5]}, "argument 2 of 'like' must be a text"),
        ({"op": "in", "args": [{"property": "a"}, 5]}, "argument 2 of 'in' must be a list"),
        ({"op": "in", "args": [{"property": "a"}, [[1]]]}, "a member of a list of 'in' must be"),
        ({"op": "s_intersects", "args": [1, 2]}, "argument 1 of 's_intersects' must be a geometry"),
        (
            {"op": "s_intersects", "args": [GEOMETRY, {"type": "Polygon", "coordinates": []}]},
            "a geometry has no coordinates",
        ),
        ({"op": "s_intersects", "args": [GEOMETRY, {"type": "Circle"}]}, "a geometry has the type 'Circle'"),
        ({"op": "s_intersects", "args": [GEOMETRY, {"bbox": [1, 2]}]}, "it has 2 numbers"),
        ({"op": "s_intersects", "args": [GEOMETRY, {"bbox": "1,2,3,4"}]}, "neither a text nor a list"),
        ({"op": "s_intersects", "args": [GEOMETRY, square(10_001)]}, r"more than 10000 positions \(MAX_VERTICES\)"),
        ({"op": "t_after", "args": [DATETIME, 5]}, "argument 2 of 't_after' must be a time"),
        ({"op": "t_after", "args": [DATETIME, "yesterday"]}, "the time 'yesterday' is not"),
        ({"op": "t_after", "args": [DATETIME, {"timestamp": 2020}]}, "a timestamp must be"),
        ({"op": "t_after", "args": [DATETIME, {"timestamp": "2020-02-30T00:00:00Z"}]}, "has no such day"),
        ({"op": "t_after", "args": [DATETIME, {"date": 5}]}, "a date must be"),
        ({"op": "t_after", "args": [DATETIME, {"interval": ["..", 5]}]}, "the end of an interval must be"),
        ({"op": "t_after", "args": [DATETIME, {"interval": "2020"}]}, "an interval takes two ends"),
        ({"op": "t_after", "args": [DATETIME, {"interval": ["2021-01-01", "2020-01-01"]}]}, "ends before it starts"),
        ({"op": "and", "args": [AN_EQUALS] * 200}, r"more than 500 operators, properties and values \(MAX_NODES\)"),
        ({"op": "in", "args": [{"property": "a"}, ["x" * 600] * 200]}, r"longer than 64000 bytes \(MAX_BYTES\)"),
        ({"op": "in", "args": [{"property": "a"}, [1] * 10_000]}, r"longer than 64000 bytes \(MAX_BYTES\)"),
        ({"op": "=", "args": [{"property": "a"}, float("inf")]}, "inf is no value"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_reason(document: Any, expected: str) -> None:
    with pytest.raises(InvalidParameter, match=expected) as caught:
        parse_json(document)
    assert caught.value.target == "filter"


def test_depth_and_length_are_limited() -> None:
    node: Any = AN_EQUALS
    for _ in range(47):
        node = {"op": "not", "args": [node]}
    parse_json(node)
    for _ in range(5_000):
        node = {"op": "not", "args": [node]}
    with pytest.raises(InvalidParameter, match=r"nested deeper than 50 levels \(MAX_DEPTH\)"):
        parse_json(node)
    with pytest.raises(InvalidParameter, match="longer than 64000 bytes"):
        parse_text("a = 1" + " " * 64_000)
    with pytest.raises(InvalidParameter, match="nested deeper than 50"):
        parse_text("a = " + "+".join(["1"] * 60))


def test_the_largest_filter_is_taken() -> None:
    parse_json({"op": "s_intersects", "args": [GEOMETRY, square(10_000)]})
    parse_json({"op": "and", "args": [AN_EQUALS] * 166})
    parse_json({"op": "in", "args": [{"property": "id"}, ["x" * 20] * 2_000]})


@pytest.mark.parametrize(
    ("published", "standard"),
    [
        (
            {"op": "anyinteracts", "args": [DATETIME, ["2019-06-01", "2019-08-31T23:59:59Z"]]},
            {"op": "t_intersects", "args": [DATETIME, {"interval": ["2019-06-01", "2019-08-31T23:59:59Z"]}]},
        ),
        (
            {"op": "=", "args": [DATETIME, {"timestamp": "2021-04-22"}]},
            {"op": "=", "args": [DATETIME, {"date": "2021-04-22"}]},
        ),
        (
            {"op": "=", "args": [{"property": "sar:polarizations"}, ["VV", "VH"]]},
            {"op": "a_equals", "args": [{"property": "sar:polarizations"}, ["VV", "VH"]]},
        ),
    ],
)
def test_older_forms_of_published_mosaics_mean_the_same(published: object, standard: object) -> None:
    assert parse_json(published) == parse_json(standard)
