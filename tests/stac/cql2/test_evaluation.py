"""What filters say of items."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graticule.stac.cql2 import parse_text
from graticule.stac.cql2.evaluation import Filter, _like

ITEM: dict[str, Any] = {
    "type": "Feature",
    "id": "S2A",
    "collection": "sentinel",
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]},
    "properties": {
        "datetime": "2021-06-01T12:00:00Z",
        "created": "2021-06-02T00:00:00.5+02:00",
        "eo:cloud_cover": 5,
        "name": "Élan 100%_x",
        "good": True,
        "null": None,
        "list": ["a", 1, None, True],
        "days": ["2021-06-01", "2021-06-02T00:00:00Z"],
        "proj": {"code": 32631, "deep.er": {"x": "y"}},
        "a.b": 7,
        "big": 9007199254740993,
        "text5": "5",
        "where": {"type": "Point", "coordinates": [50, 50]},
    },
}
COMPOSITE: dict[str, Any] = {
    "id": "c",
    "geometry": None,
    "properties": {"datetime": None, "start_datetime": "2021-01-01T00:00:00Z", "end_datetime": "2021-12-31T00:00:00Z"},
}
TRUE = [
    "eo:cloud_cover = 5",
    "properties.eo:cloud_cover >= 5.0",
    "5 < eo:cloud_cover + 1",
    "id = 'S2A'",
    "collection <> 'x'",
    "good = true",
    "good <> false",
    '"null" is null',
    "missing is null",
    "not name is null",
    "geometry is not null",
    "a.b = 7",
    "proj.code = 32631",
    "proj.deep.er.x = 'y'",
    "big = 9007199254740993",
    "not big = 9007199254740992",
    "eo:cloud_cover between 5 and 5",
    "id between 'A' and 'Z'",
    "id in ('x', 'S2A')",
    "eo:cloud_cover in (1, 5.0)",
    "name like 'Élan%'",
    "name like '%\\%\\_x'",
    "name like '_lan%'",
    "name like '%'",
    "name not like '%y%'",
    "name like 'Élan 100\\%%'",
    "casei(name) = casei('éLAN 100%_X')",
    "accenti(name) like 'Elan%'",
    "casei(accenti(name)) like accenti(casei('ÉLAN%'))",
    "casei(id) in (casei('s2a'))",
    "datetime like '2021-06%'",
    "7 div 2 = 3",
    "-7 div 2 = -3",
    "-7 % 4 = -3",
    "7 / 2 = 3.5",
    "2 ^ 3 = 8",
    "2 ^ 0.5 > 1.41",
    "7.5 div 2 = 3",
    "-7.5 % 2 = -1.5",
    "datetime = DATE('2021-06-01')",
    "datetime > '2021-06-01T11:59:59.999999Z'",
    "datetime <= DATE('2021-06-01')",
    "datetime < DATE('2021-06-02')",
    "datetime in (DATE('2021-06-01'))",
    "created > datetime",
    "created = '2021-06-01T22:00:00.5Z'",
    "datetime between DATE('2021-06-01') and DATE('2021-06-01')",
    "not datetime > DATE('2021-06-01')",
    "t_during(datetime, INTERVAL('2021-01-01', '..'))",
    "t_after(datetime, DATE('2021-05-31'))",
    "t_before(datetime, created)",
    "t_equals(datetime, TIMESTAMP('2021-06-01T12:00:00Z'))",
    "t_disjoint(datetime, INTERVAL('..', '2021-05-31'))",
    "t_intersects(INTERVAL(datetime, created), TIMESTAMP('2021-06-01T13:00:00Z'))",
    "t_contains(INTERVAL(datetime, created), TIMESTAMP('2021-06-01T13:00:00Z'))",
    "a_contains(list, ('a', 1.0))",
    "a_containedBy(('a'), list)",
    "a_overlaps(list, (2, true))",
    "not a_contains(list, (false))",
    "a_equals(list, (true, 1, 'a', null_value, 'a'))",
    "a_overlaps(days, (DATE('2021-06-01')))",
    "a_contains(list, ())",
    "s_intersects(geometry, POINT(2 2))",
    "s_touches(geometry, POINT(2 2))",
    "s_disjoint(geometry, POINT(3 3))",
    "s_within(geometry, BBOX(-1,-1,3,3))",
    "s_contains(geometry, POINT(1 1))",
    "s_equals(geometry, BBOX(0,0,2,2))",
    "s_overlaps(geometry, BBOX(1,1,3,3))",
    "s_crosses(geometry, LINESTRING(-1 1, 3 1))",
    "s_within(where, BBOX(49,49,51,51))",
    "s_intersects(geometry, GEOMETRYCOLLECTION(POINT(9 9), POINT(1 1)))",
    "true",
    "missing = 1 or id = 'S2A'",
]
FALSE = [
    "eo:cloud_cover <> 5",
    "not good = true",
    "missing = 1 and id = 'x'",
    "id like 's2a'",
    "name like 'Élan'",
    "false",
    "t_meets(datetime, INTERVAL('2021-01-01', '2022-01-01'))",
    "s_touches(geometry, BBOX(1,1,3,3))",
    "id in ()",
    "s_contains(geometry, POINT(2 2))",
    "a_equals(list, ('a'))",
    "datetime <> DATE('2021-06-01')",
]
UNKNOWN = [
    "missing = 1",
    "not missing = 1",
    '"null" <> 1',
    "text5 = 5",
    "eo:cloud_cover = '5'",
    "good = 1",
    "good > false",
    "list = 1",
    "proj = 'x'",
    "name + 1 = 2",
    "1 / 0 = 1",
    "1 % 0 = 1",
    "1 div 0 = 1",
    "0 ^ -1 = 1",
    "1e308 * 10 > 1",
    "(0 - 8) ^ 0.5 = 1",
    "missing like 'x'",
    "eo:cloud_cover like '5'",
    "casei(list) = 'x'",
    "missing in (1)",
    "id in (missing)",
    "missing between 1 and 2",
    "t_after(missing, DATE('2021-01-01'))",
    "t_after(name, DATE('2021-01-01'))",
    "name > DATE('2021-01-01')",
    "a_contains(name, ('a'))",
    "s_intersects(missing, POINT(1 1))",
    "s_disjoint(name, POINT(1 1))",
    "missing = 1 and id = 'S2A'",
    "missing = 1 or id = 'x'",
    "datetime = 'soon'",
    "9999999999999999999999 ^ 99 = 1",
    "proj.code.x = 1",
    "name.x = 1",
]


@pytest.mark.parametrize(
    ("text", "expected"), [(t, True) for t in TRUE] + [(t, False) for t in FALSE] + [(t, None) for t in UNKNOWN]
)
def test_filters_say_what_the_standard_says(text: str, expected: bool | None) -> None:
    assert Filter(parse_text(text))(ITEM) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t_intersects(datetime, INTERVAL('2021-06-01', '2021-06-02'))", True),
        ("t_equals(datetime, INTERVAL('2021-01-01T00:00:00Z', '2021-12-31T00:00:00Z'))", True),
        ("t_after(datetime, DATE('2020-12-31'))", True),
        ("t_before(datetime, DATE('2021-06-01'))", False),
        ("datetime = '2021-01-01T00:00:00Z'", True),  # it begins then
        ("datetime is null", True),
        ("t_startedBy(INTERVAL(start_datetime, end_datetime), INTERVAL('2021-01-01T00:00:00Z', '2021-02-01'))", True),
        ("t_during(end_datetime, INTERVAL('2021-12-30', '..'))", True),
        ("s_intersects(geometry, BBOX(-180,-90,180,90))", None),
        ("s_disjoint(geometry, POINT(0 0))", None),
        ("geometry is null", True),
        ("collection = 'there'", True),
    ],
)
def test_an_item_with_a_range_and_no_place(text: str, expected: bool | None) -> None:
    assert Filter(parse_text(text))(COMPOSITE, "there") is expected


@pytest.mark.parametrize(
    "relation",
    [
        "t_meets",
        "t_metBy",
        "t_overlaps",
        "t_overlappedBy",
        "t_starts",
        "t_startedBy",
        "t_finishes",
        "t_finishedBy",
        "t_contains",
        "t_during",
        "t_equals",
        "t_before",
        "t_after",
    ],
)
@pytest.mark.parametrize(
    "other", [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (2, 3), (2, 4), (2, 5), (3, 4), (3, 5), (4, 5), (5, 6), (3, 3)]
)
def test_two_intervals_stand_in_exactly_one_relation(relation: str, other: tuple[int, int]) -> None:
    def text(ends: tuple[int, int]) -> str:
        return "INTERVAL({})".format(", ".join(f"'2020-01-0{end + 1}T00:00:00Z'" for end in ends))

    relations = {
        (0, 1): "t_after",
        (0, 2): "t_metBy",
        (0, 3): "t_overlappedBy",
        (0, 4): "t_finishes",
        (0, 5): "t_during",
        (2, 3): "t_startedBy",
        (2, 4): "t_equals",
        (2, 5): "t_starts",
        (3, 4): "t_finishedBy",
        (3, 5): "t_overlaps",
        (4, 5): "t_meets",
        (5, 6): "t_before",
        (3, 3): "t_contains",
    }
    found = Filter(parse_text(f"{relation}({text((2, 4))}, {text(other)})"))(ITEM)
    assert found is (relations[other] == relation)


FIJI_SPLIT = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[177, -19], [180, -19], [180, -16], [177, -16], [177, -19]]],
        [[[-180, -19], [-179, -19], [-179, -16], [-180, -16], [-180, -19]]],
    ],
}
FIJI_EAST = {"type": "Polygon", "coordinates": [[[177, -19], [181, -19], [181, -16], [177, -16], [177, -19]]]}


@pytest.mark.parametrize("geometry", [FIJI_SPLIT, FIJI_EAST])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s_intersects(geometry, POINT(-179.5 -17))", True),
        ("s_contains(geometry, POINT(-179.5 -17))", True),
        ("s_contains(geometry, POINT(180 -17))", True),
        ("s_within(geometry, BBOX(170,-20,-170,-10))", True),
        ("s_within(geometry, BBOX(-180,-20,-170,-10))", False),
        ("s_equals(geometry, BBOX(177,-19,-179,-16))", True),
        ("s_overlaps(geometry, BBOX(-180,-20,-170,-10))", True),
        ("s_touches(geometry, BBOX(-179,-20,-170,-10))", True),
        ("s_disjoint(geometry, BBOX(-178,-20,176,-10))", True),
    ],
)
def test_the_antimeridian_is_no_edge(geometry: dict[str, Any], text: str, expected: bool) -> None:
    assert Filter(parse_text(text))({**ITEM, "geometry": geometry}) is expected


@pytest.mark.parametrize(
    "op", ["intersects", "equals", "disjoint", "touches", "within", "overlaps", "crosses", "contains"]
)
@pytest.mark.parametrize(
    "shape",
    [
        "POLYGON((0 0,2 2,2 0,0 2,0 0))",
        "POLYGON((0 0,1 0,2 0,0 0))",
        "LINESTRING(1 1,1 1)",
        "MULTIPOINT(1 1,1 1)",
        "GEOMETRYCOLLECTION(POINT(1 1),POLYGON((0 0,2 2,2 0,0 2,0 0)))",
        "BBOX(1,1,1,1)",
        "POINT(350 1)",
    ],
)
def test_odd_geometries_get_an_answer(op: str, shape: str) -> None:
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    for geometry in (bow_tie, FIJI_SPLIT, ITEM["geometry"]):
        for text in (f"s_{op}(geometry, {shape})", f"s_{op}({shape}, geometry)"):
            assert Filter(parse_text(text))({**ITEM, "geometry": geometry}) in (True, False)


@given(st.text("ab%_\\", max_size=8), st.text("ab%_", max_size=8))
def test_like_matches_as_by_trying_everything(pattern: str, text: str) -> None:
    def match(p: str, t: str) -> bool:
        if not p or p == "\\":
            return not t
        if p[0] == "%":
            return any(match(p[1:], t[i:]) for i in range(len(t) + 1))
        if p[0] == "\\":
            return bool(t) and t[0] == p[1] and match(p[2:], t[1:])
        return bool(t) and p[0] in ("_", t[0]) and match(p[1:], t[1:])

    assert _like(text, pattern) is match(pattern, text)


def test_a_pattern_of_many_wildcards_takes_no_time() -> None:
    assert _like("a" * 50_000, "%a" * 500 + "%b") is False


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"properties": None},
        {"properties": [], "geometry": 5},
        {"properties": {"list": {}, "datetime": 5, "name": [[]]}},
    ],
)
@pytest.mark.parametrize("text", [*TRUE, *FALSE, *UNKNOWN])
def test_no_document_makes_a_filter_fail(item: dict[str, Any], text: str) -> None:
    assert Filter(parse_text(text))(item) in (True, False, None)
