"""CQL2 text becomes CQL2 JSON."""

from __future__ import annotations

from typing import Any

import cql2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graticule.stac.cql2.text import to_json


def prop(name: str) -> dict[str, str]:
    return {"property": name}


def op(name: str, *args: Any) -> dict[str, Any]:
    return {"op": name, "args": list(args)}


A, B = op("=", prop("a"), 1), op("=", prop("b"), 2)
POINT = {"type": "Point", "coordinates": [1, 2]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1 AND b = 2", op("and", A, B)),
        ("a=1 or b=2 and a=1", op("or", A, op("and", B, A))),
        ("(a=1 or b=2) and a=1", op("and", op("or", A, B), A)),
        ("not a=1 and b=2", op("and", op("not", A), B)),
        ("not not a=1", A),
        ("not (a=1 and b=2)", op("not", op("and", A, B))),
        ("a != 1", op("<>", prop("a"), 1)),
        ("a between 1 and 2 and b = 2", op("and", op("between", prop("a"), 1, 2), B)),
        ("a not in ('x','y''z')", op("not", op("in", prop("a"), ["x", "y'z"]))),
        ("a is not null", op("not", op("isNull", prop("a")))),
        ("a not like 'x%'", op("not", op("like", prop("a"), "x%"))),
        ("eo:cloud_cover<10.5", op("<", prop("eo:cloud_cover"), 10.5)),
        ('"a ""b"" - c" = true', op("=", prop('a "b" - c'), True)),
        ("properties.a.b=1", op("=", prop("properties.a.b"), 1)),
        ("a+1*2 > 3-b-1", op(">", op("+", prop("a"), op("*", 1, 2)), op("-", op("-", 3, prop("b")), 1))),
        ("a = -2^2", op("=", prop("a"), op("*", -1, op("^", 2, 2)))),
        ("a = -b div 2", op("=", prop("a"), op("div", op("*", -1, prop("b")), 2))),
        ("a = 2 * -3", op("=", prop("a"), op("*", 2, -3))),
        ("a = 9007199254740993", op("=", prop("a"), 9007199254740993)),
        ("a = 1e3", op("=", prop("a"), 1000.0)),
        (
            "CASEI(a) = accenti('É')",
            op("=", {"op": "CASEI", "args": [prop("a")]}, {"op": "accenti", "args": ["É"]}),
        ),
        ("d > TIMESTAMP('2020-01-01T00:00:00Z')", op(">", prop("d"), {"timestamp": "2020-01-01T00:00:00Z"})),
        (
            "t_during(datetime, INTERVAL('2020-01-01', '..'))",
            op("t_during", prop("datetime"), {"interval": ["2020-01-01", ".."]}),
        ),
        ("s_intersects(geometry, POINT(1 2))", op("s_intersects", prop("geometry"), POINT)),
        (
            "s_intersects(geometry, POINT Z (1 2 -3))",
            op("s_intersects", prop("geometry"), POINT | {"coordinates": [1, 2, -3]}),
        ),
        ("s_within(geometry, BBOX(-1,2,3.5,4))", op("s_within", prop("geometry"), {"bbox": [-1, 2, 3.5, 4]})),
        (
            "s_equals(geometry, MULTIPOINT(1 2, (3 4)))",
            op("s_equals", prop("geometry"), {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}),
        ),
        (
            "s_equals(geometry, GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1)))",
            op(
                "s_equals",
                prop("geometry"),
                {
                    "type": "GeometryCollection",
                    "geometries": [POINT, {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}],
                },
            ),
        ),
        (
            "s_equals(geometry, MULTIPOLYGON(((0 0,1 0,1 1,0 0))))",
            op(
                "s_equals",
                prop("geometry"),
                {"type": "MultiPolygon", "coordinates": [[[[0, 0], [1, 0], [1, 1], [0, 0]]]]},
            ),
        ),
        ("a_contains(a, ('x'))", op("a_contains", prop("a"), ["x"])),
        ("a_contains(a, ('x', 1))", op("a_contains", prop("a"), ["x", 1])),
        ("a_equals(a, ())", op("a_equals", prop("a"), [])),
        ("point = 1", op("=", prop("point"), 1)),
        ("true", True),
    ],
)
def test_text_means_what_the_grammar_says(text: str, expected: Any) -> None:
    assert to_json(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a property, a value or a condition is expected at character 1, where its end stands"),
        ("a = ", "a property, a value or a condition is expected at character 4, where its end stands"),
        ("a = 1; DROP TABLE items", "cannot be read from '; DROP TABLE items' on"),
        ("a = 'x' OR", "where its end stands"),
        ("a = 'x", 'cannot be read from "\'x" on'),
        ("a = 1 b = 2", "the end, AND or OR is expected at character 7, where 'b' stands"),
        ("a not 1", "LIKE, BETWEEN or IN is expected"),
        ("(a = 1", r"\) is expected"),
        ("a = null", "where 'null' stands"),
        ("a = 1e999", "too large"),
        ("d = DATE(2020)", "a text in single quotes is expected"),
        ("d = DATE()", "DATE takes 1 argument, 0 were given"),
        ("t_after(d, INTERVAL('2020-01-01'))", "INTERVAL takes 2 arguments, 1 were given"),
        ("s_intersects(geometry, POINT(x y))", "a coordinate is expected"),
        ("s_intersects(geometry, GEOMETRYCOLLECTION(1))", "a geometry is expected"),
        ("(" * 60 + "a=1" + ")" * 60, "nested deeper than 50 levels"),
        ("(" * 30_000, "nested deeper than 50 levels"),
        ("f(" * 30_000, "nested deeper than 50 levels"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        to_json(text)


def test_long_chains_are_read_without_recursion() -> None:
    assert len(to_json(" and ".join(["a=1"] * 5_000))["args"]) == 5_000
    assert to_json("not " * 10_000 + "a=1") == A
    assert to_json("a = " + "-" * 10_001 + "1") == op("=", prop("a"), -1)


# --- beside another parser -------------------------------------------------------------------------------------------

words = st.sampled_from(["a", "eo:cloud_cover", "a.b", '"odd name"'])
numbers = st.integers(0, 999).map(str) | st.sampled_from(["0.5", "12.25"])
texts = st.sampled_from(["'x'", "'it''s'", "'%'", "''", "'ü'"])
values = st.recursive(
    words | numbers,
    lambda inner: st.tuples(inner, st.sampled_from([" + ", "-", "*", " / ", "%", " div "]), inner).map(
        lambda parts: f"({''.join(parts)})"
    ),
    max_leaves=4,
)
predicates = st.one_of(
    st.tuples(values, st.sampled_from(["=", "<>", " < ", "<=", ">", " >= "]), values | texts).map("".join),
    st.tuples(words, st.sampled_from([" IN ", " not in "]), st.lists(texts, min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]}{parts[1]}({','.join(parts[2])})"
    ),
    st.tuples(words, st.sampled_from([" LIKE ", " not like "]), texts).map("".join),
    st.tuples(values, st.sampled_from([" between ", " NOT BETWEEN "]), numbers, numbers).map(
        lambda parts: f"{parts[0]}{parts[1]}{parts[2]} and {parts[3]}"
    ),
    st.tuples(words, st.sampled_from([" IS NULL", " is not null"])).map("".join),
    st.sampled_from(
        ["s_intersects(geometry, POINT(1 2))", "t_after(a, DATE('2020-01-01'))", "a_overlaps(a, ('x', 'y'))"]
    ),
)
conditions = st.recursive(
    predicates,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" AND ".join),
        st.lists(inner, min_size=2, max_size=3).map(" or ".join),
        inner.map(lambda one: f"NOT ({one})"),
        inner.map(lambda one: f"({one})"),
    ),
    max_leaves=6,
)


@given(conditions)
def test_texts_are_read_as_the_cql2_package_reads_them(text: str) -> None:
    assert flat(to_json(text)) == flat(cql2.parse_text(text).to_json())


def flat(node: Any) -> Any:
    """Without what the two write differently: nested ANDs, double negation, integers."""
    if isinstance(node, list):
        return [flat(one) for one in node]
    if not isinstance(node, dict):
        return float(node) if isinstance(node, int) and not isinstance(node, bool) else node
    if "op" not in node:
        return {name: flat(value) for name, value in node.items()}
    args = flat(node["args"])
    if node["op"] in {"and", "or"}:
        args = [part for arg in args for part in (arg["args"] if arg.get("op") == node["op"] else [arg])]
    return {"op": node["op"], "args": args}
