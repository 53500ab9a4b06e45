"""Searches over HTTP: order, fields and counts, in a query and in a body."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from api.asgi import Answer, Client
from graticule.catalog import OnConflict
from graticule.services import Services
from graticule.stac.links import stored_form

CLOUDS = (30, 10, None, 20, 10)


@pytest.fixture
async def naip(admin: Client, services: Services) -> Client:
    """Five items i0 to i4, newer by number."""
    items: list[Any] = [
        stored_form(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": f"i{n}",
                "collection": "naip",
                "geometry": {"type": "Point", "coordinates": [n, n]},
                "bbox": [n, n, n, n],
                "properties": {"datetime": f"2021-01-0{n + 1}T00:00:00Z", "eo:cloud_cover": cloud, "gsd": 1},
                "links": [],
                "assets": {"image": {"href": "https://example.com/x.tif"}},
            }
        )
        for n, cloud in enumerate(CLOUDS)
    ]
    put = partial(services.catalog.put_items, collection_id="naip", items=items, on_conflict=OnConflict.ERROR)
    await services.database.write(put)
    return admin


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.json()["features"]]


async def pages(client: Client, first: Answer) -> list[list[str]]:
    """The ids of a page and of all that follow it by their next links."""
    found, answer = [ids(first)], first
    while nexts := [link for link in answer.json()["links"] if link["rel"] == "next"]:
        url = urlsplit(nexts[0]["href"])
        target = f"{url.path}?{url.query}"
        answer = await (client.get(target) if nexts[0]["method"] == "GET" else client.post(target, nexts[0]["body"]))
        found.append(ids(answer))
    return found


@pytest.mark.parametrize("path", ["/stac/search", "/stac/collections/naip/items"])
@pytest.mark.parametrize("plus", ["", "+", "%2B", "%20"])
async def test_a_query_is_sorted_on_all_its_pages(naip: Client, path: str, plus: str) -> None:
    first = await naip.get(f"{path}?sortby={plus}properties.eo:cloud_cover,-datetime&limit=2&fields=id")
    assert await pages(naip, first) == [["i4", "i1"], ["i3", "i0"], ["i2"]]


async def test_a_repeated_parameter_is_one_list(naip: Client) -> None:
    answer = await naip.get("/stac/search?sortby=-eo:cloud_cover&sortby=-id&fields=bbox&fields=geometry")
    assert set(answer.json()["features"][0]) == {"type", "stac_version", "id", "collection", "bbox", "geometry"}
    assert ids(answer) == ["i0", "i3", "i4", "i1", "i2"]


@pytest.mark.parametrize(
    "path",
    ["/stac/search?ids=i0&ids=i1&limit=1", "/stac/collections/naip/items?limit=2&bbox=-180,-90,180,90",
     "/stac/collections?limit=1&q=naip", "/stac/aggregate?aggregations=total_count&ids=i0"],
)  # fmt: skip
async def test_the_self_link_of_an_answer_leads_to_the_same_answer(naip: Client, path: str) -> None:
    first = await naip.get(path)
    urls = [urlsplit(link["href"]) for link in first.json()["links"] if link["rel"] == "self"]
    (again,) = [await naip.get(f"{url.path}?{url.query}") for url in urls]
    assert again.json() == first.json()


async def test_a_body_is_sorted_on_all_its_pages(naip: Client) -> None:
    body = {
        "sortby": [{"field": "eo:cloud_cover", "direction": "desc"}, {"field": "id", "direction": "asc"}],
        "limit": 2,
        "fields": {"include": ["id", "properties.gsd"]},
    }
    first = await naip.post("/stac/search", body)
    shown = {"type": "Feature", "stac_version": "1.0.0", "id": "i0", "collection": "naip", "properties": {"gsd": 1}}
    assert first.json()["features"][0] == shown
    assert await pages(naip, first) == [["i0", "i3"], ["i1", "i4"], ["i2"]]


async def test_fields_work_with_signing_and_the_sdk_array(naip: Client) -> None:
    body = {"ids": ["i1"], "fields": [{"include": ["assets", "links"], "exclude": ["links.x"]}]}
    for url in ("/stac/search", "/stac/search?sign=true"):
        (item,) = (await naip.post(url, body)).json()["features"]
        assert set(item) == {"type", "stac_version", "id", "collection", "assets", "links"}
        assert {link["rel"] for link in item["links"]} == {"collection", "parent", "root", "self"}
    for fields in ("id", "assets.image.title", "-assets"):
        (item,) = (await naip.get(f"/stac/search?sign=true&ids=i1&fields={fields}")).json()["features"]
        assert "assets" not in item
    everything = (await naip.get("/stac/search?ids=i1")).json()["features"][0]
    (default,) = (await naip.get("/stac/search?ids=i1&fields=")).json()["features"]
    assert set(everything) - set(default) == set()
    assert set(default["properties"]) == {"datetime"}


async def test_intersects_in_a_query_is_the_json_of_a_geometry(naip: Client) -> None:
    everywhere = '{"type":"Polygon","coordinates":[[[-180,-90],[180,-90],[180,90],[-180,90],[-180,-90]]]}'
    for path in ("/stac/search", "/stac/collections/naip/items"):
        assert len(ids(await naip.get(f"{path}?intersects={quote(everywhere)}&limit=100"))) == 5
        refused = await naip.get(f"{path}?intersects=POINT(1 2)")
        assert refused.status == 400
        assert refused.json()["error"]["target"] == "intersects"


async def test_a_query_narrows_a_sorted_search_on_all_its_pages(naip: Client) -> None:
    body = {"query": {"eo:cloud_cover": {"lte": 20}}, "sortby": [{"field": "id", "direction": "asc"}], "limit": 2}
    assert await pages(naip, await naip.post("/stac/search", body)) == [["i1", "i3"], ["i4"]]
    query = "query=%7B%22gsd%22%3A%7B%22eq%22%3A1%7D%2C%22id%22%3A%7B%22neq%22%3A%22i2%22%7D%7D&sortby=id&limit=3"
    for path in ("/stac/search", "/stac/collections/naip/items"):
        assert await pages(naip, await naip.get(f"{path}?{query}")) == [["i0", "i1", "i3"], ["i4"]]


async def test_matches_are_counted(naip: Client) -> None:
    page = (await naip.get("/stac/search?bbox=-1,-1,2.5,2.5&limit=1&sortby=id")).json()
    assert page["numberMatched"] == page["context"]["matched"] == 3
    page = (await naip.get("/stac/search?datetime=2021-01-02T00:00:00Z/..&limit=1")).json()
    assert page["numberMatched"] == 4


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("sortby=-", "sortby"),
        ("sortby=geometry", "sortby"),
        ("sortby=%22a%22", "sortby"),
        ("sortby=a..b", "sortby"),
        ("fields=a..b", "fields"),
        ("fields=-", "fields"),
        ("sortby=id&token=abc", "token"),
        ("query=%7B", "query"),
        ("query=%7B%22gsd%22%3A%7B%22is%22%3A1%7D%7D", "query"),
        ("sortby=id&token=WzAsIngiLDFd", "token"),
    ],
)
@pytest.mark.parametrize("path", ["/stac/search", "/stac/collections/naip/items"])
async def test_a_bad_query_is_refused(naip: Client, path: str, query: str, target: str) -> None:
    answer = await naip.get(f"{path}?{query}")
    assert (answer.status, answer.error["target"]) == (400, target)


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({"sortby": [{"field": "id", "direction": "sideways"}]}, "sortby"),
        ({"sortby": [{"direction": "asc"}]}, "sortby"),
        ({"sortby": {"field": "id"}}, "sortby"),
        ({"sortby": 1}, "sortby"),
        ({"fields": ["id"]}, "fields"),
        ({"fields": {"include": "id"}}, "fields"),
        ({"fields": True}, "fields"),
        ({"fields": None}, "fields"),
        ({"bbox": "100.0, 0.0, 105.0, 1.0"}, "bbox"),
        ({"datetime": "1985-04-12"}, "datetime"),
        ({"query": {"gsd": {"is": 1}}}, "query"),
        ({"query": [{"gsd": {"eq": 1}}]}, "query"),
        ({"sortby": [{"field": "id", "direction": "asc"}], "token": "WzAsIngiLDFd"}, "token"),
    ],
)
async def test_a_bad_body_is_refused(naip: Client, body: dict[str, Any], target: str) -> None:
    answer = await naip.post("/stac/search", body)
    assert (answer.status, answer.error["target"]) == (400, target)


async def test_what_is_true_is_declared(naip: Client) -> None:
    declared = (await naip.get("/stac/conformance")).json()["conformsTo"]
    for name in (
        "item-search#sort",
        "item-search#fields",
        "item-search#query",
        "ogcapi-features#query",
        "ogcapi-features#sort",
        "ogcapi-features#fields",
    ):
        assert f"https://api.stacspec.org/v1.0.0/{name}" in declared
