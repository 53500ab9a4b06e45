"""Queryables over HTTP: their links and documents, the operation that indexes them, a catalog that insists on them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from api.asgi import Client
from graticule.catalog import OnConflict
from graticule.services import Services
from graticule.settings import Settings
from graticule.stac.links import stored_form

NAIP = "/stac/collections/naip"
RELATION = "http://www.opengis.net/def/rel/ogc/1.0/queryables"


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return settings.model_copy(update={"strict_queryables": getattr(request, "param", False)})


@pytest.fixture
async def filled(admin: Client, services: Services) -> Client:
    """Three items with properties that nobody declared."""
    batch: list[Any] = [
        stored_form(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": f"item-{number}",
                "collection": "naip",
                "geometry": None,
                "properties": {
                    "datetime": f"2022-01-{number + 1:02}T00:00:00Z",
                    "platform": "plane",
                    "naip:year": 2020 + number,
                    "odd": [1, "one", None][number],
                },
                "links": [],
                "assets": {},
            }
        )
        for number in range(3)
    ]
    put = services.catalog.put_items
    await services.database.write(lambda tx: put(tx, "naip", batch, on_conflict=OnConflict.ERROR))
    return admin


async def test_collections_and_the_landing_page_link_to_their_queryables(filled: Client) -> None:
    for page, here in (("/stac", "/stac/queryables"), (NAIP, f"{NAIP}/queryables")):
        links = [link for link in (await filled.get(page)).json()["links"] if link["rel"] == RELATION]
        assert [link["href"] for link in links] == [f"http://catalog.test{here}"]
        answer = await filled.get(here)
        assert answer.headers["content-type"] == links[0]["type"] == "application/schema+json"
        assert answer.json()["$id"] == links[0]["href"]


async def test_what_items_were_found_to_have_is_named_behind_what_is_declared(filled: Client) -> None:
    await filled.post(f"{NAIP}/queryables", [{"name": "odd", "definition": {"title": "Odd"}}])
    for url in (f"{NAIP}/queryables", "/stac/queryables"):
        schema = (await filled.get(url)).json()
        assert list(schema["properties"]) == ["id", "datetime", "geometry", "odd", "naip:year", "platform"]
        assert schema["properties"]["odd"] == {"title": "Odd"}
        assert schema["properties"]["naip:year"] == {"type": "number"}
        assert schema["additionalProperties"] is True
    await filled.delete(f"{NAIP}/queryables/odd")
    assert (await filled.get(f"{NAIP}/queryables")).json()["properties"]["odd"] == {"type": ["number", "string"]}


async def test_an_index_is_an_operation_that_can_be_polled(filled: Client) -> None:
    await filled.post(f"{NAIP}/queryables", [{"name": "naip:year", "definition": {}, "create_index": True}])
    (operation,) = (await filled.get("/inma/operations?collectionId=naip&status=Pending")).json()["value"]
    assert (operation["type"], operation["status"]) == ("IndexQueryable", "Pending")
    one = await filled.get(f"/inma/operations/{operation['id']}")
    assert one.json()["id"] == operation["id"]
    found = await filled.get(f"/stac/search?filter={quote('naip:year > 2020')}")
    assert found.json()["numberMatched"] == 2, "the documents answer until it is built"


@pytest.mark.parametrize("settings", [True], indirect=True)
async def test_a_strict_catalog_names_the_unknown_property(filled: Client) -> None:
    queries: list[dict[str, Any]] = [
        {"filter": "naip:year = 2020"},
        {"query": {"naip:year": {"eq": 2020}}},
        {"sortby": [{"field": "naip:year", "direction": "asc"}]},
    ]
    for query in queries:
        refused = await filled.post("/stac/search", query)
        assert refused.status == 400
        assert "'naip:year' is no queryable" in refused.error["message"]
        assert "GRATICULE_STRICT_QUERYABLES" in refused.error["message"]
    schema = (await filled.get(f"{NAIP}/queryables")).json()
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == ["id", "datetime", "geometry", "platform"]
    await filled.post(f"{NAIP}/queryables", [{"name": "naip:year", "definition": {"type": "number"}}])
    for query in queries:
        assert (await filled.post("/stac/search", query)).json()["features"]
    assert (await filled.get(f"{NAIP}/items?filter={quote('platform is null')}")).status == 200
    assert (await filled.get(f"{NAIP}/items?sortby=odd")).status == 400
