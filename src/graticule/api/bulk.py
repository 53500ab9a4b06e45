"""Bulk ingestion over HTTP: definitions and runs (api.md 3.2, 3.3)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from graticule.access import Role
from graticule.api import wire
from graticule.api.ingestion import paging
from graticule.api.routing import Call, Endpoint, json_response
from graticule.errors import InvalidParameter
from graticule.ingestion.bulk import Ingestion, Run
from graticule.stac.datetimes import rfc3339

#: A definition is a name and a URL.
MAX_INGESTION_BYTES = 64_000


async def list_ingestions(call: Call) -> Response:
    """``GET …/ingestions``: newest first."""
    top, skip = paging(call)
    collection_id = call.path["collectionId"]
    found = await call.services.bulk.listing(collection_id, top=top + 1, skip=skip)
    return _page(call, [_ingestion(each) for each in found], top, skip, "ingestions")


async def create_ingestion(call: Call) -> Response:
    """``POST …/ingestions``: 201 and its location; nothing is read before a run is made."""
    document = await call.json_object(MAX_INGESTION_BYTES)
    ingestion = await call.services.bulk.create(call.path["collectionId"], document)
    location = call.links.versioned("inma", "collections", ingestion.collection_id, "ingestions", ingestion.id)
    return json_response(_ingestion(ingestion), 201, {"location": location})


async def get_ingestion(call: Call) -> Response:
    """``GET …/ingestions/{ingestionId}``."""
    return json_response(_ingestion(await call.services.bulk.get(*_names(call))))


async def update_ingestion(call: Call) -> Response:
    """``PATCH …/ingestions/{ingestionId}``: a merge patch; read-only members are passed over."""
    patch = await call.json_object(MAX_INGESTION_BYTES)
    return json_response(_ingestion(await call.services.bulk.update(*_names(call), patch)))


async def delete_ingestion(call: Call) -> Response:
    """``DELETE …/ingestions/{ingestionId}``: 202 and an operation; 409 while a run has not ended."""
    operation = await call.services.bulk.delete(*_names(call))
    return json_response(wire.operation(operation), 202, wire.operation_headers(operation, call.links))


async def list_runs(call: Call) -> Response:
    """``GET …/runs``: newest first."""
    top, skip = paging(call)
    found = await call.services.bulk.runs(*_names(call), top=top + 1, skip=skip)
    bodies = [await _run(call, run) for run in found[:top]]
    return _page(call, [*bodies, *found[top:]], top, skip, "ingestions", call.path["ingestionId"], "runs")


async def create_run(call: Call) -> Response:
    """``POST …/runs``: 201 and its location; with ``dryRun=true`` it only finds out what a run would do."""
    dry = _flag(call, "dryRun")
    await call.body(MAX_INGESTION_BYTES)  # clients send none, or an empty object
    run = await call.services.bulk.start(*_names(call), dry=dry)
    return await _created(call, run)


async def get_run(call: Call) -> Response:
    """``GET …/runs/{runId}``: with the counts as they are; of a dry run with its plan."""
    run = await call.services.bulk.run(*_names(call), call.path["runId"])
    return json_response(await _run(call, run), headers=_patience(run))


async def rerun(call: Call) -> Response:
    """``POST /inma/operations/{operationId}/rerun``: a run of the items that failed in that one; 201 as of a run."""
    return await _created(call, await call.services.bulk.rerun(call.path["operationId"]))


# --- inside


def _names(call: Call) -> tuple[str, str]:
    return call.path["collectionId"], call.path["ingestionId"]


def _page(call: Call, found: list[Any], top: int, skip: int, *path: str) -> Response:
    """A page of a list that was asked for one entry more than the page has."""
    body: dict[str, Any] = {"value": found[:top]}
    if len(found) > top:
        query = {"$top": top, "$skip": skip + top}
        body["nextLink"] = call.links.versioned("inma", "collections", call.path["collectionId"], *path, **query)
    return json_response(body)


async def _created(call: Call, run: Run) -> Response:
    names = ("inma", "collections", run.operation.collection_id or "", "ingestions", run.ingestion_id, "runs")
    location = call.links.versioned(*names, run.operation.id)
    return json_response(await _run(call, run), 201, {"location": location, **_patience(run)})


def _patience(run: Run) -> dict[str, str]:
    return {} if run.operation.is_terminal else {"Retry-After": "1"}


def _ingestion(value: Ingestion) -> dict[str, Any]:
    """Both ids: the SDK reads one, the vendor's guide the other (api.md 3.2)."""
    body: dict[str, Any] = {"id": value.id, "ingestionId": value.id, "importType": str(value.import_type)}
    if value.display_name is not None:
        body["displayName"] = value.display_name
    return body | {
        value.import_type.url_member: value.url,
        "skipExistingItems": value.skip_existing,
        "keepOriginalAssets": value.keep_originals,
        "creationTime": rfc3339(value.created),
        "status": "Ready",
    }


