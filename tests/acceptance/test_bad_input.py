"""Bad input: refused at once where it can be, else failed in the operation with a sentence that helps; nothing is left.

All of it goes to one server, whose answers, log and database are searched for secrets at the end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from acceptance.bad_sources import FAULTS
from acceptance.certificates import tls_sources
from acceptance.documents import collection, item, items
from acceptance.misbehaving import Misbehaving
from acceptance.rasters import small_geotiff
from acceptance.serving import Served, free_port
from acceptance.storage import settled

pytestmark = pytest.mark.acceptance

LIMITS = {
    "GRATICULE_MAX_ITEM_ASSETS": "5",
    "GRATICULE_MAX_ITEM_BYTES": "20000",
    "GRATICULE_MAX_ITEMS_PER_POST": "12",
    "GRATICULE_MAX_BODY_BYTES": "200000",
    "GRATICULE_MAX_ASSET_BYTES": "1000000",
    "GRATICULE_FETCH_TRIES": "2",
    "GRATICULE_FETCH_IDLE_TIMEOUT": "1.5",
    "GRATICULE_FETCH_CONNECT_TIMEOUT": "1.5",
    "GRATICULE_FETCH_SLOWEST": "1000",
    "GRATICULE_FETCH_SLOW_SECONDS": "1",
    "GRATICULE_LOG_LEVEL": "debug",
}


@dataclass
class Catalog:
    """A server with a collection ``c``, its source, and all that it has answered."""

    served: Served
    source: Misbehaving
    client: requests.Session
    #: What hrefs of `FAULTS` leave open.
    places: dict[str, str]
    answers: list[requests.Response] = field(default_factory=list)

    @property
    def items_url(self) -> str:
        return f"{self.served.url}/stac/collections/c/items"

    @property
    def bearer(self) -> str:
        return str(self.client.headers["Authorization"])

    def post(self, document: Any) -> requests.Response:
        return self.client.post(self.items_url, json=document)

    def ended(self, document: Any) -> dict[str, Any]:
        """The operation of a post, ended."""
        return self.served.finished(self.client, self.post(document))

    def exists(self, item_id: str) -> bool:
        return self.client.get(f"{self.items_url}/{item_id}").status_code == 200


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    sound = small_geotiff()
    files = {"sound.tif": sound, "half.tif": sound[: len(sound) // 2], "large.tif": bytes(1_000_001)}
    folder = tmp_path_factory.mktemp("bad")
    with tls_sources(folder) as tls, Misbehaving(files) as source:
        silent_port = f"127.0.0.1:{free_port()}"
        env = {
            "GRATICULE_FETCH_ALLOW": ",".join([source.host, silent_port, *tls.values()]),
            "SSL_CERT_FILE": str(folder / "authority.pem"),
            **LIMITS,
        }
        with Served(folder, env=env) as served:
            places = {
                "source": source.url,
                "host": source.host,
                "token": str(source.token),
                "closed": "127.0.0.1:9",
                "silent_port": silent_port,
                "catalog": served.url,
                **tls,
            }
            catalog = Catalog(served, source, served.client(), places)
            catalog.client.hooks["response"].append(lambda answer, **_: catalog.answers.append(answer))
            assert catalog.client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
            yield catalog


# --- at once


def refused(answer: requests.Response, status: int, code: str, *words: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert answer.headers["x-ms-error-code"] == error["code"] == code
    for word in words:
        assert word in error["message"]


def test_an_unknown_collection_is_not_found(catalog: Catalog) -> None:
    answer = catalog.client.post(f"{catalog.served.url}/stac/collections/no-such/items", json=item("a"))
    refused(answer, 404, "NotFound", "'no-such'")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_over_the_limit_is_too_large(catalog: Catalog, *, chunked: bool) -> None:
    body = b" " * 200_001
    answer = catalog.client.post(catalog.items_url, data=iter([body[:100_000], body[100_000:]]) if chunked else body)
    refused(answer, 413, "RequestBodyTooLarge", "200000 bytes", "GRATICULE_MAX_BODY_BYTES")


def test_too_many_items_are_too_large_a_post(catalog: Catalog) -> None:
    answer = catalog.post(items(*(item(f"many-{number}") for number in range(13))))
    refused(answer, 413, "PostItemCollectionSizeExceeded", "13 items", "at most 12", "send fewer")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["not JSON"]),
        (b"{", ["not JSON"]),
        (b'{"type": NaN}', ["not JSON"]),
        (b"\xff\xfe", ["not JSON"]),
        (b"[" * 5000, ["not JSON"]),
        (b'{"type": "Feature", "id": "deep", "note": ' + b"[" * 252 + b"]" * 252 + b"}", ["250 levels"]),
        (b"[]", ["Feature"]),
        (b"null", ["Feature"]),
        (b'"Feature"', ["Feature"]),
        (b"{}", ["Feature"]),
        (b'{"type": "Collection"}', ["Feature"]),
        (b'{"type": ["Feature"]}', ["Feature"]),
        (b'{"type": "FeatureCollection"}', ["features"]),
        (b'{"type": "FeatureCollection", "features": {}}', ["features"]),
        (b'{"type": "FeatureCollection", "features": []}', ["no features"]),
    ],
)
def test_a_body_that_holds_no_items_is_a_bad_request(catalog: Catalog, body: bytes, words: list[str]) -> None:
    refused(catalog.client.post(catalog.items_url, data=body), 400, "InvalidRequestBody", *words)


def test_a_body_that_breaks_off_hurts_nobody(catalog: Catalog) -> None:
    head = f"POST /stac/collections/c/items HTTP/1.1\r\nHost: x\r\nAuthorization: {catalog.bearer}\r\n"
    with socket.create_connection(("127.0.0.1", catalog.served.port)) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    assert catalog.served.is_healthy()


#: What is wrong with a Feature's shape, and words of the sentence that says so.
MISSHAPEN: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    "no id": (lambda doc: doc.pop("id"), ["'id'"]),
    "id is a number": (lambda doc: doc.update(id=7), ["'id'"]),
    "id is empty": (lambda doc: doc.update(id=""), ["'id'"]),
    "id with a slash": (lambda doc: doc.update(id="a/b"), ["'id'", "use letters"]),
    "id too long": (lambda doc: doc.update(id="x" * 150), ["150 characters", "149"]),
    "no properties": (lambda doc: doc.pop("properties"), ["'properties'"]),
    "no geometry": (lambda doc: doc.pop("geometry"), ["'geometry'"]),
    "geometry is text": (lambda doc: doc.update(geometry="here"), ["'geometry'"]),
    "assets is a list": (lambda doc: doc.update(assets=[]), ["'assets'"]),
    "asset is text": (lambda doc: doc.update(assets={"a": "href"}), ["asset 'a'", "'href'"]),
    "asset without href": (lambda doc: doc.update(assets={"a": {}}), ["asset 'a'", "'href'"]),
    "asset type is a list": (lambda doc: doc.update(assets={"a": {"href": "https://x", "type": []}}), ["'type'"]),
    "roles are text": (lambda doc: doc.update(assets={"a": {"href": "https://x", "roles": "data"}}), ["'roles'"]),
    "asset key too long": (lambda doc: doc.update(assets={"k" * 256: {"href": "https://x"}}), ["asset key", "255"]),
    "links is an object": (lambda doc: doc.update(links={}), ["'links'"]),
    "another collection": (lambda doc: doc.update(collection="other"), ["'other'", "'c'"]),
}


@pytest.mark.parametrize("fault", MISSHAPEN)
def test_a_single_item_of_wrong_shape_is_a_bad_request(catalog: Catalog, fault: str) -> None:
    spoil, words = MISSHAPEN[fault]
    document = item("shape")
    spoil(document)
    refused(catalog.post(document), 400, "InvalidInputData", *words)


def test_a_feature_of_wrong_shape_fails_by_name_and_the_rest_go_on(catalog: Catalog) -> None:
    for start in range(0, len(MISSHAPEN), 4):
        faults = list(MISSHAPEN)[start : start + 4]
        features = [item(f"shape-{start}-{place}") for place in range(len(faults))]
        for fault, feature in zip(faults, features, strict=True):
            MISSHAPEN[fault][0](feature)
        operation = catalog.ended(items(*features, item(f"well-{start}"), 5))
        assert operation["status"] == "Failed"
        assert (operation["totalFailedItems"], operation["totalSuccessfulItems"]) == (len(faults) + 1, 1)
        assert operation["error"]["code"] == "ErrorsInBatchOperation"
        for place, fault in enumerate(faults):
            assert f"eature {place}" in operation["error"]["message"]
            for word in MISSHAPEN[fault][1]:
                assert word in operation["error"]["message"]
        assert catalog.exists(f"well-{start}")


def test_of_two_equal_ids_in_one_body_the_second_fails(catalog: Catalog) -> None:
    first = item("twin", {"image": catalog.source.href("sound.tif")}, moment="2024-01-01T00:00:00Z")
    operation = catalog.ended(items(first, item("twin", moment="2025-01-01T00:00:00Z")))
    assert (operation["totalFailedItems"], operation["totalSuccessfulItems"]) == (1, 1)
    assert "ItemAlreadyExistsInCollection" in operation["error"]["message"]
    assert "feature 1 repeats an id" in operation["error"]["message"]
    stored = catalog.client.get(f"{catalog.items_url}/twin").json()
    assert stored["properties"]["datetime"] == "2024-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda doc: doc.pop("id"), ["'id'"]),
        (lambda doc: doc.pop("links"), ["'links'"]),
        (lambda doc: doc.update(type="Catalog"), ["'Catalog'"]),
        (lambda doc: doc.update(extent={}), ["extent.spatial.bbox"]),
        (lambda doc: doc.update(description=None), ["'description'"]),
        (lambda doc: doc.update(id="a/b"), ["'id'"]),
    ],
)
def test_a_misshapen_collection_is_a_bad_request(catalog: Catalog, spoil: Any, words: list[str]) -> None:
    document = collection("misshapen")
    spoil(document)
    answer = catalog.client.post(f"{catalog.served.url}/stac/collections", json=document)
    refused(answer, 400, "InvalidInputData", *words)


# --- in the operation


@pytest.fixture(scope="module")
def failed(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """The operations of all faults, each beside an asset that is sound; they run side by side."""
    accepted = {}
    for name, fault in FAULTS.items():
        sound = {"href": catalog.source.href("sound.tif"), "type": "image/tiff"}
        document = item(f"item-{name}", {"sound": sound, "the-asset": fault.href.format_map(catalog.places)})
        accepted[name] = catalog.post(document)
    return {name: catalog.served.finished(catalog.client, answer) for name, answer in accepted.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_an_asset_that_cannot_be_had_fails_its_item(catalog: Catalog, failed: Any, name: str) -> None:
    operation, fault = failed[name], FAULTS[name]
    assert operation["status"] == "Failed"
    error = operation["error"]
    assert (error["code"], error["error"]) == (fault.code, {"code": error["code"], "message": error["message"]})
    assert error["message"].startswith(f"Item 'item-{name}', asset 'the-asset': ")
    for word in fault.words:
        assert word in error["message"]
    last = operation["statusHistory"][-1]
    assert (last["status"], last["errorCode"], last["errorMessage"]) == ("Failed", fault.code, error["message"])
    assert (operation["totalFailedItems"], operation["totalPendingItems"]) == (1, 0)
    assert operation["additionalInformation"]["TotalFailedItems"] == "1"
    assert not catalog.exists(f"item-{name}")


@pytest.mark.parametrize("name", FAULTS)
def test_the_report_names_asset_code_and_whether_to_try_again(catalog: Catalog, failed: Any, name: str) -> None:
    operation, fault = failed[name], FAULTS[name]
    answer = catalog.client.get(f"{catalog.served.url}/inma/operations/{operation['id']}/items")
    (entry,) = answer.json()["value"]
    assert (entry["itemId"], entry["state"]) == (f"item-{name}", "failed")
    assets = {asset["key"]: asset for asset in entry["assets"]}
    for told in (entry, assets["the-asset"]):
        assert (told["code"], told["retriable"]) == (fault.code, fault.retriable)
        assert told["message"] == operation["error"]["message"]
    assert assets.keys() <= {"sound", "the-asset"}
    assert "code" not in assets.get("sound", {})


def test_a_sidecar_that_cannot_be_had_is_named_itself(catalog: Catalog) -> None:
    assets = {"image": catalog.source.href("bad/scene.jpg"), "place": catalog.source.href("bad/scene.jgw")}
    catalog.source.files["bad/scene.jpg"] = b"\xff\xd8\xff\xe0"
    error = catalog.ended(item("with-sidecar", assets))["error"]
    assert error["code"] == "IngestionResourceUriNotFound"
    assert error["message"].startswith("Item 'with-sidecar', asset 'place': ")


def test_an_item_without_assets_fails_in_the_operation_too(catalog: Catalog) -> None:
    for document, code, word in (
        (item("old", stac_version="0.7.0"), "StacValidationFailed", "1.0.0"),
        (item("boxless", bbox=[0, 0, 1, 1]) | {"bbox": None}, "StacValidationFailed", "bbox"),
        (item("timeless") | {"properties": {}}, "StacValidationFailed", "datetime"),
        (item("flat") | {"geometry": {"type": "Polygon", "coordinates": [[1]]}}, "StacValidationFailed", "geometry"),
    ):
        error = catalog.ended(document)["error"]
        assert error["code"] == code
        assert f"Item '{document['id']}'" in error["message"]
        assert word in error["message"]


def test_an_id_that_exists_fails_and_the_first_item_stays(catalog: Catalog) -> None:
    assert catalog.ended(item("taken"))["status"] == "Succeeded"
    before = catalog.client.get(f"{catalog.items_url}/taken").json()
    for assets in ({}, {"image": catalog.source.href("sound.tif")}):
        error = catalog.ended(item("taken", assets))["error"]
        assert error["code"] == "ItemAlreadyExistsInCollection"
        assert "Item 'taken' already exists in collection 'c': use another id" in error["message"]
    assert catalog.client.get(f"{catalog.items_url}/taken").json() == before


def test_too_many_assets_fail_in_the_operation(catalog: Catalog) -> None:
    href = catalog.source.href("sound.tif")
    error = catalog.ended(item("laden", {f"a{number}": href for number in range(6)}))["error"]
    assert error["code"] == "TotalAssetsExceeded"
    for words in ("Item 'laden' has 6 assets", "at most 5", "split it"):
        assert words in error["message"]


def test_too_large_an_item_fails_in_the_operation(catalog: Catalog) -> None:
    document = item("bloated", {"image": catalog.source.href("sound.tif")}, note="x" * 20_000)
    error = catalog.ended(document)["error"]
    assert error["code"] == "ItemSizeExceeded"
    for words in ("Item 'bloated' has", "at most 20000", "drop"):
        assert words in error["message"]


# --- afterwards: these run last, over all that happened above


def test_every_failure_is_kept_with_the_operation_and_nothing_in_storage(catalog: Catalog, failed: Any) -> None:
    assert len(failed) == len(FAULTS)
    stored = settled(catalog.served.data_dir)
    assert set(stored.items.values()) <= {"twin"}


def test_bad_input_is_not_logged_as_a_fault_of_the_catalog(catalog: Catalog, failed: Any) -> None:
    assert failed
    for word in ("Traceback", " ERROR ", "request_failed", "request_crashed"):
        assert word not in catalog.served.log_text()


def test_no_secret_is_answered_logged_or_kept(catalog: Catalog, failed: Any) -> None:
    assert failed
    bearer = catalog.bearer.removeprefix("Bearer ")
    secrets = [b"letmein", b"sig=", b"sp=rl", bearer.encode(), bearer.rpartition(".")[2].encode()]
    assert catalog.client.get(f"{catalog.items_url}", params={"sign": "false", "limit": "100"}).status_code == 200
    assert catalog.client.get(f"{catalog.served.url}/inma/operations", params={"$top": "1000"}).status_code == 200
    places = {answer.url: answer.content + repr(answer.headers).encode() for answer in catalog.answers}
    places["the log"] = catalog.served.log.read_bytes()
    for path in catalog.served.data_dir.glob("graticule.db*"):
        places[path.name] = path.read_bytes()
    assert {"graticule.db", "graticule.db-wal"} <= places.keys()
    for place, content in places.items():
        for secret in secrets:
            assert secret not in content, f"{secret!r} is in {place}"
