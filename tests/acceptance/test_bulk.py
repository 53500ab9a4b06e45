"""Bulk ingestion of a running catalog, as users do it: with the official SDK, and on the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.planetarycomputer import PlanetaryComputerProClient
from azure.planetarycomputer.models import IngestionDefinition, OperationStatus

from acceptance.documents import collection, item
from acceptance.rasters import small_geotiff
from acceptance.serving import Served
from acceptance.source import Source
from ingestion.bulk_source import catalog, document

pytestmark = pytest.mark.acceptance

#: Seconds until a run has to have ended.
LIMIT = 60


class Credential:
    """A token that is there already."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)


@pytest.fixture
def source() -> Iterator[Source]:
    image = {"image": {"href": "./a.tif", "type": "image/tiff"}}
    files = {
        "catalog.json": catalog(("item", "./a.json"), ("child", "./deep/collection.json"), ("item", "./gone.json")),
        "deep/collection.json": catalog(("item", "b.json"), type="Collection"),
        "a.json": document("a", assets=image),
        "deep/b.json": document("b"),
        "a.tif": small_geotiff(),
    }
    with Source(files, token=None) as source:
        yield source


def test_a_poller_of_the_official_sdk_raises_for_what_has_failed_at_once(tmp_path: Path) -> None:
    with Served(tmp_path, tls=True) as served:
        stac = PlanetaryComputerProClient(
            served.url, Credential(served.token()), connection_verify=str(served.ca_file)
        ).stac
        stac.begin_create_collection(collection("c"), polling_interval=1).result()
        document = item("one", {}, collection="c")
        stac.begin_create_item("c", document, polling_interval=1).result()
        for begun in (
            stac.begin_create_item("c", document, polling_interval=1),
            stac.begin_replace_item("c", "ghost", document | {"id": "ghost"}, polling_interval=1),
            stac.begin_delete_item("c", "ghost", polling_interval=1),
        ):
            with pytest.raises(HttpResponseError):
                begun.result()
            assert begun.status() == "Failed"


def test_the_official_sdk_defines_runs_watches_and_removes_an_ingestion(tmp_path: Path, source: Source) -> None:
    with Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host}, tls=True) as served:
        client = PlanetaryComputerProClient(
            served.url, Credential(served.token()), connection_verify=str(served.ca_file)
        )
        client.stac.begin_create_collection(collection("c"), polling_interval=1).result()
        definition = IngestionDefinition(
            import_type="StaticCatalog",
            display_name="Ingestion",
            source_catalog_url=f"{source.url}/catalog.json",
            skip_existing_items=True,
            keep_original_assets=True,
        )
        made = client.ingestion.create("c", definition)
        assert (made.status, made.skip_existing_items, made.display_name) == ("Ready", True, "Ingestion")
        changed = client.ingestion.update(
            "c", made.id, IngestionDefinition(import_type="StaticCatalog", display_name="Renamed")
        )
        assert (changed.display_name, changed.source_catalog_url) == ("Renamed", made.source_catalog_url)
        assert [each.id for each in client.ingestion.list("c")] == [made.id]

        run = client.ingestion.create_run("c", made.id)
        until = time.monotonic() + LIMIT
        while run.operation.status in {OperationStatus.PENDING, OperationStatus.RUNNING}:
            assert time.monotonic() < until
            time.sleep(0.2)
            run = client.ingestion.get_run("c", made.id, run.id)
            known = run.operation.total_successful_items + run.operation.total_failed_items
            assert known + run.operation.total_pending_items == run.operation.total_items
        assert run.operation.status == OperationStatus.FAILED
        assert (run.operation.total_successful_items, run.operation.total_failed_items) == (2, 1)
        assert run.operation.status_history[-1].error_code == "ErrorsInBatchOperation"
        operation = client.ingestion.get_operation(run.operation.id)
        assert (operation.type, (operation.additional_information or {})["TotalFailedItems"]) == (
            "IngestionStaticCatalog",
            "1",
        )
        found = client.ingestion.list_operations(collection_id="c", status=OperationStatus.FAILED)
        assert [each.id for each in found] == [run.operation.id]
        assert [each.id for each in client.ingestion.list_runs("c", made.id)] == [run.id]
        assert client.stac.get_item("c", "b").collection == "c"

        client.ingestion.cancel_operation(run.id)  # it has ended: stays as it is
        client.ingestion.cancel_all_operations()
        client.ingestion.begin_delete("c", made.id, polling_interval=1).result()
        with pytest.raises(ResourceNotFoundError):
            client.ingestion.get("c", made.id)


def test_the_command_line_ingests_tells_what_failed_and_runs_it_again(tmp_path: Path, source: Source) -> None:
    with Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host}) as served:
        made = served.client().post(f"{served.url}/stac/collections", json=collection("c"))
        assert made.status_code == 202
        url = f"{source.url}/catalog.json"
        with pytest.raises(AssertionError):  # exit code 1
            served.command("ingest", url, "-c", "c", "--json")
        (operation,) = [
            json.loads(line)
            for line in served.command("operations", "list", "--json").splitlines()
            if "IngestionStaticCatalog" in line
        ]
        assert (operation["totalSuccessfulItems"], operation["totalFailedItems"]) == (2, 1)
        told = served.command("operations", "items", operation["id"], "--state", "failed", "--json")
        assert json.loads(told)["code"] == "IngestionResourceUriNotFound"

        source.files["gone.json"] = document("c")
        events = served.command("operations", "rerun", operation["id"], "--json").splitlines()
        assert json.loads(events[-1])["succeeded"] == 1
        plan = served.command("ingest", url, "-c", "c", "--dry-run", "--skip-existing", "--json").splitlines()
        assert json.loads(plan[-2])["skipped"] == 3
        assert json.loads(plan[-1])["fetched"] == 0
        assert json.loads(served.command("operations", "show", operation["id"]))["status"] == "Failed"
