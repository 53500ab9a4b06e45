"""Which members of an item an answer shows."""

from __future__ import annotations

from typing import Any

import pytest

from graticule.errors import InvalidParameter
from graticule.stac.fields import parse_fields

ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "stac_extensions": [],
    "id": "i",
    "collection": "c",
    "geometry": {"type": "Point", "coordinates": [1, 2]},
    "bbox": [1, 2, 1, 2],
    "properties": {"datetime": "2020-01-01T00:00:00Z", "gsd": 5, "deep": {"a": 1, "b": 2}, "empty": {}},
    "links": [{"rel": "self"}],
    "assets": {"image": {"href": "x", "title": "t"}, "data": {"href": "y"}},
    "_msft:ts": "now",
}
ALL = set(ITEM)
IDENTITY = {name: ITEM[name] for name in ("type", "stac_version", "id", "collection")}
DEFAULT = {"type", "stac_version", "id", "collection", "geometry", "bbox", "properties", "links", "assets"}


def shown(fields: Any, item: dict[str, Any] = ITEM) -> dict[str, Any]:
    before = repr(item)
    selected = parse_fields(fields).apply(item)
    assert repr(item) == before
    return selected


def beyond_identity(fields: Any) -> dict[str, Any]:
    """What is shown beside what tells that it is an Item, and which: that is always there."""
    selected = shown(fields)
    assert {name: selected.pop(name) for name in IDENTITY} == IDENTITY
    return selected


@pytest.mark.parametrize(
    "fields", ["", {}, None, [], {"include": None}, {"include": [], "exclude": None}, {"exclude": []}, [{}]]
)
def test_nothing_named_means_what_makes_a_valid_item(fields: Any) -> None:
    selected = shown(fields)
    assert set(selected) == DEFAULT
    assert selected["properties"] == {"datetime": "2020-01-01T00:00:00Z"}


def test_an_item_without_datetime_shows_its_interval() -> None:
    interval = {"datetime": None, "start_datetime": "a", "end_datetime": "b"}
    item = {**ITEM, "properties": {**interval, "gsd": 5}}
    assert shown("", item)["properties"] == interval
    assert shown("-properties.end_datetime", item)["properties"] == {"datetime": None, "start_datetime": "a"}
    assert "properties" not in shown("-properties", item)
    assert "properties" not in shown("id", item)


def test_only_what_is_included_is_beyond_identity() -> None:
    assert beyond_identity("id,properties.gsd") == {"properties": {"gsd": 5}}
    assert beyond_identity(" id,+properties.gsd") == {"properties": {"gsd": 5}}
    assert beyond_identity({"include": ["id", "assets.image.title"]}) == {"assets": {"image": {"title": "t"}}}
    assert beyond_identity({"include": ["properties.deep.a", "properties.nowhere"]}) == {
        "properties": {"deep": {"a": 1}}
    }
    assert beyond_identity({"include": ["nowhere", "links.rel", "properties.empty"]}) == {"properties": {"empty": {}}}


def test_properties_may_be_named_alone() -> None:
    assert beyond_identity("datetime,gsd,_msft:ts") == {
        "properties": {"datetime": "2020-01-01T00:00:00Z", "gsd": 5},
        "_msft:ts": "now",
    }


def test_a_query_excludes_from_the_default_members_and_a_body_from_all() -> None:
    assert set(shown("-geometry,-assets.data")) == DEFAULT - {"geometry"}
    assert set(shown("-assets.data")["assets"]) == {"image"}
    assert set(shown({"exclude": ["geometry"]})) == ALL - {"geometry"}
    assert shown({"exclude": ["properties.deep.a"]})["properties"]["deep"] == {"b": 2}
    assert set(shown({"exclude": ["geometry"], "include": []})) == DEFAULT - {"geometry"}
    assert set(shown({"exclude": ["geometry"], "include": None})) == DEFAULT - {"geometry"}


def test_the_most_specific_path_decides_and_including_wins() -> None:
    assert shown({"include": ["a", "id"], "exclude": ["id"]}) == IDENTITY
    assert beyond_identity({"include": ["properties.gsd"], "exclude": ["properties"]}) == {"properties": {"gsd": 5}}
    kept = shown({"include": ["properties"], "exclude": ["properties.gsd", "properties.deep"]})
    assert set(kept["properties"]) == {"datetime", "empty"}
    nested = shown("properties,-properties.deep,properties.deep.a")
    assert nested["properties"]["deep"] == {"a": 1}


def test_identity_is_left_out_where_it_is_excluded() -> None:
    assert set(shown({"include": ["geometry"], "exclude": ["collection"]})) == {*IDENTITY, "geometry"} - {"collection"}
    assert set(shown("geometry,-id,-type")) == {"stac_version", "collection", "geometry"}


def test_a_list_of_objects_is_taken_together() -> None:
    both = [{"include": ["id"]}, {"include": ["bbox", "properties"], "exclude": ["properties.deep"]}]
    assert beyond_identity(both) == {
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2020-01-01T00:00:00Z", "gsd": 5, "empty": {}},
    }
    assert set(shown([{"exclude": ["links"]}, {"exclude": ["assets"]}])) == ALL - {"links", "assets"}


@pytest.mark.parametrize(
    "value", [5, ["id"], [None], {"include": "id"}, {"include": [5]}, {"exclude": {"a": 1}}, "a..b", ".a", "-", "-a."]
)
def test_everything_else_is_refused(value: Any) -> None:
    with pytest.raises(InvalidParameter, match=r"^fields: ") as refused:
        parse_fields(value)
    assert refused.value.target == "fields"
