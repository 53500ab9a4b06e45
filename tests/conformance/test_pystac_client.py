"""A session with pystac-client, as its users hold one."""

from __future__ import annotations

import pytest
from pystac_client import Client

from acceptance.serving import Served

from .conftest import COLLECTION, item

ALL = [item(number) for number in range(200)]


@pytest.fixture
def client(served: Served) -> Client:
    return Client.open(f"{served.url}/stac", headers={"Authorization": f"Bearer {served.token('reader')}"})


def ids(*states: str) -> set[str]:
    return {one["id"] for one in ALL if one["properties"]["scene:state"] in states}


@pytest.mark.acceptance
def test_it_reads_the_catalog(client: Client) -> None:
    assert client.conforms_to("ITEM_SEARCH")
    assert client.conforms_to("FILTER")
    assert client.conforms_to("QUERY")
    assert client.conforms_to("SORT")
    assert client.conforms_to("FIELDS")
    (collection,) = client.get_collections()
    assert collection.id == COLLECTION
    found = collection.get_item("scene-0007")
    assert found is not None
    assert found.to_dict(include_self_link=False, transform_hrefs=False)["properties"] == ALL[7]["properties"]
    assert len(list(collection.get_items())) == 200
    assert {"id", "datetime", "geometry"} <= set(client.get_queryables()["properties"])


@pytest.mark.acceptance
def test_it_searches(client: Client) -> None:
    whole = client.search(collections=[COLLECTION], limit=17)
    assert [one["id"] for one in whole.items_as_dicts()] == [
        one["id"] for one in sorted(ALL, key=lambda one: (one["properties"]["datetime"], one["id"]), reverse=True)
    ]
    assert len(list(whole.pages())) == 12
    assert client.search(collections=[COLLECTION], limit=10).matched() == 200
    year = client.search(datetime="2021", max_items=5)
    assert len(list(year.items())) == 5
    march = client.search(datetime="2021-03", limit=100)
    assert {one["id"] for one in march.items_as_dicts()} == {f"scene-{n:04}" for n in range(200) if n % 12 == 2}
    box = client.search(bbox=[-170.5, -60.5, -165, 65])
    assert {one["id"] for one in box.items_as_dicts()} == {f"scene-{n:04}" for n in (0, 1, 100, 101)}
    shape = client.search(intersects={"type": "Point", "coordinates": [-169.5, -59.5]}, method="GET")
    assert [one["id"] for one in shape.items_as_dicts()] == ["scene-0000"]


@pytest.mark.acceptance
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_filters_sorts_and_selects(client: Client, method: str) -> None:
    text = client.search(filter="\"scene:state\" = 'ca'", method=method, limit=30)
    assert {one["id"] for one in text.items_as_dicts()} == ids("ca")
    tree = {"op": "in", "args": [{"property": "scene:state"}, ["al", "tx"]]}
    json = client.search(filter=tree, filter_lang="cql2-json", method=method, limit=100)
    assert {one["id"] for one in json.items_as_dicts()} == ids("al", "tx")
    query = client.search(query=["scene:state=tx", "gsd<2"], method=method, limit=100)
    assert {one["id"] for one in query.items_as_dicts()} == ids("tx")
    ordered = client.search(sortby=["+properties.scene:state", "-id"], max_items=3, method=method)
    assert [one["id"] for one in ordered.items_as_dicts()] == sorted(ids("al"), reverse=True)[:3]
    few = client.search(fields=["properties.gsd"], max_items=1, method=method)
    (only,) = few.items_as_dicts()
    assert set(only) == {"type", "stac_version", "id", "collection", "properties"}
    assert only["properties"] == {"gsd": 1.5}
