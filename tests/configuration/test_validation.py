"""What is accepted as configuration, and what a refusal says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graticule.configuration import Kind
from graticule.configuration.validation import (
    check_entries,
    check_entry,
    check_partition_type,
    check_tile_settings,
)
from graticule.errors import InvalidRequestBody


def render_option(**members: Any) -> dict[str, Any]:
    return {"id": "natural-color", "name": "Natural color", "options": "assets=image&asset_bidx=image|1,2,3", **members}


def mosaic(**members: Any) -> dict[str, Any]:
    return {"id": "most-recent", "name": "Most recent", "cql": [], **members}


def queryable(**members: Any) -> dict[str, Any]:
    return {"name": "eo:cloud_cover", "definition": {"data_type": "number"}, **members}


def tile_settings(**members: Any) -> dict[str, Any]:
    return {"minZoom": 6, "maxItemsPerTile": 35, "defaultLocation": None, **members}


def refusal(kind: Kind, document: Any) -> InvalidRequestBody:
    with pytest.raises(InvalidRequestBody) as caught:
        check_entry(kind, document)
    return caught.value


# --- the real configurations of the open Planetary Computer


def slug(name: str, place: int) -> str:
    """An id as the published tutorial makes one of a name."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower())[:27] + str(place)


def camel(value: Any) -> Any:
    """Members named as the API has them: the data sets' own files are snake_case."""
    if isinstance(value, list):
        return [camel(entry) for entry in value]
    if isinstance(value, dict):
        return {re.sub(r"_(\w)", lambda found: found[1].upper(), name): camel(inner) for name, inner in value.items()}
    return value


def published(test_data: Path) -> Iterator[dict[str, Any]]:
    """The mosaic infos of all data sets in the test data, in camelCase."""
    for path in sorted((test_data / "config" / "pc-datasets").glob("*/config.json")):
        info = json.loads(path.read_text("utf-8")).get("mosaic_info")
        if info:
            # CQL is nobody's camelCase: it is passed on as it is.
            mosaics = info.get("mosaics") or []
            yield {**camel({name: value for name, value in info.items() if name != "mosaics"}), "mosaics": mosaics}
    for entry in json.loads((test_data / "config" / "collection_config.json").read_text("utf-8")).values():
        yield entry["mosaic_info"]
    for path in sorted((test_data / "config" / "explorer").glob("*/mosaicInfo.json")):
        yield json.loads(path.read_text("utf-8"))


def test_every_published_render_option_is_kept_as_it_is(test_data: Path) -> None:
    options = [option for info in published(test_data) for option in info.get("renderOptions") or []]
    assert len(options) > 180
    for place, option in enumerate(options):
        sent = {"id": slug(option["name"], place), **option}
        assert check_entry(Kind.RENDER_OPTION, sent) == sent


def test_every_published_mosaic_is_kept_as_it_is(test_data: Path) -> None:
    mosaics = [entry for info in published(test_data) for entry in info.get("mosaics") or []]
    assert len(mosaics) > 350
    for place, entry in enumerate(mosaics):
        sent = {"id": slug(entry["name"], place), **entry}
        assert check_entry(Kind.MOSAIC, sent) == sent


def test_every_published_default_location_fits_tile_settings(test_data: Path) -> None:
    locations = [location for info in published(test_data) if (location := info.get("defaultLocation"))]
    assert len(locations) > 45
    for location in locations:
        sent = tile_settings(defaultLocation=location)
        assert check_tile_settings(sent) == sent


def test_every_published_queryable_is_kept_as_it_is(test_data: Path) -> None:
    files = sorted((test_data / "config" / "explorer").glob("*/queryables.json"))
    assert files
    for path in files:
        properties = json.loads(path.read_text("utf-8"))["properties"]
        sent = [{"name": name, "definition": definition} for name, definition in properties.items()]
        assert check_entries(Kind.QUERYABLE, sent) == sent


# --- render options


def test_an_option_text_is_kept_byte_for_byte() -> None:
    options = "assets=data&exitwhenfull=False&skipcovered=False&colormap=%7B%220%22%3A%20%5B0%2C0%2C0%2C0%5D%7D"
    assert check_entry(Kind.RENDER_OPTION, render_option(options=options))["options"] == options


