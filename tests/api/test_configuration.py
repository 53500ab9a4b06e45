"""Configuration over HTTP: codes, bodies and who may do what (api.md 2.4)."""

from __future__ import annotations

from typing import Any

import pytest

from api.asgi import Client
from graticule.api.configuration import ENDPOINTS

CONFIGURATIONS = "/stac/collections/naip/configurations"
VERSION = "?api-version=2026-04-15"

RENDER_OPTION: dict[str, Any] = {
    "id": "natural-color",
    "name": "Natural color",
    "description": "RGB from visual assets",
    "type": "raster-tile",
    "options": "assets=image&asset_bidx=image|1,2,3",
    "minZoom": 6,
}
MOSAIC: dict[str, Any] = {
    "id": "most-recent",
    "name": "Most recent available",
    "description": "Most recent available imagery in this collection",
    "cql": [],
}
INTERVAL = {"op": "anyinteracts", "args": [{"property": "datetime"}, {"interval": ["2020-01-01", "2020-12-31"]}]}
LIFE_CYCLES = [("render-options", RENDER_OPTION), ("mosaics", {**MOSAIC, "cql": [INTERVAL]})]


@pytest.mark.parametrize(("kind", "document"), LIFE_CYCLES)
async def test_an_entry_lives_and_dies_as_the_sdk_expects(admin: Client, kind: str, document: dict[str, Any]) -> None:
    url = f"{CONFIGURATIONS}/{kind}"
    created = await admin.post(url + VERSION, document)
    assert (created.status, created.json()) == (201, document)
    assert (await admin.get(url)).json() == [document]
    one = f"{url}/{document['id']}"
    read = await admin.get(one + VERSION)
    assert (read.status, read.json()) == (200, document)
    changed = {**document, "name": "Renamed"}
    replaced = await admin.put(one, changed)
    assert (replaced.status, replaced.json()) == (200, changed)
    deleted = await admin.delete(one)
    assert (deleted.status, deleted.body) == (200, b"")
    for again in (await admin.get(one), await admin.put(one, document), await admin.delete(one)):
        assert again.status == 404
        assert document["id"] in again.error["message"]


@pytest.mark.parametrize(("kind", "document"), LIFE_CYCLES)
async def test_a_list_is_answered_with_a_list(admin: Client, kind: str, document: dict[str, Any]) -> None:
    both = [document, {**document, "id": "second"}]
    created = await admin.post(f"{CONFIGURATIONS}/{kind}", both)
    assert (created.status, created.json()) == (201, both)
    assert (await admin.get(f"{CONFIGURATIONS}/{kind}")).json() == both


@pytest.mark.parametrize(("kind", "document"), LIFE_CYCLES)
async def test_a_duplicate_id_is_a_conflict(admin: Client, kind: str, document: dict[str, Any]) -> None:
    await admin.post(f"{CONFIGURATIONS}/{kind}", document)
    again = await admin.post(f"{CONFIGURATIONS}/{kind}", document)
    assert (again.status, again.error["code"]) == (409, "Conflict")


async def test_a_wrong_member_is_a_bad_request_that_names_it(admin: Client) -> None:
    answer = await admin.post(f"{CONFIGURATIONS}/render-options", {**RENDER_OPTION, "legend": {"type": "pie"}})
    assert answer.status == 400
    assert answer.error["target"] == "legend.type"


async def test_a_body_that_is_no_json_is_a_bad_request(admin: Client) -> None:
    answer = await admin.send("POST", f"{CONFIGURATIONS}/mosaics", b"{")
    assert (answer.status, answer.error["code"]) == (400, "InvalidRequestBody")


async def test_an_id_may_need_escaping(admin: Client) -> None:
    await admin.post(f"{CONFIGURATIONS}/mosaics", {**MOSAIC, "id": "2021 (leaf-on): é"})
    answer = await admin.get(f"{CONFIGURATIONS}/mosaics/2021%20(leaf-on)%3A%20%C3%A9")
    assert answer.json()["id"] == "2021 (leaf-on): é"


async def test_the_whole_configuration_has_the_documented_shape(admin: Client) -> None:
    settings = {"minZoom": 6, "maxItemsPerTile": 35, "defaultLocation": {"zoom": 12, "coordinates": [8.96, -79.54]}}
    put = await admin.put(f"{CONFIGURATIONS}/tile-settings{VERSION}", settings)
    assert (put.status, put.json()) == (200, settings)
    assert (await admin.get(f"{CONFIGURATIONS}/tile-settings")).json() == settings
    assert (await admin.get(CONFIGURATIONS)).json() == {
        "tileSettings": settings,
        "mosaicInfo": {"mosaics": [], "renderOptions": [], "defaultLocation": None, "defaultCustomQuery": None},
    }


