from __future__ import annotations

from typing import Any

import pytest

from graticule.errors import InvalidParameter
from graticule.stac.bbox import BBox
from graticule.stac.datetimes import TimeInterval
from graticule.stac.search import Search, parse_limit, parse_names, parse_search


@pytest.mark.parametrize(
    ("value", "limit"),
    [(None, 10), (1, 1), ("25", 25), ("+007", 7), (10_000, 10_000), (10_001, 10_000), ("9" * 5000, 10_000), (5.0, 5)],
)
def test_a_limit_is_an_integer_and_clamped(value: object, limit: int) -> None:
    assert parse_limit(value) == limit


@pytest.mark.parametrize("value", [0, -1, "0", "-5", "-" + "9" * 5000, "ten", "", "1.5", 1.5, True, [1], "1 0", "٣"])
def test_other_limits_are_refused(value: object) -> None:
    with pytest.raises(InvalidParameter, match=r"^limit: ") as refused:
        parse_limit(value)
    assert refused.value.target == "limit"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, None),
        ("", None),
        ([], None),
        ("a", ("a",)),
        ("a,b,,a", ("a", "b")),
        (["a,b", "c"], ("a,b", "c")),
    ],
)
def test_names_are_a_list_or_separated_by_commas(value: object, names: tuple[str, ...] | None) -> None:
    assert parse_names("ids", value) == names


@pytest.mark.parametrize("value", [1, {"a": 1}, ["a", 1], [None]])
def test_other_names_are_refused(value: object) -> None:
    with pytest.raises(InvalidParameter, match=r"^ids: "):
        parse_names("ids", value)


def test_nothing_asked_is_a_search_for_everything() -> None:
    assert parse_search({}) == Search()
    assert parse_search({"bbox": None, "limit": None, "token": None, "fields": {}}) == Search()


def test_a_search_is_read_from_a_query_or_a_body_alike() -> None:
    query = {
        "collections": "a,b",
        "ids": "x",
        "bbox": "1,2,3,4",
        "datetime": "1970-01-01T00:00:00Z/..",
        "limit": "5",
        "token": "t",
    }
    body: dict[str, Any] = {**query, "collections": ["a", "b"], "ids": ["x"], "bbox": [1, 2, 3, 4], "limit": 5}
    expected = Search(("a", "b"), ("x",), BBox(1, 2, 3, 4), None, TimeInterval(0, None), 5, "t")
    assert parse_search(query) == parse_search(body) == expected


def test_collection_is_an_alias_of_collections() -> None:
    assert parse_search({"collection": "a"}).collections == ("a",)
    assert parse_search({"collection": "a", "collections": ["b"]}).collections == ("b",)


def test_bbox_and_intersects_exclude_each_other() -> None:
    with pytest.raises(InvalidParameter, match="not both"):
        parse_search({"bbox": "1,2,3,4", "intersects": {"type": "Point", "coordinates": [0, 0]}})


def test_a_bad_geometry_is_refused_under_its_parameter() -> None:
    with pytest.raises(InvalidParameter, match=r"^intersects: the geometry has the type 'Circle'") as refused:
        parse_search({"intersects": {"type": "Circle"}})
    assert refused.value.target == "intersects"


@pytest.mark.parametrize("token", ["", 5, ["x"]])
def test_a_token_is_a_text(token: object) -> None:
    with pytest.raises(InvalidParameter, match=r"^token: "):
        parse_search({"token": token})
