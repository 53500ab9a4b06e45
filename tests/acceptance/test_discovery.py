"""Collections, words and counts, as an unmodified STAC client asks a running server for them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pystac_client import Client

from acceptance.documents import collection, item, items
from acceptance.serving import Served

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Twelve collections, and two items in the first."""
    with Served(tmp_path_factory.mktemp("discovery")) as served:
        admin = served.client()
        for number in range(12):
            document = collection(f"c{number:02}") | {
                "title": f"Collection {number}",
                "keywords": ["radar" if number % 3 else "optical", "sea ice"],
                "license": "CC-BY-4.0" if number % 2 else "proprietary",
                "extent": {
                    "spatial": {"bbox": [[number * 10, 0, number * 10 + 9, 9]]},
                    "temporal": {
                        "interval": [[f"{2000 + number}-01-01T00:00:00Z", f"{2001 + number}-01-01T00:00:00Z"]]
                    },
                },
            }
            assert admin.post(f"{served.url}/stac/collections", json=document).status_code == 202
        found = [item("one"), item("two")]
        found[0]["properties"]["title"] = "Forêt en feu"
        done = served.finished(admin, admin.post(f"{served.url}/stac/collections/c00/items", json=items(*found)))
        assert done["status"] == "Succeeded"
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the client warns where it must make up for what a server cannot
            headers = {"Authorization": str(served.client("reader").headers["Authorization"])}
            yield Client.open(f"{served.url}/stac", headers=headers)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"q": "optical"}, [0, 3, 6, 9]),
        ({"q": '"sea ice" AND NOT radar'}, [0, 3, 6, 9]),
        ({"q": "optical,nothing", "limit": 3}, [0, 3, 6, 9]),
        ({"bbox": [15, 1, 25, 2]}, [1, 2]),
        ({"datetime": "2003-02/2004-03"}, [3, 4]),
        ({"filter": "license = 'CC-BY-4.0' AND id < 'c05'", "filter_lang": "cql2-text"}, [1, 3]),
        ({"filter": {"op": "=", "args": [{"property": "title"}, "Collection 7"]}, "filter_lang": "cql2-json"}, [7]),
        ({"query": {"license": {"eq": "CC-BY-4.0"}}, "bbox": [0, 0, 45, 9]}, [1, 3]),
        ({"sortby": "-id", "limit": 5}, list(range(11, -1, -1))),
        ({"sortby": [{"field": "license", "direction": "desc"}], "q": "optical"}, [0, 6, 3, 9]),
    ],
)
def test_a_client_finds_collections(catalog: Client, asked: dict[str, Any], expected: list[int]) -> None:
    search = catalog.collection_search(**asked)
    assert [one.id for one in search.collections()] == [f"c{number:02}" for number in expected]
    assert search.matched() == len(expected)


def test_a_client_lists_all_collections(catalog: Client) -> None:
    assert [one.id for one in catalog.get_collections()] == [f"c{number:02}" for number in range(12)]


def test_a_client_finds_items_by_words(catalog: Client) -> None:
    """This version of the client has no word for it, and reads what it is given."""
    link = catalog.get_single_link("search")
    assert link is not None
    assert catalog._stac_io is not None
    for q, expected in (("foret", ["one"]), ("NOT%20foret", ["two"])):
        found = catalog._stac_io.read_json(f"{link.href}?q={q}")
        assert [one["id"] for one in found["features"]] == expected


def test_the_catalog_leads_to_its_counts(catalog: Client) -> None:
    link = catalog.get_single_link("aggregate")
    assert link is not None
    assert catalog._stac_io is not None
    found = catalog._stac_io.read_json(f"{link.href}?aggregations=total_count,datetime_frequency")
    assert found["aggregations"][0]["value"] == 2
    assert found["aggregations"][1]["buckets"] == [
        {"key": "2024-05-01T10:00:00.000000Z", "data_type": "datetime", "frequency": 2}
    ]