async def test_the_partition_type_is_put_with_an_empty_answer(admin: Client) -> None:
    url = f"{CONFIGURATIONS}/partition-type"
    assert (await admin.get(url)).json() == {"scheme": "none"}
    put = await admin.put(url, {"scheme": "year"})
    assert (put.status, put.body) == (200, b"")
    assert (await admin.get(url)).json() == {"scheme": "year"}


async def test_a_partition_type_comes_too_late_after_the_first_item(admin: Client) -> None:
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "scene",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "links": [],
        "assets": {},
    }
    assert (await admin.post("/stac/collections/naip/items", item)).status == 202
    answer = await admin.put(f"{CONFIGURATIONS}/partition-type", {"scheme": "year"})
    assert answer.status == 400
    assert "before the first" in answer.error["message"]


# --- queryables


async def test_queryables_live_and_die_as_the_sdk_expects(admin: Client) -> None:
    url = "/stac/collections/naip/queryables"
    queryable = {"name": "eo:cloud_cover", "definition": {"data_type": "number"}, "create_index": False}
    created = await admin.post(url + VERSION, [queryable])
    assert (created.status, created.json()) == (201, [queryable])
    schema = (await admin.get(url + VERSION)).json()
    assert schema["properties"].pop("id")
    assert schema["properties"].pop("geometry")
    assert schema["properties"].pop("datetime")["format"] == "date-time"
    assert schema == {
        "$id": f"http://catalog.test{url}{VERSION}",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "title": "STAC Queryables.",
        "additionalProperties": True,
        "properties": {"eo:cloud_cover": {"data_type": "number"}},
    }
    changed = {"name": "eo:cloud_cover", "definition": {"type": "number", "title": "Clouds"}, "data_type": "number"}
    replaced = await admin.put(f"{url}/eo%3Acloud_cover", changed)
    assert (replaced.status, replaced.json()) == (200, changed)
    assert (await admin.get(url)).json()["properties"]["eo:cloud_cover"] == changed["definition"]
    deleted = await admin.delete(f"{url}/eo%3Acloud_cover")
    assert (deleted.status, deleted.body) == (200, b"")
    assert (await admin.delete(f"{url}/eo%3Acloud_cover")).status == 404


async def test_a_single_queryable_is_answered_as_a_list(admin: Client) -> None:
    queryable = {"name": "gsd", "definition": {"type": "number"}}
    created = await admin.post("/stac/collections/naip/queryables", queryable)
    assert (created.status, created.json()) == (201, [queryable])
    assert (await admin.post("/stac/collections/naip/queryables", [queryable])).status == 409


async def test_the_catalog_has_queryables_too(admin: Client) -> None:
    await admin.post("/stac/collections/naip/queryables", [{"name": "gsd", "definition": {"type": "number"}}])
    answer = await admin.get("/stac/queryables")
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json()["$id"] == "http://catalog.test/stac/queryables"
    assert list(answer.json()["properties"]) == ["id", "datetime", "geometry", "gsd"]


# --- who may, and what does not exist


async def test_configuration_goes_with_its_collection(admin: Client) -> None:
    await admin.post(f"{CONFIGURATIONS}/mosaics", MOSAIC)
    assert (await admin.delete("/stac/collections/naip")).status == 202
    assert (await admin.get(f"{CONFIGURATIONS}/mosaics")).status == 404


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
async def test_every_endpoint_asks_who_calls_before_anything_else(
    endpoint: Any, admin: Client, reader: Client, stranger: Client
) -> None:
    url = endpoint.path.format_map({"collectionId": "no-such", **dict.fromkeys(NAMES, "x")})
    assert (await stranger.send(endpoint.method, url, b"{")).status == 401
    if endpoint.method != "GET":
        assert (await reader.send(endpoint.method, url, b"{")).status == 403
    elif "collectionId" in endpoint.path:
        assert (await reader.get(url)).status == 404
    if endpoint.method == "DELETE":
        assert (await admin.delete(url)).status == 404


NAMES = ("renderOptionId", "mosaicId", "queryableName")