def test_enumerations_are_read_in_any_case_and_written_exactly() -> None:
    sent = render_option(type="Raster-Tile", legend={"type": "ClassMap", "labels": ["a"]})
    checked = check_entry(Kind.RENDER_OPTION, sent)
    assert checked["type"] == "raster-tile"
    assert checked["legend"] == {"type": "classmap", "labels": ["a"]}
    assert sent["legend"]["type"] == "ClassMap", "what was sent is left alone"


def test_members_that_nobody_knows_are_kept() -> None:
    sent = render_option(color={"ramp": ["#000", "#fff"]}, legend={"type": "none", "unit": "m"})
    assert check_entry(Kind.RENDER_OPTION, sent) == sent


@pytest.mark.parametrize("missing", ["id", "name"])
def test_a_render_option_without_a_required_member_is_refused_by_its_name(missing: str) -> None:
    sent = render_option()
    del sent[missing]
    error = refusal(Kind.RENDER_OPTION, sent)
    assert error.target == missing
    assert f"'{missing}'" in error.message


@pytest.mark.parametrize("identity", ["", "a/b", "line\nbreak", "..", 7, None, "x" * 257])
def test_an_id_that_cannot_stand_in_a_url_is_refused(identity: Any) -> None:
    assert refusal(Kind.RENDER_OPTION, render_option(id=identity)).target == "id"


@pytest.mark.parametrize("identity", ["a", "Natural colour (2021), v1.0+", "é", "x" * 256])
def test_other_ids_are_taken(identity: str) -> None:
    assert check_entry(Kind.RENDER_OPTION, render_option(id=identity))["id"] == identity


@pytest.mark.parametrize(
    ("members", "target"),
    [
        ({"options": {"assets": "image"}}, "options"),
        ({"type": "raster"}, "type"),
        ({"minZoom": 31}, "minZoom"),
        ({"minZoom": -1}, "minZoom"),
        ({"minZoom": 3.5}, "minZoom"),
        ({"minZoom": True}, "minZoom"),
        ({"description": 1}, "description"),
        ({"legend": []}, "legend"),
        ({"legend": {"type": "pie"}}, "legend.type"),
        ({"legend": {"labels": "a,b"}}, "legend.labels"),
        ({"legend": {"labels": [1]}}, "legend.labels"),
        ({"legend": {"trimStart": "1"}}, "legend.trimStart"),
        ({"legend": {"scaleFactor": "2"}}, "legend.scaleFactor"),
        ({"conditions": {"property": "a"}}, "conditions"),
        ({"conditions": [{"property": "a"}, {"value": 1}]}, "conditions[1].property"),
        ({"vectorOptions": {"tilejsonKey": "t", "sourceLayer": "s"}}, "vectorOptions"),
        ({"type": "vt-line", "vectorOptions": {"tilejsonKey": "t"}}, "vectorOptions.sourceLayer"),
    ],
)
def test_a_wrong_member_of_a_render_option_is_named(members: dict[str, Any], target: str) -> None:
    error = refusal(Kind.RENDER_OPTION, render_option(**members))
    assert error.target == target
    assert target in error.message


def test_vector_options_go_with_vector_types() -> None:
    vector = {"tilejsonKey": "tiles", "sourceLayer": "fires", "strokeWidth": 1, "filter": ["==", ["get", "a"], 1]}
    sent = render_option(type="vt-polygon", vectorOptions=vector, options=None)
    assert check_entry(Kind.RENDER_OPTION, sent) == sent


def test_a_condition_takes_a_value_of_any_kind() -> None:
    conditions = [{"property": "a", "value": "x"}, {"property": "b", "value": [1, 2]}, {"property": "c"}]
    assert check_entry(Kind.RENDER_OPTION, render_option(conditions=conditions))["conditions"] == conditions


# --- mosaics, queryables


