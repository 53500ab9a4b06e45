"""Items that are replaced and patched over HTTP, with a real source: what is asked of it, and what lies in storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from acceptance.documents import collection, item
from acceptance.rasters import small_geotiff
from acceptance.serving import Served
from acceptance.source import Source
from acceptance.storage import settled

pytestmark = pytest.mark.acceptance


@dataclass
class Catalog:
    """A server, its source, and the collection ``c``."""

    served: Served
    source: Source
    client: requests.Session

    def item_url(self, item_id: str) -> str:
        return f"{self.served.url}/stac/collections/c/items/{item_id}"

    def ended(self, accepted: requests.Response, status: str = "Succeeded") -> dict[str, Any]:
        operation = self.served.finished(self.client, accepted)
        assert operation["status"] == status, operation
        return operation

    def scene(self, item_id: str) -> dict[str, Any]:
        """A new item with two files, as a client reads it."""
        assets = {"image": self.source.href("a.tif"), "extra": self.source.href("b.tif")}
        self.ended(self.client.post(f"{self.served.url}/stac/collections/c/items", json=item(item_id, assets)))
        self.source.requests.clear()
        return self.read(item_id)

    def read(self, item_id: str, **query: str) -> dict[str, Any]:
        document: dict[str, Any] = self.client.get(self.item_url(item_id), params=query).json()
        return document


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    files = {"a.tif": small_geotiff(), "b.tif": small_geotiff(), "c.tif": small_geotiff()}
    with Source(files) as source:
        env = {"GRATICULE_FETCH_ALLOW": source.host}
        with Served(tmp_path_factory.mktemp("updates"), env=env) as served:
            client = served.client()
            accepted = client.post(f"{served.url}/stac/collections", json=collection("c"))
            assert accepted.status_code == 202
            yield Catalog(served, source, client)


def test_an_item_that_is_read_edited_and_sent_back_keeps_its_files(catalog: Catalog) -> None:
    before = catalog.scene("edited")
    document = catalog.read("edited", sign="true")
    assert "sig=" in document["assets"]["image"]["href"]
    document["properties"]["cloud"] = 7
    accepted = catalog.client.put(catalog.item_url("edited"), json=document)
    assert accepted.headers["operation-location"] == accepted.headers["location"]
    assert accepted.headers["retry-after"] == "1"
    assert (accepted.json()["status"], accepted.json()["type"]) == ("Succeeded", "UpdateItem")
    after = catalog.read("edited")
    assert after["assets"] == before["assets"]
    assert after["properties"]["cloud"] == 7
    assert after["_msft:etag"] != before["_msft:etag"]
    assert catalog.source.requests == []


def test_an_update_fetches_what_changed_and_sweeps_what_it_replaced(catalog: Catalog) -> None:
    before = catalog.scene("changed")
    patch = {"assets": {"image": {"href": catalog.source.href("c.tif")}, "extra": None}}
    accepted = catalog.client.patch(
        catalog.item_url("changed"), json=patch, headers={"Content-Type": "application/merge-patch+json"}
    )
    catalog.ended(accepted)
    assert [asked.partition("?")[0] for asked in catalog.source.requests] == ["/c.tif"]
    after = catalog.read("changed", sign="true")
    assert after["assets"].keys() == {"image"}
    href = after["assets"]["image"]["href"]
    assert href.partition("?")[0] != before["assets"]["image"]["href"]
    assert requests.get(href, timeout=30).content == small_geotiff()
    assert len(settled(catalog.served.data_dir).of("changed")) == 1


def test_the_sources_own_hrefs_are_fetched_again(catalog: Catalog) -> None:
    catalog.scene("again")
    document = item("again", {"image": catalog.source.href("a.tif")})
    catalog.ended(catalog.client.put(catalog.item_url("again"), json=document))
    assert [asked.partition("?")[0] for asked in catalog.source.requests] == ["/a.tif"]
    assert len(settled(catalog.served.data_dir).of("again")) == 1


def test_an_update_that_fails_changes_nothing(catalog: Catalog) -> None:
    before = catalog.scene("failed")
    assets = {"image": catalog.source.href("c.tif"), "gone": catalog.source.href("gone.tif")}
    operation = catalog.ended(catalog.client.put(catalog.item_url("failed"), json=item("failed", assets)), "Failed")
    assert operation["error"]["code"] == "IngestionResourceUriNotFound"
    assert catalog.read("failed") == before
    assert len(settled(catalog.served.data_dir).of("failed")) == 2


def test_changes_of_what_is_not_there_say_so(catalog: Catalog) -> None:
    for method, code in (("PUT", "NoRecordsToUpdate"), ("PATCH", "NoRecordsToPatch")):
        accepted = catalog.client.request(method, catalog.item_url("nowhere"), json=item("nowhere"))
        assert catalog.ended(accepted, "Failed")["error"]["code"] == code
        unknown = catalog.item_url("x").replace("/collections/c/", "/collections/none/")
        assert catalog.client.request(method, unknown, json=item("x")).status_code == 404
    refused = catalog.client.put(catalog.item_url("here"), json=item("there"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "InvalidInputData")
    refused = catalog.client.patch(catalog.item_url("here"), json=[{"op": "remove", "path": "/assets"}])
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "PatchValidation")
