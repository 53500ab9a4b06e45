"""Operations, deletion, search and signed access over HTTP, as clients of both api-versions use them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
import requests

from acceptance.documents import collection, item, items
from acceptance.rasters import small_geotiff
from acceptance.serving import Served
from acceptance.source import Source
from acceptance.storage import look, settled

pytestmark = pytest.mark.acceptance

STABLE, PREVIEW = VERSIONS = ("2026-04-15", "2025-04-30-preview")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6,7}Z")
LIMIT = 30  #: seconds until something in the background has to have happened


@dataclass
class Catalog:
    """A server whose worker has one item in hand at a time, and its source."""

    served: Served
    source: Source
    client: requests.Session

    def url(self, *path: str) -> str:
        return "/".join((self.served.url, *path))

    def get(self, *path: str, **query: Any) -> requests.Response:
        return self.client.get(self.url(*path), params=query)

    def make(self, collection_id: str, *features: Any) -> str:
        """A fresh collection with these items (no assets: they are there when this returns); answers its URL."""
        url = self.url("stac/collections", collection_id)
        assert self.client.post(self.url("stac/collections"), json=collection(collection_id)).status_code == 202
        if features:
            self.ended(self.client.post(f"{url}/items", json=items(*features)), "Succeeded")
        return url

    def ended(self, accepted: requests.Response, status: str) -> dict[str, Any]:
        operation = self.served.finished(self.client, accepted)
        assert operation["status"] == status, operation
        return operation

    def gated(self, name: str) -> dict[str, str]:
        """An asset that does not come before its gate is opened."""
        self.source.files[name] = small_geotiff()
        self.source.gates[name] = threading.Event()
        return {"image": self.source.href(name)}

    def until(self, location: str, status: str) -> dict[str, Any]:
        """Poll until an operation has a status that it will leave again."""
        end = time.monotonic() + LIMIT
        while (operation := self.client.get(location).json())["status"] != status:
            assert time.monotonic() < end, operation
            time.sleep(0.02)
        return dict(operation)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Source({"a.tif": small_geotiff()}) as source:
        env = {"GRATICULE_FETCH_ALLOW": source.host, "GRATICULE_WORKER_CONCURRENCY": "1"}
        with Served(tmp_path_factory.mktemp("operations"), env=env) as served:
            yield Catalog(served, source, served.client())


@pytest.fixture(scope="module")
def signed(catalog: Catalog) -> dict[str, Any]:
    """An item with an asset, read with `sign=true`, in the collection `signed`."""
    url = catalog.make("signed")
    answer = catalog.client.post(f"{url}/items", json=item("scene", {"image": catalog.source.href("a.tif")}))
    catalog.ended(answer, "Succeeded")
    document: dict[str, Any] = catalog.client.get(f"{url}/items/scene", params={"sign": "true"}).json()
    return document


# --- operations


@pytest.mark.parametrize("version", [None, *VERSIONS])
def test_an_accepted_post_says_where_to_poll(catalog: Catalog, version: str | None) -> None:
    name = f"headers-{version}".lower()
    query = {} if version is None else {"api-version": version}
    answer = catalog.client.post(catalog.url("stac/collections"), json=collection(name), params=query)
    assert answer.status_code == 202
    expected = f"{catalog.url('inma/operations')}/{answer.json()['id']}?api-version={version or STABLE}"
    assert answer.headers["location"] == answer.headers["operation-location"] == expected
    assert answer.headers["retry-after"] == "1"
    polled = catalog.client.get(expected)
    assert (polled.status_code, polled.json()) == (200, answer.json())
    assert answer.json()["type"] == "AddCollection"
    assert answer.json()["status"] == "Succeeded"
    assert "error" not in answer.json()
    assert "totalItems" not in answer.json()
    read = catalog.get("stac/collections", name, **query).json()
    assert all(("api-version=" in link["href"]) is (version is not None) for link in read["links"])


def test_an_operation_tells_its_history_and_counts(catalog: Catalog) -> None:
    url = catalog.make("history")
    answer = catalog.client.post(f"{url}/items", json=item("one", {"image": catalog.source.href("a.tif")}))
    assert answer.json()["status"] == "Pending"
    assert [entry["status"] for entry in answer.json()["statusHistory"]] == ["Pending"]
    operation = catalog.ended(answer, "Succeeded")
    assert operation["type"] == "AddItem"
    assert operation["collectionId"] == "history"
    assert [entry["status"] for entry in operation["statusHistory"]] == ["Pending", "Running", "Finished"]
    times = [operation["creationTime"], operation["startTime"], operation["finishTime"]]
    assert [entry["timestamp"] for entry in operation["statusHistory"]] == times == sorted(times)
    assert all(MOMENT.fullmatch(moment) for moment in times)
    counts = {"TotalItems": 1, "TotalPendingItems": 0, "TotalSuccessfulItems": 1, "TotalFailedItems": 0}
    assert operation["additionalInformation"] == {name: str(count) for name, count in counts.items()}
    for name, count in counts.items():
        assert operation[name[0].lower() + name[1:]] == count


def test_operations_are_listed_newest_first_in_pages(catalog: Catalog) -> None:
    url = catalog.make("listed")
    posted = [catalog.client.post(f"{url}/items", json=item(f"i{number}")).json()["id"] for number in range(5)]
    first = catalog.get("inma/operations", **{"$top": 2, "collectionId": "listed", "status": "succeeded"})
    seen = [first.json()]
    while "nextLink" in seen[-1]:
        assert "api-version=" in seen[-1]["nextLink"]
        seen.append(catalog.client.get(seen[-1]["nextLink"]).json())
    assert [len(page["value"]) for page in seen] == [2, 2, 2]
    listed = [one["id"] for page in seen for one in page["value"]]
    assert listed[:5] == posted[::-1]
    assert seen[-1]["value"][-1]["type"] == "AddCollection"
    skipped = catalog.get("inma/operations", **{"$top": 2, "$skip": 4, "collectionId": "listed"}).json()
    assert [one["id"] for one in skipped["value"]] == listed[4:]
    assert catalog.get("inma/operations", collectionId="listed", status="Failed").json() == {"value": []}
    assert catalog.get("inma/operations", collectionId="no-such").json() == {"value": []}


@pytest.mark.parametrize("query", [{"$top": "0"}, {"$top": "x"}, {"$skip": "-1"}, {"status": "Done"}])
def test_a_list_parameter_that_makes_no_sense_is_refused_by_name(catalog: Catalog, query: dict[str, str]) -> None:
    answer = catalog.get("inma/operations", **query)
    assert answer.status_code == 400
    assert answer.json()["error"]["target"] == next(iter(query))


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_operation_is_not_found(catalog: Catalog, method: str) -> None:
    answer = catalog.client.request(method, catalog.url("inma/operations/no-such"))
    assert answer.status_code == 404
    assert "'no-such'" in answer.json()["error"]["message"]


def assert_is_canceled(operation: dict[str, Any], history: list[str]) -> None:
    assert operation["status"] == "Canceled"
    assert [entry["status"] for entry in operation["statusHistory"]] == history
    last = operation["statusHistory"][-1]
    assert last["errorCode"] == "CanceledOperation"
    assert operation["id"] in last["errorMessage"]
    assert "error" not in operation


def test_running_and_pending_operations_are_canceled_one_by_one(catalog: Catalog) -> None:
    url = catalog.make("cancelled")
    running = catalog.client.post(f"{url}/items", json=item("running", catalog.gated("cancel/1.tif")))
    catalog.until(running.headers["location"], "Running")
    pending = catalog.client.post(f"{url}/items", json=item("pending", catalog.gated("cancel/2.tif")))
    assert catalog.client.delete(pending.headers["location"]).status_code == 204
    operation = catalog.client.get(pending.headers["location"]).json()
    assert_is_canceled(operation, ["Canceled"])
    assert "startTime" not in operation
    assert catalog.client.delete(running.headers["location"]).status_code == 204
    assert catalog.client.get(running.headers["location"]).json()["status"] in {"Canceling", "Canceled"}
    operation = catalog.served.finished(catalog.client, running)
    assert_is_canceled(operation, ["Pending", "Running", "Canceling", "Canceled"])
    assert (operation["totalPendingItems"], operation["totalSuccessfulItems"], operation["totalFailedItems"]) == (
        1,
        0,
        0,
    )
    assert catalog.client.delete(running.headers["location"]).status_code == 204  # again: it stays as it is
    assert catalog.client.get(running.headers["location"]).json() == operation
    assert catalog.client.get(f"{url}/items").json()["features"] == []
    stored = settled(catalog.served.data_dir)
    assert not any(name.startswith("cancelled-") for name in stored.files)


def test_a_finished_operation_stays_as_it_is_when_it_is_canceled(catalog: Catalog) -> None:
    url = catalog.make("finished")
    done = catalog.client.post(f"{url}/items", json=item("done"))
    assert done.json()["status"] == "Succeeded"
    assert catalog.client.delete(done.headers["location"]).status_code == 204
    assert catalog.client.get(done.headers["location"]).json() == done.json()


def test_everything_is_canceled_at_once(catalog: Catalog) -> None:
    url = catalog.make("all")
    waiting = [
        catalog.client.post(f"{url}/items", json=item(f"i{number}", catalog.gated(f"all/{number}.tif")))
        for number in range(3)
    ]
    catalog.until(waiting[0].headers["location"], "Running")
    assert catalog.client.delete(catalog.url("inma/operations")).status_code == 204
    for accepted in waiting:
        catalog.ended(accepted, "Canceled")
    assert catalog.client.get(f"{url}/items").json()["features"] == []


def test_what_was_published_before_a_batch_is_canceled_stays(catalog: Catalog) -> None:
    url = catalog.make("half")
    features = [
        item("bare"),
        item("done", {"image": catalog.source.href("a.tif")}),
        item("held", catalog.gated("half/1.tif")),
        item("never", catalog.gated("half/2.tif")),
    ]
    accepted = catalog.client.post(f"{url}/items", json=items(*features))
    end = time.monotonic() + LIMIT
    while catalog.client.get(accepted.headers["location"]).json()["totalSuccessfulItems"] < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert catalog.client.delete(accepted.headers["location"]).status_code == 204
    operation = catalog.ended(accepted, "Canceled")
    assert operation["additionalInformation"] == {
        "TotalItems": "4",
        "TotalPendingItems": "2",
        "TotalSuccessfulItems": "2",
        "TotalFailedItems": "0",
    }
    assert {one["id"] for one in catalog.client.get(f"{url}/items").json()["features"]} == {"bare", "done"}
    stored = settled(catalog.served.data_dir)
    assert [name for name in stored.files if name.startswith("half-")] == stored.of("done")


def test_of_two_posts_of_an_id_the_one_that_is_published_first_wins(catalog: Catalog) -> None:
    url = catalog.make("race")
    slow = catalog.client.post(f"{url}/items", json=item("same", catalog.gated("race/1.tif")))
    catalog.until(slow.headers["location"], "Running")
    quick = catalog.client.post(f"{url}/items", json=item("same", note="quick"))
    assert quick.json()["status"] == "Succeeded"
    catalog.source.gates["race/1.tif"].set()
    error = catalog.ended(slow, "Failed")["error"]
    assert error["code"] == "ItemAlreadyExistsInCollection"
    assert "Item 'same' already exists in collection 'race'" in error["message"]
    assert catalog.client.get(f"{url}/items/same").json()["note"] == "quick"
    assert not any(name.startswith("race-") for name in settled(catalog.served.data_dir).files)


# --- items and collections come and go


def test_a_deleted_id_is_free_at_once_and_its_bytes_go(catalog: Catalog) -> None:
    url = catalog.make("reborn")
    document = item("phoenix", {"image": catalog.source.href("a.tif")})
    catalog.ended(catalog.client.post(f"{url}/items", json=document), "Succeeded")
    href = catalog.client.get(f"{url}/items/phoenix", params={"sign": "true"}).json()["assets"]["image"]["href"]
    old = settled(catalog.served.data_dir).of("phoenix")
    deleted = catalog.client.delete(f"{url}/items/phoenix")
    assert (deleted.status_code, deleted.json()["type"]) == (202, "DeleteItem")
    again = catalog.client.post(f"{url}/items", json=document)
    assert catalog.ended(deleted, "Succeeded")["statusHistory"][-1]["status"] == "Finished"
    catalog.ended(again, "Succeeded")
    stored = settled(catalog.served.data_dir)
    assert len(old) == len(stored.of("phoenix")) == 1
    assert old != stored.of("phoenix")
    assert requests.get(href, timeout=10).status_code == 404
    new = catalog.client.get(f"{url}/items/phoenix", params={"sign": "true"}).json()["assets"]["image"]["href"]
    assert requests.get(new, timeout=10).content == small_geotiff()


def test_names_of_any_kind_are_stored_found_and_read(catalog: Catalog) -> None:
    assert catalog.client.post(catalog.url("stac/collections"), json=collection("Ünï cöde (x)+y")).status_code == 202
    url = catalog.url("stac/collections", quote("Ünï cöde (x)+y", safe=""), "items")
    keys = ["../x", "a/b", "ключ", "k" * 255, "a b", "ANG.txt", "x?y#z", "%2e", "a\nb", "CON", ".hidden"]
    names = ["a b+c(ü)%41 ?#", "..."]
    for name in names:
        document = item(name, {key: catalog.source.href("a.tif") for key in keys})
        catalog.ended(catalog.client.post(url, json=document), "Succeeded")
        read = catalog.client.get(f"{url}/{quote(name, safe='')}", params={"sign": "true"}).json()
        assert list(read["assets"]) == keys
        hrefs = {asset["href"] for asset in read["assets"].values()}
        assert len({href.partition("?")[0].lower() for href in hrefs}) == len(keys)
        assert all(requests.get(href, timeout=10).content == small_geotiff() for href in hrefs)
        for link in read["links"]:
            assert catalog.client.get(link["href"]).status_code == 200
    assert (
        catalog.get("stac/search", collections="Ünï cöde (x)+y", ids=names[0]).json()["features"][0]["id"] == names[0]
    )
    for name in names:
        catalog.ended(catalog.client.delete(f"{url}/{quote(name, safe='')}"), "Succeeded")
    assert not any(name.startswith("uni-code-x-y-") for name in settled(catalog.served.data_dir).files)


def test_an_asset_of_this_catalog_is_copied_for_another_item(catalog: Catalog, signed: dict[str, Any]) -> None:
    url, asked = catalog.make("copies"), len(catalog.source.requests)
    of_old = signed["assets"]["image"]["href"]
    for name, href in (("by-signed", of_old), ("by-plain", of_old.partition("?")[0])):
        catalog.ended(catalog.client.post(f"{url}/items", json=item(name, {"image": href})), "Succeeded")
        new = catalog.client.get(f"{url}/items/{name}", params={"sign": "true"}).json()["assets"]["image"]["href"]
        assert "/blobs/copies-" in new
        assert requests.get(new, timeout=10).content == small_geotiff()
    assert len(catalog.source.requests) == asked


def test_deleting_nothing_fails_in_the_operation(catalog: Catalog) -> None:
    url = catalog.make("bare")
    error = catalog.ended(catalog.client.delete(f"{url}/items/ghost"), "Failed")["error"]
    assert error["code"] == "NoRecordsToDelete"
    assert "'ghost'" in error["message"]
    assert "'bare'" in error["message"]
    assert catalog.client.delete(catalog.url("stac/collections/no-such/items/ghost")).status_code == 404
    assert catalog.client.delete(catalog.url("stac/collections/no-such")).status_code == 404


def test_a_deleted_collection_is_gone_at_once_and_its_id_free_when_its_bytes_are(catalog: Catalog) -> None:
    url = catalog.make("doomed")
    catalog.ended(
        catalog.client.post(f"{url}/items", json=item("one", {"image": catalog.source.href("a.tif")})), "Succeeded"
    )
    assert [name for name in look(catalog.served.data_dir).files if name.startswith("doomed-")]
    other = catalog.make("busy")
    gate = catalog.gated("busy/1.tif")
    busy = catalog.client.post(f"{other}/items", json=item("busy", gate))
    catalog.until(busy.headers["location"], "Running")  # the worker has its hands full
    deleted = catalog.client.delete(url)
    assert (deleted.status_code, deleted.json()["type"]) == (202, "DeleteCollection")
    for path in ("", "/items", "/items/one", "/configurations"):
        assert catalog.client.get(url + path).status_code == 404
    assert catalog.get("stac/search", collections="doomed").json()["features"] == []
    assert catalog.get("sas/token/doomed").status_code == 404
    assert catalog.client.post(f"{url}/items", json=item("two")).status_code == 404
    assert catalog.client.delete(url).status_code == 404
    taken = catalog.client.post(catalog.url("stac/collections"), json=collection("doomed"))
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "Conflict")
    assert "still being deleted" in taken.json()["error"]["message"]
    catalog.source.gates["busy/1.tif"].set()
    catalog.ended(deleted, "Succeeded")
    catalog.ended(busy, "Succeeded")
    catalog.make("doomed")
    assert catalog.client.get(f"{url}/items").json()["features"] == []
    assert not any(name.startswith("doomed-") for name in settled(catalog.served.data_dir).files)
    taken = catalog.client.post(catalog.url("stac/collections"), json=collection("doomed"))
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "Conflict")
    assert "exists already" in taken.json()["error"]["message"]


def test_deleting_a_collection_cancels_what_is_on_its_way_there(catalog: Catalog) -> None:
    url = catalog.make("left")
    running = catalog.client.post(f"{url}/items", json=item("late", catalog.gated("left/1.tif")))
    catalog.until(running.headers["location"], "Running")
    deleted = catalog.client.delete(url)
    catalog.ended(running, "Canceled")
    catalog.ended(deleted, "Succeeded")
    assert not any(name.startswith("left-") for name in settled(catalog.served.data_dir).files)


def test_a_collection_is_replaced_at_once(catalog: Catalog) -> None:
    url = catalog.make("replaced", item("kept"))
    before = catalog.client.get(url).json()
    changed = {**collection("replaced"), "title": "New", "msft:short_description": "short"}
    answer = catalog.client.put(url, json=changed)
    assert answer.status_code == 200
    assert "operation-location" not in answer.headers
    after = answer.json()
    assert after == catalog.client.get(url).json()
    assert (after["title"], after["msft:short_description"]) == ("New", "short")
    assert after["msft:_created"] == before["msft:_created"]
    assert after["msft:_updated"] > before["msft:_updated"]
    assert {link["rel"].rpartition("/")[2] for link in after["links"]} == {
        *("items", "parent", "root", "self", "queryables", "aggregate", "aggregations")
    }
    assert catalog.client.get(f"{url}/items/kept").status_code == 200
    assert catalog.client.put(catalog.url("stac/collections/no-such"), json=collection("no-such")).status_code == 404
    assert catalog.client.put(url, json=collection("other")).status_code == 400


# --- search


@pytest.fixture(scope="module")
def found(catalog: Catalog) -> Any:
    """Searches a collection of seven items by GET or POST; answers ids."""
    places = {
        "alps": (7, 46, 8, 47),
        "andes": (-70, -20, -69, -19),
        "fiji": (179, -18, -179, -17),
        "tonga": (-176, -22, -175, -21),
    }
    features = [
        item(name, bbox=bbox, moment=f"2024-0{number}-01T00:00:00Z")
        for number, (name, bbox) in enumerate(places.items(), 1)
    ]
    features[2]["geometry"] = {
        "type": "MultiPolygon",
        "coordinates": [
            [[[179, -18], [180, -18], [180, -17], [179, -17], [179, -18]]],
            [[[-180, -18], [-179, -18], [-179, -17], [-180, -17], [-180, -18]]],
        ],
    }
    catalog.make("sought", *features)
    catalog.make("others", *(item(f"other-{number}", moment="2020-01-01T00:00:00Z") for number in range(3)))

    def search(method: str = "GET", **members: Any) -> list[str]:
        url = catalog.url("stac/search")
        if method == "GET":
            query = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in members.items()}
            answer = catalog.client.get(url, params=query)
        else:
            answer = catalog.client.post(url, json=members)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/geo+json"
        return [feature["id"] for feature in answer.json()["features"]]

    return search


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_items_are_found_by_collection_id_place_and_time(found: Any, method: str) -> None:
    every = ["tonga", "fiji", "andes", "alps"]  # newest first
    assert found(method, collections=["sought"]) == every
    assert found(method, collection="sought") == every
    assert found(method, collections=["sought"], ids=["alps", "fiji", "no-such"]) == ["fiji", "alps"]
    assert found(method, collections=["sought"], bbox=[7.5, 46.5, 7.6, 46.6]) == ["alps"]
    assert found(method, collections=["sought"], bbox=[170, -30, -170, -10]) == ["tonga", "fiji"]
    assert found(method, collections=["sought"], bbox=[179.5, -17.6, 179.6, -17.5]) == ["fiji"]
    assert found(method, collections=["sought"], bbox=[-70, -20, -100, -69, -19, 100]) == ["andes"]
    assert found(method, collections=["sought"], datetime="2024-02-01T00:00:00Z/..") == every[:3]
    assert found(method, collections=["sought"], datetime="2024-01-01T00:00:00Z") == ["alps"]
    assert found(method, collections=["sought", "others"], datetime="../2021-01-01T00:00:00Z") == [
        "other-2",
        "other-1",
        "other-0",
    ]
    assert found(method, collections=["no-such"]) == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_of_a_search_are_followed_by_their_links(catalog: Catalog, found: Any, method: str) -> None:
    wanted = found(method, collections=["sought", "others"], limit=100)
    assert len(wanted) == 7
    seen: list[str] = []
    members: dict[str, Any] = {"collections": "sought,others", "limit": 2}
    url = catalog.url("stac/search")
    answer = (
        catalog.client.get(url, params=members)
        if method == "GET"
        else catalog.client.post(url, json={**members, "collections": ["sought", "others"]})
    )
    while True:
        page = answer.json()
        seen += [feature["id"] for feature in page["features"]]
        following = [link for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        assert len(page["features"]) == 2
        link = following[0]
        assert link["method"] == method
        answer = catalog.client.request(method, link["href"], json=link.get("body"))
        assert answer.status_code == 200, answer.text
    assert seen == wanted


def test_items_of_a_collection_are_listed_in_pages(catalog: Catalog, found: Any) -> None:
    seen, url = [], catalog.url("stac/collections/sought/items?limit=3")
    while url:
        page = catalog.client.get(url).json()
        seen += [feature["id"] for feature in page["features"]]
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
    assert seen == found(collections=["sought"])


@pytest.mark.parametrize(
    "query", [{"bbox": "1,2,3"}, {"limit": "0"}, {"datetime": "yesterday"}, {"token": "made-up"}, {"sign": "maybe"}]
)
def test_a_search_parameter_that_makes_no_sense_is_refused_by_name(
    catalog: Catalog, signed: dict[str, Any], query: dict[str, str]
) -> None:
    for path in ("stac/search", f"stac/collections/{signed['collection']}/items"):
        answer = catalog.get(path, **query)
        assert answer.status_code == 400, (path, answer.text)
        assert answer.json()["error"]["target"] == next(iter(query))


# --- signed access

TOKEN = re.compile(r"st=[^&]+&se=[^&]+&sp=[^&]+&sv=[^&]+&sr=[^&]+&(?:[^&]+&)*sig=[^&]+")


def minutes_left(token: str) -> float:
    expiry = datetime.strptime(dict(parse_qsl(token))["se"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return (expiry - datetime.now(UTC)) / timedelta(minutes=1)


def test_signed_reads_carry_tokens_of_the_duration_asked_for(catalog: Catalog, signed: dict[str, Any]) -> None:
    scene = signed["id"]
    paths = {
        "item": (catalog.get(f"stac/collections/signed/items/{scene}", sign="true", duration=15).json()),
        "items": catalog.get("stac/collections/signed/items", sign="True", duration=15).json()["features"][0],
        "get": catalog.get("stac/search", collections="signed", sign="true", duration=15).json()["features"][0],
    }
    asked: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (STABLE, {"sign": "true", "duration": 15}, {}),
        (PREVIEW, {}, {"sign": "true", "duration": 15}),
        (STABLE, {}, {"sign": True, "duration": 15}),
    ]
    for version, query, more in asked:
        answer = catalog.client.post(
            catalog.url("stac/search"),
            params={"api-version": version, **query},
            json={"collections": ["signed"], **more},
        )
        paths[f"post {version} {bool(query)}"] = answer.json()["features"][0]
    for document in paths.values():
        url, _, token = document["assets"]["image"]["href"].partition("?")
        assert url == signed["assets"]["image"]["href"].partition("?")[0]
        assert TOKEN.fullmatch(token)
        assert 14 < minutes_left(token) <= 15
        assert requests.get(f"{url}?{token}", timeout=10).content == small_geotiff()
    for document in (
        catalog.get(f"stac/collections/signed/items/{scene}").json(),
        catalog.get(f"stac/collections/signed/items/{scene}", sign="false").json(),
    ):
        assert "?" not in document["assets"]["image"]["href"]


def test_a_collection_token_opens_all_of_its_container_and_no_other(catalog: Catalog, signed: dict[str, Any]) -> None:
    answer = catalog.get("sas/token/signed")
    assert answer.json().keys() == {"msft:expiry", "token"}
    assert TOKEN.fullmatch(answer.json()["token"])
    assert "&sr=c&" in answer.json()["token"]
    assert abs(minutes_left(answer.json()["token"]) - 1440) < 5
    url = signed["assets"]["image"]["href"].partition("?")[0]
    assert requests.get(f"{url}?{answer.json()['token']}", timeout=10).status_code == 200
    catalog.make("stranger")
    foreign = catalog.get("sas/token/stranger").json()["token"]
    refused = requests.get(f"{url}?{foreign}", timeout=10)
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")


def test_an_href_is_signed_and_a_foreign_one_comes_back_as_it_is(catalog: Catalog, signed: dict[str, Any]) -> None:
    url = signed["assets"]["image"]["href"].partition("?")[0]
    answer = catalog.get("sas/sign", href=url, duration=5).json()
    base, _, token = answer["href"].partition("?")
    assert base == url
    assert TOKEN.fullmatch(token)
    assert "&sr=b&" in token
    assert datetime.fromisoformat(answer["msft:expiry"]) > datetime.now(UTC)
    assert requests.get(answer["href"], timeout=10).content == small_geotiff()
    for foreign in ("https://elsewhere.example/a.tif?x=1", "not a url", catalog.url("stac")):
        answer = catalog.get("sas/sign", href=foreign).json()
        assert answer["href"] == foreign
        assert answer.get("msft:expiry") is None
    assert catalog.get("sas/sign").status_code == 400
    assert catalog.get("sas/sign", href=url, duration="long").json()["error"]["target"] == "duration"


def test_bytes_are_read_in_ranges_with_validators(signed: dict[str, Any]) -> None:
    href, content = signed["assets"]["image"]["href"], small_geotiff()

    def ask(method: str = "GET", **headers: str) -> requests.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, href, headers={"Accept-Encoding": "identity", **sent}, timeout=10)

    whole = ask()
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["accept-ranges"] == "bytes"
    head = ask("HEAD")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "last-modified"):
        assert head.headers[name] == whole.headers[name]
    assert head.headers["content-length"] == str(len(content))
    part = ask(Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
    assert ask(Range="bytes=-7").content == content[-7:]
    assert ask(Range=f"bytes={len(content) - 3}-").content == content[-3:]
    assert ask("HEAD", Range="bytes=0-9").headers["content-length"] == "10"
    beyond = ask(Range=f"bytes={len(content)}-")
    assert (beyond.status_code, beyond.headers["x-ms-error-code"]) == (416, "InvalidRange")
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    unchanged = ask(If_None_Match=whole.headers["etag"])
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert ask(If_Modified_Since=whole.headers["last-modified"]).status_code == 304
    assert ask(If_None_Match='"other"').status_code == 200
    assert ask(Range="bytes=0-9", If_Range='"other"').status_code == 200


def test_bytes_are_closed_without_a_valid_signature(catalog: Catalog, signed: dict[str, Any]) -> None:
    href = signed["assets"]["image"]["href"]
    url, _, token = href.partition("?")
    for method in ("GET", "HEAD"):
        bare = catalog.client.request(method, url)  # a bearer token does not open blobs
        assert (bare.status_code, bare.headers["x-ms-error-code"]) == (409, "PublicAccessNotPermitted")
    broken = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    later = re.sub(r"se=\d{4}", "se=2999", token)
    for bad in (broken, later, token.replace("sp=r", "sp=rw"), "sig=x", f"{token}&{token}"):
        refused = requests.get(f"{url}?{bad}", timeout=10)
        assert (refused.status_code, refused.headers["x-ms-error-code"]) == (403, "AuthenticationFailed"), bad
    assert requests.get(f"{url}x?{token}", timeout=10).status_code == 404  # this token is for the whole container
    for_one = catalog.get("sas/sign", href=url).json()["href"].partition("?")[2]
    assert requests.get(f"{url}x?{for_one}", timeout=10).status_code == 403  # whether there is one is not told


def test_revoked_signatures_open_nothing_and_new_ones_do(catalog: Catalog, signed: dict[str, Any]) -> None:
    url = f"{catalog.url('stac/collections/signed/items')}/{signed['id']}"

    def fresh() -> str:
        return str(catalog.client.get(url, params={"sign": "true"}).json()["assets"]["image"]["href"])

    old = fresh()
    answer = catalog.client.post(catalog.url("sas/token/revoke"))
    assert (answer.status_code, answer.content) == (200, b"")
    end = time.monotonic() + LIMIT
    while requests.get(old, timeout=10).status_code != 403:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert requests.get(fresh(), timeout=10).status_code == 200


# --- versions and browsers


@pytest.mark.parametrize("version", ["2024-01-31-preview", "latest", ""])
@pytest.mark.parametrize("path", ["stac", "stac/collections", "inma/operations", "sas/sign", "stac/search"])
def test_an_unknown_api_version_is_refused_and_the_served_ones_named(catalog: Catalog, path: str, version: str) -> None:
    answer = catalog.get(path, **{"api-version": version})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "UnsupportedApiVersionValue"
    for served in VERSIONS:
        assert served in answer.json()["error"]["message"]


@pytest.mark.parametrize("version", VERSIONS)
def test_links_carry_the_version_that_the_request_named(catalog: Catalog, found: Any, version: str) -> None:
    assert found(collections=["sought"])
    page = catalog.get("stac/search", collections="sought", limit=1, **{"api-version": version}).json()
    hrefs = [link["href"] for link in page["links"] + page["features"][0]["links"]]
    assert all(dict(parse_qsl(urlsplit(href).query))["api-version"] == version for href in hrefs)
    plain = catalog.get("stac/search", collections="sought", limit=1).json()
    assert not any("api-version" in link["href"] for link in plain["links"] + plain["features"][0]["links"])


def test_a_browser_may_call_from_any_page(catalog: Catalog, signed: dict[str, Any]) -> None:
    page = {"Origin": "https://map.example"}
    asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = requests.options(catalog.url("inma/operations/x"), headers={**page, **asked}, timeout=10)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "DELETE" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    part = requests.get(signed["assets"]["image"]["href"], headers={**page, "Range": "bytes=0-9"}, timeout=10)
    if part.status_code == 403:  # revoked by the test above
        part = requests.get(
            catalog.get("sas/sign", href=signed["assets"]["image"]["href"].partition("?")[0]).json()["href"],
            headers={**page, "Range": "bytes=0-9"},
            timeout=10,
        )
    assert part.status_code == 206
    assert part.headers["access-control-allow-origin"] == "*"
    assert "content-range" in part.headers["access-control-expose-headers"].lower()


def test_request_ids_are_echoed(catalog: Catalog) -> None:
    answer = catalog.client.get(catalog.url("stac"), headers={"x-ms-client-request-id": "mine"})
    assert answer.headers["x-ms-client-request-id"] == "mine"
    assert answer.headers["x-ms-request-id"]