async def _run(call: Call, run: Run) -> dict[str, Any]:
    operation = run.operation
    shown = wire.operation(operation)
    wanted = ("id", "status", "creationTime", "startTime", "finishTime", "statusHistory", "error")
    counts = ("totalItems", "totalPendingItems", "totalSuccessfulItems", "totalFailedItems", "totalSkippedItems")
    body: dict[str, Any] = {
        "id": operation.id,
        "parentRunId": run.parent,
        "creationTime": rfc3339(operation.created),
        run.import_type.url_member: run.url,
        "skipExistingItems": run.skip_existing,
        "keepOriginalAssets": run.keep_originals,
        "operation": {name: shown[name] for name in (*wanted, *counts) if name in shown},
    }
    if run.dry:
        plan = await call.services.bulk.plan(run)
        body["dryRun"] = True
        body["plan"] = {
            "items": operation.succeeded - operation.skipped,
            "itemsSkipped": operation.skipped,
            "itemsRefused": operation.failed,
            "assetsToFetch": plan.fetched,
            "assetsToConvert": plan.converted,
            "assetsRefused": plan.refused,
            "assetsOfUnknownSize": plan.unknown,
            "bytesToFetch": plan.bytes,
        }
    return body


def _flag(call: Call, name: str) -> bool:
    text = call.query.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise InvalidParameter(f"{name} must be true or false, not {text[:40]!r}.", target=name)
    return text == "true"


_INGESTIONS = "/inma/collections/{collectionId}/ingestions"
_INGESTION = _INGESTIONS + "/{ingestionId}"
_RUNS = _INGESTION + "/runs"
_PAGED = ("$top", "$skip")

ENDPOINTS = (
    Endpoint("GET", _INGESTIONS, list_ingestions, Role.READER, "List ingestions", _PAGED),
    Endpoint("POST", _INGESTIONS, create_ingestion, Role.ADMINISTRATOR, "Define an ingestion", status=201),
    Endpoint("GET", _INGESTION, get_ingestion, Role.READER, "Read an ingestion"),
    Endpoint("PATCH", _INGESTION, update_ingestion, Role.ADMINISTRATOR, "Change an ingestion"),
    Endpoint("DELETE", _INGESTION, delete_ingestion, Role.ADMINISTRATOR, "Delete an ingestion", status=202),
    Endpoint("GET", _RUNS, list_runs, Role.READER, "List runs of an ingestion", _PAGED),
    Endpoint("POST", _RUNS, create_run, Role.ADMINISTRATOR, "Start a run", ("dryRun",), status=201),
    Endpoint("GET", _RUNS + "/{runId}", get_run, Role.READER, "Read a run"),
    Endpoint(
        "POST",
        "/inma/operations/{operationId}/rerun",
        rerun,
        Role.ADMINISTRATOR,
        "Run what failed in a run once more",
        status=201,
    ),
)
