"""Collections found over HTTP, words, and aggregations: answers, links, pages, and what is refused."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from api.asgi import Answer, Client
from api.conftest import COLLECTION
from graticule.catalog import OnConflict
from graticule.services import Services
from graticule.stac.links import stored_form

SEARCH = "/stac/collections/search"


@pytest.fixture
async def catalog(admin: Client, services: Services) -> Client:
    """The collections naip, radar and search, and four items in naip."""
    radar = {
        **COLLECTION,
        "id": "radar",
        "title": "Sentinel-1 Radar",
        "description": "Observations d'été",
        "keywords": ["SAR", "sea ice"],
        "license": "CC-BY-4.0",
        "extent": {
            "spatial": {"bbox": [[170, -20, -170, 20]]},
            "temporal": {"interval": [["1990-01-01T00:00:00Z", "1999-01-01T00:00:00Z"]]},
        },
        "summaries": {"gsd": [10], "platform": "s1"},
    }
    for collection in (radar, {**COLLECTION, "id": "search", "title": "A catalog of names"}):
        assert (await admin.post("/stac/collections", collection)).status == 202
    texts: list[dict[str, Any]] = [
        {"title": "Forest fire"}, {"description": "Forest, no fire"}, {"keywords": ["land cover", "fire"]}, {},
    ]  # fmt: skip
    items: list[Any] = [
        stored_form(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": f"i{n}",
                "collection": "naip",
                "geometry": {"type": "Point", "coordinates": [n, n]},
                "bbox": [n, n, n, n],
                "properties": {
                    "datetime": f"2021-0{n + 1}-01T00:00:00Z",
                    "platform": "p",
                    "mode": "EW" if n == 3 else "IW",
                    "view:off_nadir": n,
                    **text,
                },
                "links": [],
                "assets": {},
            }
        )
        for n, text in enumerate(texts)
    ]
    put = partial(services.catalog.put_items, collection_id="naip", items=items, on_conflict=OnConflict.ERROR)
    await services.database.write(put)
    return admin


def ids(answer: Answer, member: str = "collections") -> list[str]:
    assert answer.status == 200, answer.body
    return [one["id"] for one in answer.json()[member]]


async def pages(client: Client, answer: Answer, member: str = "collections") -> list[list[str]]:
    found = [ids(answer, member)]
    while nexts := [link for link in answer.json()["links"] if link["rel"] == "next"]:
        url = urlsplit(nexts[0]["href"])
        target = f"{url.path}?{url.query}"
        answer = await (client.get(target) if nexts[0]["method"] == "GET" else client.post(target, nexts[0]["body"]))
        found.append(ids(answer, member))
    return found


# --- collections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"q": "radar"}, ["radar"]),
        ({"q": "ETE"}, ["radar"]),
        ({"q": "sea ice,names"}, ["radar", "search"]),
        ({"q": "imagery AND NOT catalog"}, ["naip"]),
        ({"bbox": "175,0,-175,1"}, ["radar"]),
        ({"bbox": "-100,30,-99,31"}, ["search"]),
        ({"datetime": "../2000-01-01T00:00:00Z"}, ["radar"]),
        ({"datetime": "2020-01-01T00:00:00Z"}, ["search"]),
        ({"datetime": "2021-01-01T00:00:00Z"}, ["naip", "search"]),
        ({"filter": "license = 'CC-BY-4.0'"}, ["radar"]),
        ({"filter": "summaries.platform = 's1' OR id = 'naip'"}, ["naip", "radar"]),
        ({"filter": "title LIKE 'A%' AND license = 'proprietary'", "filter-lang": "cql2-text"}, ["search"]),
        ({"query": '{"title": {"startsWith": "Sentinel"}}'}, ["radar"]),
        ({"sortby": "-title"}, ["radar", "search", "naip"]),
        ({"sortby": "+title"}, ["search", "radar", "naip"]),
        ({"limit": "10"}, ["naip", "radar", "search"]),
        ({"q": "nothing"}, []),
        ({}, ["naip", "radar", "search"]),
    ],
)
async def test_collections_are_found_in_a_query_and_in_a_body(
    catalog: Client, asked: dict[str, str], expected: list[str]
) -> None:
    query = "&".join(f"{name}={quote(value)}" for name, value in asked.items())
    assert ids(await catalog.get(f"/stac/collections?{query}")) == expected
    answer = await catalog.post(SEARCH, asked)
    assert ids(answer) == expected
    assert answer.json()["numberMatched"] == answer.json()["numberReturned"] == len(expected)


async def test_collections_are_found_in_pages(catalog: Client) -> None:
    expected = [["radar", "search"], ["naip"]]
    assert await pages(catalog, await catalog.get("/stac/collections?limit=2&sortby=-title")) == expected
    assert (
        await pages(catalog, await catalog.get("/stac/collections?limit=2&sortby=-title&api-version=2026-04-15"))
        == expected
    )
    body = {"limit": 2, "sortby": [{"field": "title", "direction": "desc"}]}
    first = await catalog.post(SEARCH, body)
    assert first.json()["numberMatched"] == 3
    assert await pages(catalog, first) == expected


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("bbox=2,2,9,9", True), ("bbox=50,50,60,60", False),
        ("datetime=2021-02-01T00:00:00Z", True), ("datetime=2020-06-01T00:00:00Z", False),
        ("filter=S_INTERSECTS(geometry,POINT(1 1))", True), ("filter=S_INTERSECTS(geometry,POINT(60 60))", False),
        ("filter=A_CONTAINS(summaries.platform,('p'))", True), ("filter=summaries.platform IS NULL", False),
    ],
)  # fmt: skip
async def test_collections_are_found_by_the_extent_and_summaries_they_are_answered_with(
    catalog: Client, asked: str, found: bool
) -> None:
    everywhere = {
        "spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [["2000-01-01T00:00:00Z", None]]},
    }
    assert (await catalog.put("/stac/collections/naip", {**COLLECTION, "extent": everywhere})).status == 200
    listed = (await catalog.get(f"/stac/collections?{quote(asked, safe='=')}")).json()["collections"]
    assert ("naip" in {one["id"] for one in listed}) is found


async def test_a_collection_found_is_the_collection_that_is_read(catalog: Client) -> None:
    (found,) = (await catalog.get("/stac/collections?q=radar")).json()["collections"]
    assert found == (await catalog.get("/stac/collections/radar")).json()


async def test_a_collection_called_search_can_be_read(catalog: Client) -> None:
    assert (await catalog.get(SEARCH)).json()["id"] == "search"


async def test_collections_show_the_fields_asked_for(catalog: Client) -> None:
    def shown(answer: Answer) -> set[str]:
        (found,) = answer.json()["collections"]
        return set(found)

    assert shown(await catalog.get("/stac/collections?q=radar&fields=id,title")) == {
        "type",
        "stac_version",
        "id",
        "title",
    }
    required = {"type", "stac_version", "id", "description", "license", "extent", "links"}
    assert shown(await catalog.get("/stac/collections?q=radar&fields=")) == required
    whole = shown(await catalog.get("/stac/collections?q=radar"))
    without = await catalog.post(SEARCH, {"q": "radar", "fields": {"exclude": ["summaries", "links"]}})
    assert shown(without) == whole - {"summaries", "links"}


async def test_without_conditions_all_collections_are_listed(catalog: Client) -> None:
    answer = await catalog.get("/stac/collections?sign=false")
    assert ids(answer) == ["naip", "radar", "search"]
    assert set(answer.json()) == {"collections", "links"}
    (queryables,) = [link for link in answer.json()["links"] if link["rel"].endswith("queryables")]
    schema = await catalog.get(urlsplit(queryables["href"]).path)
    assert schema.headers["content-type"] == "application/schema+json"
    assert "title" in schema.json()["properties"]


@pytest.mark.parametrize(
    "asked",
    [
        {"bbox": "1,2"}, {"datetime": "soon"}, {"limit": "0"}, {"limit": "many"}, {"q": "("}, {"q": "!"},
        {"filter": "title ="}, {"filter": "1"}, {"query": "x"}, {"sortby": "links"}, {"token": "x"},
        {"filter-crs": "EPSG:3857", "filter": "id = 'a'"},
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_refused(catalog: Client, asked: dict[str, str]) -> None:
    query = "&".join(f"{name}={quote(value)}" for name, value in asked.items())
    for answer in (await catalog.get(f"/stac/collections?{query}"), await catalog.post(SEARCH, asked)):
        assert answer.status == 400
        assert answer.error["target"] in {*asked, "filter"}
        assert next(iter(asked)) in answer.error["message"]


# --- words of items --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("forest fire", ["i0"]), ("fire,forest", ["i2", "i1", "i0"]), ("FIRE AND NOT forest", ["i2"]),
        ('"no fire"', ["i1"]), ("land cover", ["i2"]), ("NOT fire", ["i3"]), ("cover land", []),
    ],
)  # fmt: skip
async def test_items_are_found_by_words(catalog: Client, q: str, expected: list[str]) -> None:
    for path in ("/stac/search", "/stac/collections/naip/items"):
        assert ids(await catalog.get(f"{path}?q={quote(q)}"), "features") == expected
    answer = await catalog.post("/stac/search", {"q": q})
    assert ids(answer, "features") == expected
    assert answer.json()["numberMatched"] == len(expected)
    assert ids(await catalog.get(f"/stac/collections/radar/items?q={quote(q)}"), "features") == []


async def test_words_hold_on_every_page(catalog: Client) -> None:
    expected = [["i2"], ["i1"], ["i0"]]
    first = await catalog.get("/stac/search?q=forest&q=fire&limit=1")
    assert await pages(catalog, first, "features") == expected
    first = await catalog.post("/stac/search", {"q": ["forest", "fire"], "limit": 1})
    assert await pages(catalog, first, "features") == expected
    first = await catalog.get("/stac/collections/naip/items?q=fire&limit=1&sortby=id")
    assert await pages(catalog, first, "features") == [["i0"], ["i1"], ["i2"]]


@pytest.mark.parametrize("q", ["(", "!!!", 'a "', "a AND", 5, {"a": 1}])
async def test_words_that_cannot_be_read_are_refused(catalog: Client, q: Any) -> None:
    answer = await catalog.post("/stac/search", {"q": q})
    assert (answer.status, answer.error["target"]) == (400, "q")


# --- aggregations ----------------------------------------------------------------------------------------------------


def aggregations(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    assert answer.json()["type"] == "AggregationCollection"
    return {one["name"]: one for one in answer.json()["aggregations"]}


async def test_everything_that_is_listed_can_be_asked_for(catalog: Client) -> None:
    for path in ("/stac", "/stac/collections/naip"):
        listed = aggregations(await catalog.get(f"{path}/aggregations"))
        names = list(listed)
        for answer in (
            await catalog.get(f"{path}/aggregate?aggregations={','.join(names)}"),
            await catalog.post(f"{path}/aggregate", {"aggregations": names}),
        ):
            found = aggregations(answer)
            assert list(found) == names
            assert found["total_count"] == {"name": "total_count", "data_type": "numeric", "value": 4}
            assert found["datetime_max"]["value"] == "2021-04-01T00:00:00.000000Z"
            assert found["collection_frequency"]["buckets"] == [{"key": "naip", "data_type": "string", "frequency": 4}]
            assert found["platform_frequency"]["buckets"][0]["key"] == "p"
            assert found["cloud_cover_frequency"]["overflow"] == 4
            assert found["cloud_cover_frequency"]["buckets"][0] == {
                "key": "0.0-10.0", "data_type": "numeric", "frequency": 0, "from": 0, "to": 10,
            }  # fmt: skip
            assert [one["frequency"] for one in found["datetime_frequency"]["buckets"]] == [1, 1, 1, 1]


async def test_aggregations_take_every_condition_of_a_search(catalog: Client) -> None:
    async def count(query: str = "", body: dict[str, Any] | None = None) -> int:
        if body is None:
            answer = await catalog.get(f"/stac/aggregate?aggregations=total_count&{query}")
        else:
            answer = await catalog.post("/stac/aggregate", {"aggregations": ["total_count"], **body})
        value: int = aggregations(answer)["total_count"]["value"]
        return value

    assert await count("bbox=0,0,1,1") == 2
    assert await count("bbox=0,0,1,1&q=no") == 1
    assert await count("datetime=2021-02-15T00:00:00Z/..") == 2
    assert await count("filter=platform%20=%20'p'%20AND%20title%20IS%20NULL") == 3
    assert await count("ids=i0,i1,x") == 2
    assert await count("collections=radar,search") == 0
    point = '{"type":"Point","coordinates":[2,2]}'
    assert await count(f"intersects={quote(point)}") == 1
    assert await count(body={"query": {"platform": {"eq": "q"}}}) == 0
    assert await count(body={"intersects": {"type": "Point", "coordinates": [2, 2]}}) == 1
    assert await count(body={"collections": ["naip"], "limit": 1, "token": "x"}) == 4


async def test_aggregations_of_a_collection_are_of_that_one(catalog: Client) -> None:
    path = "/stac/collections/radar/aggregate"
    for answer in (
        await catalog.get(f"{path}?aggregations=total_count,datetime_min&collections=naip"),
        await catalog.post(path, {"aggregations": ["total_count", "datetime_min"], "collections": ["naip"]}),
    ):
        found = aggregations(answer)
        assert found["total_count"]["value"] == 0
        assert found["datetime_min"]["value"] is None


async def test_declared_properties_can_be_counted(catalog: Client) -> None:
    """Without an index as with one; of a collection, and of all."""
    off_nadir = {"name": "view:off_nadir", "definition": {"type": "number"}}
    mode = {"name": "mode", "definition": {"type": "string"}, "create_index": True}
    platform = {"name": "platform", "definition": {"type": "string"}}
    assert (await catalog.post("/stac/collections/naip/queryables", [off_nadir, mode, platform])).status == 201
    for path in ("/stac", "/stac/collections/naip"):
        listed = aggregations(await catalog.get(f"{path}/aggregations"))
        assert listed["off_nadir_frequency"]["frequency_distribution_data_type"] == "numeric"
        assert listed["mode_frequency"]["frequency_distribution_data_type"] == "string"
        assert len([name for name in listed if name.startswith("platform")]) == 1
        asked = "aggregations=mode_frequency,off_nadir_frequency&off_nadir_frequency_interval=2.5"
        found = aggregations(await catalog.get(f"{path}/aggregate?{asked}"))
        assert found["mode_frequency"] == {
            "name": "mode_frequency",
            "data_type": "string",
            "buckets": [
                {"key": "IW", "data_type": "string", "frequency": 3},
                {"key": "EW", "data_type": "string", "frequency": 1},
            ],
            "overflow": 0,
        }
        assert found["off_nadir_frequency"]["buckets"] == [
            {"key": "0.0-2.5", "data_type": "numeric", "frequency": 3, "from": 0.0, "to": 2.5},
            {"key": "2.5-5.0", "data_type": "numeric", "frequency": 1, "from": 2.5, "to": 5.0},
        ]
    assert "mode_frequency" not in aggregations(await catalog.get("/stac/collections/radar/aggregations"))
    answer = await catalog.get("/stac/collections/radar/aggregate?aggregations=mode_frequency")
    assert (answer.status, answer.error["target"]) == (400, "aggregations")


@pytest.mark.parametrize("name", ["aggregate?aggregations=total_count", "aggregate", "aggregations"])
async def test_a_collection_that_is_not_there_has_none(catalog: Client, name: str) -> None:
    assert (await catalog.get(f"/stac/collections/none/{name}")).status == 404


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", "aggregations"), ("aggregations=sum", "aggregations"), ("aggregations=total_count&bbox=1", "bbox"),
        ("aggregations=total_count&datetime_frequency_interval=eon", "datetime_frequency_interval"),
    ],
)  # fmt: skip
async def test_aggregations_that_cannot_be_made_are_refused(catalog: Client, query: str, target: str) -> None:
    answer = await catalog.get(f"/stac/aggregate?{query}")
    assert (answer.status, answer.error["target"]) == (400, target)


async def test_what_an_aggregation_takes_is_told_by_the_openapi_document(catalog: Client) -> None:
    document = (await catalog.get("/openapi.json")).json()
    for path in ("/stac/aggregate", "/stac/collections/{collectionId}/aggregate"):
        query = {one["name"]: one["schema"] for one in document["paths"][path]["get"]["parameters"]}
        assert "week" in query["datetime_frequency_interval"]["enum"]
        assert query["centroid_geohash_grid_frequency_precision"]["maximum"] == 6
        assert query["{queryable}_frequency_interval"]["additionalProperties"] == {"type": "string"}
        assert {"intersects", "bbox", "datetime", "filter", "ids", "aggregations"} <= query.keys()
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Aggregate"}
    members = document["components"]["schemas"]["Aggregate"]["allOf"][1]["properties"]
    assert members.keys() == {
        "aggregations", "datetime_frequency_interval", "centroid_geohash_grid_frequency_precision",
    }  # fmt: skip


async def test_landing_page_and_collections_lead_to_aggregations(catalog: Client) -> None:
    for path in ("/stac", "/stac/collections/naip"):
        links = (await catalog.get(path)).json()["links"]
        hrefs = {link["rel"]: urlsplit(link["href"]).path for link in links}
        assert hrefs["aggregate"] == f"{path}/aggregate"
        assert (await catalog.get(hrefs["aggregations"])).status == 200


async def test_links_of_a_collection_do_not_pile_up(catalog: Client) -> None:
    before = (await catalog.get("/stac/collections/radar")).json()
    assert (await catalog.put("/stac/collections/radar", before)).status == 200
    assert (await catalog.get("/stac/collections/radar")).json()["links"] == before["links"]


async def test_classes_are_those_of_the_extensions(catalog: Client) -> None:
    classes = set((await catalog.get("/stac/conformance")).json()["conformsTo"])
    assert {
        "https://api.stacspec.org/v1.0.0-rc.1/collection-search",
        "https://api.stacspec.org/v1.0.0-rc.1/collection-search#free-text",
        "https://api.stacspec.org/v1.0.0-rc.1/item-search#free-text",
        "https://api.stacspec.org/v0.3.0/aggregation",
        "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/simple-query",
    } <= classes
