"""``filter`` over HTTP: search by GET and POST, items of a collection, conformance, hostile input."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from api.asgi import Client
from graticule.catalog import OnConflict
from graticule.services import Services
from graticule.stac.links import stored_form

SQUARE = {"type": "Polygon", "coordinates": [[[-1, -1], [3.5, -1], [3.5, 1], [-1, 1], [-1, -1]]]}


@pytest.fixture
async def filled(admin: Client, reader: Client, services: Services) -> Client:  # noqa: ARG001 - it makes the collection
    """Ten items: one a day, a degree apart, more clouds every day."""
    batch: list[Any] = [
        stored_form(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": f"item-{number}",
                "collection": "naip",
                "geometry": {"type": "Point", "coordinates": [number, 0]},
                "properties": {
                    "datetime": f"2022-01-{number + 1:02}T00:00:00Z",
                    "eo:cloud_cover": number * 10,
                    "gsd": number % 3,
                },
                "links": [],
                "assets": {},
            }
        )
        for number in range(10)
    ]
    await services.database.write(
        lambda tx: services.catalog.put_items(tx, "naip", batch, on_conflict=OnConflict.ERROR)
    )
    return reader


def ids(answer: Any) -> list[str]:
    assert answer.status == 200, answer.json()
    return [item["id"].removeprefix("item-") for item in answer.json()["features"]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"filter-lang": "cql2-json", "filter": {"op": "s_intersects", "args": [{"property": "geometry"}, SQUARE]}},
            "3210",
        ),
        (
            {
                "filter_lang": "cql2-json",
                "filter": {
                    "op": "and",
                    "args": [
                        {"op": "=", "args": [{"property": "collection"}, "naip"]},
                        {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20]},
                    ],
                },
            },
            "210",
        ),
        (
            {
                "filter": {
                    "op": "anyinteracts",
                    "args": [{"property": "datetime"}, {"interval": ["2022-01-03", "2022-01-04T00:00:00Z"]}],
                }
            },
            "32",
        ),
        ({"filter-lang": "cql-json", "filter": {"op": "in", "args": [{"property": "id"}, ["item-1", "item-7"]]}}, "71"),
        ({"filter-lang": "cql2-text", "filter": "gsd = 2 and eo:cloud_cover > 20"}, "85"),
        ({"filter": "gsd = 2", "datetime": "2022-01-04T00:00:00Z/.."}, "85"),
        ({"filter": {"op": ">=", "args": [{"property": "datetime"}, "2022-01-10T00:00:00Z"]}}, "9"),
        ({"filter": {}}, "9876543210"),
    ],
)
async def test_a_search_posts_a_filter(filled: Client, body: dict[str, Any], expected: str) -> None:
    assert "".join(ids(await filled.post("/stac/search", body))) == expected


async def test_a_search_gets_a_filter_and_its_next_links_keep_it(filled: Client) -> None:
    for path in ("/stac/search", "/stac/collections/naip/items"):
        answer = await filled.get(
            f"{path}?limit=2&filter={quote('gsd = 0 AND NOT id = $item-9$'.replace('$', chr(39)))}"
        )
        assert ids(answer) == ["6", "3"]
        following = next(link["href"] for link in answer.json()["links"] if link["rel"] == "next")
        assert parse_qs(urlsplit(following).query)["filter"] == ["gsd = 0 AND NOT id = 'item-9'"]
        assert ids(await filled.get(following[following.index("/stac/") :])) == ["0"]
        document = json.dumps({"op": "=", "args": [{"property": "gsd"}, 1]})
        assert ids(await filled.get(f"{path}?filter-lang=cql2-json&filter={quote(document)}")) == ["7", "4", "1"]


async def test_the_next_link_of_a_post_keeps_the_filter(filled: Client) -> None:
    answer = await filled.post("/stac/search", {"filter": "gsd = 0", "limit": 3})
    following = next(link for link in answer.json()["links"] if link["rel"] == "next")
    assert following["body"]["filter"] == "gsd = 0"
    assert ids(await filled.post("/stac/search", following["body"])) == ["0"]


async def test_what_filters_can_do_is_declared(filled: Client) -> None:
    declared = (await filled.get("/stac/conformance")).json()["conformsTo"]
    for name in ("basic-cql2", "cql2-json", "cql2-text", "temporal-functions", "array-functions", "arithmetic"):
        assert f"http://www.opengis.net/spec/cql2/1.0/conf/{name}" in declared
    for name in ("filter", "features-filter"):
        assert f"http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/{name}" in declared
    assert "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter" in declared
    assert not any(name.endswith("/conf/functions") for name in declared)
    links = (await filled.get("/stac")).json()["links"]
    assert any(link["rel"] == "http://www.opengis.net/def/rel/ogc/1.0/queryables" for link in links)


DEEP: Any = {"op": "isNull", "args": [{"property": "a"}]}
for _ in range(120):
    DEEP = {"op": "not", "args": [DEEP]}


@pytest.mark.parametrize(
    "document",
    [
        5,
        [],
        "a =",
        "a = 1; DROP TABLE items; --",
        "(" * 20_000,
        "x" * 70_000,
        "avg(a) > 1",
        {"op": "no_such", "args": []},
        {"op": "and"},
        {"and": []},
        {"op": "=", "args": [1]},
        {"op": "s_intersects", "args": [{"property": "geometry"}, {"type": "Polygon"}]},
        {"op": "s_intersects", "args": [{"property": "geometry"}, {"type": "Point", "coordinates": [1e400, 0]}]},
        DEEP,
        {"op": "and", "args": [{"op": "isNull", "args": [{"property": "a"}]}] * 400},
        {"op": "=", "args": [{"property": "a"}, "\0"]},
        {"op": {"op": "and"}, "args": [1]},
        {"op": "t_after", "args": [{"property": "datetime"}, {"timestamp": "9999-99-99T00:00:00Z"}]},
    ],
)
async def test_what_is_no_filter_is_400_and_names_it(filled: Client, document: Any) -> None:
    answer = await filled.post("/stac/search", {"filter": document})
    assert answer.status == 400, answer.json()
    if isinstance(document, str) and len(document) < 10_000:
        assert (await filled.get(f"/stac/search?filter={quote(document)}")).status == 400
        assert (await filled.get(f"/stac/collections/naip/items?filter={quote(document)}")).status == 400


@pytest.mark.parametrize("name", ["filter-lang", "filter-crs"])
async def test_unknown_languages_and_reference_systems_are_400(filled: Client, name: str) -> None:
    answer = await filled.post("/stac/search", {"filter": "gsd = 1", name: "other"})
    assert (answer.status, answer.json()["error"]["target"]) == (400, name)


@pytest.mark.parametrize(
    "text", ["id = ''' OR 1=1 --'", "platform = '\") OR (1=1'", '"a\'; DROP TABLE items; --" = 1', "id = ':f0'"]
)
async def test_texts_are_data_wherever_they_end_up(filled: Client, text: str) -> None:
    assert ids(await filled.post("/stac/search", {"filter": text})) == []
    assert len(ids(await filled.get("/stac/search"))) == 10