@pytest.mark.parametrize(
    ("members", "target"),
    [
        ({"cql": None}, "cql"),
        ({"cql": {"op": "=", "args": []}}, "cql"),
        ({"cql": [{"op": "=", "args": [1, 1]}, "eo:cloud_cover < 10"]}, "cql[1]"),
        ({"cql": [{"op": "=", "args": [1, 1]}, {"op": "equals", "args": [1, 1]}]}, "cql[1]"),
        ({"cql": [{"op": "=", "args": []}]}, "cql[0]"),
        ({"name": None}, "name"),
    ],
)
def test_a_wrong_member_of_a_mosaic_is_named(members: dict[str, Any], target: str) -> None:
    assert refusal(Kind.MOSAIC, mosaic(**members)).target == target


@pytest.mark.parametrize(
    ("members", "target"),
    [
        ({"name": "a/b"}, "name"),
        ({"definition": None}, "definition"),
        ({"definition": "number"}, "definition"),
        ({"create_index": "yes"}, "create_index"),
        ({"data_type": "integer"}, "data_type"),
    ],
)
def test_a_wrong_member_of_a_queryable_is_named(members: dict[str, Any], target: str) -> None:
    assert refusal(Kind.QUERYABLE, queryable(**members)).target == target


def test_a_definition_needs_no_type() -> None:
    sent = queryable(data_type="Number", create_index=False)
    assert check_entry(Kind.QUERYABLE, sent) == {**sent, "data_type": "number"}


def test_a_wrong_entry_of_a_list_is_named_with_its_place() -> None:
    with pytest.raises(InvalidRequestBody) as caught:
        check_entries(Kind.MOSAIC, [mosaic(), mosaic(cql="")])
    assert caught.value.target == "[1].cql"


@pytest.mark.parametrize("document", [None, "text", 1, []])
def test_what_is_no_object_is_refused(document: Any) -> None:
    with pytest.raises(InvalidRequestBody, match="must be a JSON object"):
        check_entry(Kind.MOSAIC, document)


def test_a_body_may_leave_the_id_to_the_url() -> None:
    checked = check_entry(Kind.MOSAIC, {"name": "All", "cql": []}, "most-recent")
    assert checked == {"id": "most-recent", "name": "All", "cql": []}


def test_a_body_may_not_say_another_id_than_the_url() -> None:
    with pytest.raises(InvalidRequestBody, match="the URL names 'other'") as caught:
        check_entry(Kind.MOSAIC, mosaic(), "other")
    assert caught.value.target == "id"


# --- tile settings, partition type


def test_tile_settings_are_kept_as_they_are() -> None:
    sent = tile_settings(defaultLocation={"zoom": 12, "coordinates": [8.96, -79.54]})
    assert check_tile_settings(sent) == sent


@pytest.mark.parametrize(
    ("members", "target"),
    [
        ({"minZoom": None}, "minZoom"),
        ({"minZoom": 25}, "minZoom"),
        ({"maxItemsPerTile": 0}, "maxItemsPerTile"),
        ({"maxItemsPerTile": "35"}, "maxItemsPerTile"),
        ({"defaultLocation": [8.96, -79.54]}, "defaultLocation"),
        ({"defaultLocation": {"coordinates": [8.96, -79.54]}}, "defaultLocation.zoom"),
        ({"defaultLocation": {"zoom": 12}}, "defaultLocation.coordinates"),
        ({"defaultLocation": {"zoom": 12, "coordinates": [8.96]}}, "defaultLocation.coordinates"),
        ({"defaultLocation": {"zoom": 12, "coordinates": ["8.96", "-79.54"]}}, "defaultLocation.coordinates"),
        # Longitude first, as in GeoJSON, shows where it cannot be a latitude.
        ({"defaultLocation": {"zoom": 12, "coordinates": [-104.29, 37.21]}}, "defaultLocation.coordinates"),
    ],
)
def test_a_wrong_member_of_tile_settings_is_named(members: dict[str, Any], target: str) -> None:
    with pytest.raises(InvalidRequestBody) as caught:
        check_tile_settings(tile_settings(**members))
    assert caught.value.target == target


def test_a_partition_scheme_is_read_in_any_case() -> None:
    assert check_partition_type({"scheme": "Year"}) == {"scheme": "year"}


@pytest.mark.parametrize("document", [{}, {"scheme": "day"}, {"scheme": None}])
def test_another_partition_scheme_is_refused(document: Any) -> None:
    with pytest.raises(InvalidRequestBody) as caught:
        check_partition_type(document)
    assert caught.value.target == "scheme"
