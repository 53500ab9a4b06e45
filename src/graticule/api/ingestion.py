"""The ingestion API's operations: what clients poll (api.md 3.4)."""

from __future__ import annotations

import re

from starlette.responses import Response

from graticule.access import Role
from graticule.api import wire
from graticule.api.routing import Call, Endpoint, json_response
from graticule.errors import InvalidParameter
from graticule.workflows.journal import STATUSES

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
_WHOLE = re.compile(r"[0-9]{1,15}")  # a row offset of SQLite has 64 bits


async def list_operations(call: Call) -> Response:
    """``GET /inma/operations``: newest first."""
    top, skip = paging(call)
    status = _status(call.query.get("status"))
    collection_id = call.query.get("collectionId")
    found = await call.services.ingestion.operations(top=top + 1, skip=skip, collection_id=collection_id, status=status)
    body: dict[str, object] = {"value": [wire.operation(operation) for operation in found[:top]]}
    if len(found) > top:
        query = {"$top": top, "$skip": skip + top, "collectionId": collection_id, "status": status}
        body["nextLink"] = call.links.versioned("inma", "operations", **query)
    return json_response(body)


async def get_operation(call: Call) -> Response:
    """``GET /inma/operations/{operationId}``: 200 with the operation on every poll (api.md 1.5)."""
    operation = await call.services.ingestion.operation(call.path["operationId"])
    headers = {} if operation.is_terminal else {"Retry-After": "1"}
    return json_response(wire.operation(operation), headers=headers)


async def cancel_operation(call: Call) -> Response:
    """``DELETE /inma/operations/{operationId}``: 204; an operation that has ended stays as it is."""
    await call.services.ingestion.cancel(call.path["operationId"])
    return Response(status_code=204)


async def cancel_all_operations(call: Call) -> Response:
    """``DELETE /inma/operations``: cancels all that is pending or running and that the caller may cancel.

    Administrators may cancel everything in the catalog, others nothing; ``collectionId`` narrows it to a collection.
    """
    await call.services.ingestion.cancel_all(call.query.get("collectionId") or None)
    return Response(status_code=204)


def paging(call: Call) -> tuple[int, int]:
    """How many entries of a list are asked for, and how many are skipped (api.md 1.4).

    Raises:
        InvalidParameter: one of the two is no whole number.
    """
    top = _whole(call, "$top", DEFAULT_PAGE, least=1)
    return min(top, LARGEST_PAGE), _whole(call, "$skip", 0, least=0)


def _whole(call: Call, name: str, default: int, *, least: int) -> int:
    text = call.query.get(name)
    if text is None or text == "":
        return default
    if not _WHOLE.fullmatch(text) or int(text) < least:
        raise InvalidParameter(f"{name} must be a whole number from {least} on, not {text[:40]!r}.", target=name)
    return int(text)


def _status(text: str | None) -> str | None:
    if not text:
        return None
    for status in STATUSES:
        if status.lower() == text.lower():
            return status
    raise InvalidParameter(f"status must be one of {', '.join(STATUSES)}, not {text[:40]!r}.", target="status")


_OPERATION = "/inma/operations/{operationId}"
_PAGED = ("$top", "$skip", "collectionId", "status")

ENDPOINTS = (
    Endpoint("GET", "/inma/operations", list_operations, Role.READER, "List operations", _PAGED),
    Endpoint(
        "DELETE",
        "/inma/operations",
        cancel_all_operations,
        Role.ADMINISTRATOR,
        "Cancel all operations",
        ("collectionId",),
        status=204,
    ),
    Endpoint("GET", _OPERATION, get_operation, Role.READER, "Read an operation"),
    Endpoint("DELETE", _OPERATION, cancel_operation, Role.ADMINISTRATOR, "Cancel an operation", status=204),
)
