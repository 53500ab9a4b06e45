"""Ingestions, runs and reports over HTTP: statuses, wire names, pages. Workers have tests of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.asgi import BASE, Client
from graticule.database import Connection
from graticule.errors import SourceTimeout
from graticule.services import Services
from graticule.workflows import asset_entries, item_entries, journal

INGESTIONS = "/inma/collections/naip/ingestions"
DEFINITION: dict[str, Any] = {
    "importType": "StaticCatalog",
    "displayName": "First",
    "sourceCatalogUrl": "https://example.com/catalog.json",
    "skipExistingItems": True,
}


async def made(admin: Client, **members: Any) -> dict[str, Any]:
    answer = await admin.post(INGESTIONS, DEFINITION | members)
    assert answer.status == 201, answer.json()
    return dict(answer.json())


async def test_an_ingestion_is_made_read_changed_and_deleted(admin: Client, reader: Client) -> None:
    answer = await admin.post(f"{INGESTIONS}?api-version=2026-04-15", {**DEFINITION, "id": "the-clients-own"})
    document = answer.json()
    url = f"{INGESTIONS}/{document['id']}"
    assert answer.status == 201
    assert answer.headers["location"] == f"{BASE}{url}?api-version=2026-04-15"
    assert document == DEFINITION | {
        "id": document["id"],
        "ingestionId": document["id"],
        "keepOriginalAssets": False,
        "creationTime": document["creationTime"],
        "status": "Ready",
    }
    assert (await reader.get(url)).json() == document
    changed = await admin.send("PATCH", url, b'{"displayName": "Second", "status": "Deleting", "id": "x"}')
    assert (changed.status, changed.json()) == (200, document | {"displayName": "Second"})
    cleared = await admin.send("PATCH", url, b'{"displayName": null, "skipExistingItems": null}')
    assert "displayName" not in cleared.json()
    assert cleared.json()["skipExistingItems"] is False
    gone = await admin.delete(url)
    assert gone.status == 202
    assert gone.json()["type"] == "DeleteIngestion"
    assert gone.json()["status"] == "Succeeded"
    assert gone.json()["additionalInformation"] == {"IngestionId": document["id"]}
    assert gone.headers["operation-location"]
    assert (await reader.get(url)).status == 404


async def test_members_are_matched_without_regard_to_case(admin: Client) -> None:
    answer = await admin.post(
        INGESTIONS, {"ImportType": "staticcatalog", "SourceCatalogUrl": "https://example.com/c.json"}
    )
    assert (answer.status, answer.json()["sourceCatalogUrl"]) == (201, "https://example.com/c.json")


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"importType": "Magic"}, "importType"),
        ({"importType": "StacGeoparquet"}, "stacGeoparquetUrl"),
        ({"sourceCatalogUrl": None}, "sourceCatalogUrl"),
        ({"sourceCatalogUrl": "file:///etc/passwd"}, "sourceCatalogUrl"),
        ({"sourceCatalogUrl": "http://169.254.169.254/catalog.json?sig=hunter22"}, "sourceCatalogUrl"),
        ({"skipExistingItems": "yes"}, "skipExistingItems"),
        ({"displayName": 7}, "displayName"),
    ],
)
async def test_a_wrong_definition_is_refused_by_name(admin: Client, members: dict[str, Any], named: str) -> None:
    answer = await admin.post(INGESTIONS, DEFINITION | members)
    assert (answer.status, answer.error["code"]) == (400, "InvalidRequestBody")
    assert named in answer.error["message"]
    assert "hunter22" not in answer.error["message"]


async def test_the_query_of_a_url_is_not_shown_and_survives_a_patch_with_what_was_shown(
    admin: Client, services: Services
) -> None:
    document = await made(admin, sourceCatalogUrl="https://example.com/c.json?sig=hunter22")
    assert document["sourceCatalogUrl"] == "https://example.com/c.json"
    patch = json.dumps({**document, "displayName": "Again"}).encode()
    answer = await admin.send("PATCH", f"{INGESTIONS}/{document['id']}", patch)
    assert answer.status == 200, answer.json()
    kept = await services.bulk.get("naip", document["id"])
    assert services.sealer.open(kept.source, "bulk") == b"https://example.com/c.json?sig=hunter22"


async def test_lists_have_pages(admin: Client, reader: Client) -> None:
    ids = [(await made(admin))["id"] for _ in range(3)]
    page = (await reader.get(f"{INGESTIONS}?$top=2")).json()
    assert [entry["id"] for entry in page["value"]] == [ids[2], ids[1]]
    rest = (await reader.get(page["nextLink"].removeprefix(BASE))).json()
    assert [entry["id"] for entry in rest["value"]] == [ids[0]]
    assert "nextLink" not in rest


async def test_a_run_has_the_id_of_its_operation_and_frozen_options(admin: Client, reader: Client) -> None:
    ingestion = await made(admin)
    url = f"{INGESTIONS}/{ingestion['id']}"
    answer = await admin.send("POST", f"{url}/runs", b"")
    run = answer.json()
    assert answer.status == 201
    assert f"{url}/runs/{run['id']}?" in answer.headers["location"]
    await admin.send(
        "PATCH", url, b'{"skipExistingItems": false, "sourceCatalogUrl": "https://example.com/other.json"}'
    )
    read = (await reader.get(f"{url}/runs/{run['id']}")).json()
    assert read == run
    assert (read["skipExistingItems"], read["sourceCatalogUrl"]) == (True, "https://example.com/catalog.json")
    assert read["operation"]["id"] == run["id"]
    assert [read["operation"][name] for name in ("totalItems", "totalPendingItems", "totalFailedItems")] == [0, 0, 0]
    operation = (await reader.get(f"/inma/operations/{run['id']}")).json()
    assert (operation["type"], operation["status"]) == ("IngestionStaticCatalog", "Pending")
    assert [entry["id"] for entry in (await reader.get(f"{url}/runs")).json()["value"]] == [run["id"]]

    refused = await admin.delete(url)
    assert (refused.status, refused.error["code"]) == (409, "Conflict")
    assert (await admin.delete(f"/inma/operations/{run['id']}")).status == 204
    refused = await admin.send("POST", f"/inma/operations/{run['id']}/rerun", b"")
    assert refused.status == 409


async def test_a_dry_run_shows_its_plan(admin: Client) -> None:
    ingestion = await made(admin)
    answer = await admin.send("POST", f"{INGESTIONS}/{ingestion['id']}/runs?dryRun=true", b"")
    assert (answer.status, answer.json()["dryRun"], answer.json()["plan"]["bytesToFetch"]) == (201, True, 0)
    wrong = await admin.send("POST", f"{INGESTIONS}/{ingestion['id']}/runs?dryRun=maybe", b"")
    assert (wrong.status, wrong.error["code"]) == (400, "InvalidParameter")


@pytest.mark.parametrize("path", ["/nowhere", "/nowhere/runs", "/nowhere/runs/x"])
async def test_what_is_not_there_is_404(admin: Client, path: str) -> None:
    assert (await admin.get(INGESTIONS + path)).status == 404
    assert (await admin.get("/inma/collections/none/ingestions")).status == 404
    assert (await admin.send("POST", "/inma/collections/none/ingestions", b"{}")).status == 404
    assert (await admin.get("/inma/operations/none/items")).status == 404
    assert (await admin.get("/inma/operations/none/items?format=ndjson")).status == 404
    assert (await admin.send("POST", "/inma/operations/none/rerun", b"")).status == 404


async def test_a_report_has_pages_states_and_lines(reader: Client, services: Services) -> None:
    def work(tx: Connection) -> str:
        operation = journal.create(tx, "AddItem", "naip", total=5)
        item_entries.add(tx, operation.pk, [(n, f"item-{n}", None) for n in range(5)])
        stored = asset_entries.StoredAsset(
            "image", "copied", "c", "k", "image/tiff", 10, 12, "0" * 64, "https://x.test/a"
        )
        item_entries.start(tx, operation.pk, 0)
        asset_entries.write_stored(tx, operation.pk, 0, stored)
        item_entries.end(tx, operation.pk, 0)
        asset_entries.write_failed(tx, operation.pk, 3, "image", "https://x.test/b", SourceTimeout("slow"))
        item_entries.end(tx, operation.pk, 3, SourceTimeout("Item 'item-3': slow"))
        return operation.id

    url = f"/inma/operations/{await services.database.write(work)}/items"
    page = (await reader.get(f"{url}?$top=3")).json()
    rest = (await reader.get(page["nextLink"].removeprefix(BASE))).json()
    assert [entry["itemId"] for entry in page["value"] + rest["value"]] == [f"item-{n}" for n in range(5)]
    assert "nextLink" not in rest
    first = page["value"][0]
    assert (first["state"], first["attempts"], first["bytes"]) == ("succeeded", 1, 10)
    assert first["seconds"] >= 0
    assert first["assets"][0]["bytesStored"] == 12
    (failed,) = (await reader.get(f"{url}?state=failed")).json()["value"]
    assert (failed["code"], failed["retriable"]) == ("IngestionResourceTimeout", True)
    assert failed["assets"][0]["retriable"] is True
    lines = await reader.get(f"{url}?format=ndjson")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["number"] for line in lines.body.splitlines()] == [0, 1, 2, 3, 4]
    for wrong in ("state=odd", "after=x", "format=xml", "$top=0"):
        assert (await reader.get(f"{url}?{wrong}")).status == 400
