"""What became of each item and asset of an operation: as pages, or as one download of JSON lines."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response, StreamingResponse

from graticule.access import Role
from graticule.api.ingestion import paging
from graticule.api.routing import Call, Endpoint, json_response
from graticule.errors import InvalidParameter
from graticule.stac.datetimes import rfc3339
from graticule.workflows.asset_entries import AssetEntry
from graticule.workflows.item_entries import STATES as ITEM_STATES
from graticule.workflows.item_entries import ItemEntry

NDJSON: Final = "application/x-ndjson"
#: Items that a download reads at a time.
_BLOCK: Final = 500
_TOKEN: Final = re.compile(r"[0-9]{1,15}")


async def list_operation_items(call: Call) -> Response:
    """``GET /inma/operations/{operationId}/items``: in the order they were sent or found.

    Pages continue behind the last item, so an operation may grow meanwhile. As JSON lines for ``format=ndjson`` or
    ``Accept: application/x-ndjson``: all of them, in one answer.
    """
    operation_id = call.path["operationId"]
    state = _state(call.query.get("state"))
    after = _after(call.query.get("after"))
    if _wants_lines(call):
        operation = await call.services.ingestion.operation(operation_id)  # 404 comes before the first byte
        headers = {"Content-Disposition": f'attachment; filename="{operation.id}.ndjson"'}
        return StreamingResponse(_lines(call, operation_id, state, after), media_type=NDJSON, headers=headers)
    top, _ = paging(call)
    found = await call.services.bulk.report(operation_id, state=state, after=after, limit=top + 1)
    body: dict[str, Any] = {"value": [shown_item(*entry) for entry in found[:top]]}
    if len(found) > top:
        query = {"$top": top, "state": state, "after": found[top - 1][0].seq}
        body["nextLink"] = call.links.versioned("inma", "operations", operation_id, "items", **query)
    return json_response(body)


async def _lines(call: Call, operation_id: str, state: str | None, after: int) -> AsyncIterator[bytes]:
    while True:
        found = await call.services.bulk.report(operation_id, state=state, after=after, limit=_BLOCK)
        if not found:
            return
        yield b"".join(orjson.dumps(shown_item(*entry)) + b"\n" for entry in found)
        after = found[-1][0].seq


def shown_item(entry: ItemEntry, assets: Sequence[AssetEntry]) -> dict[str, Any]:
    """One item; members without a value are left out."""
    sizes = [asset.bytes_in for asset in assets if asset.bytes_in is not None]
    seconds = None
    if entry.started is not None and entry.finished is not None:
        seconds = round((entry.finished - entry.started) / 1_000_000, 3)
    body = {
        "number": entry.seq,
        "itemId": entry.item_id,
        "source": entry.source,
        "state": entry.state,
        "code": entry.code,
        "message": entry.message,
        "retriable": entry.retriable,
        "attempts": entry.attempts,
        "bytes": sum(sizes) if sizes else None,
        "seconds": seconds,
        "startTime": None if entry.started is None else rfc3339(entry.started),
        "finishTime": None if entry.finished is None else rfc3339(entry.finished),
        "warnings": list(entry.warnings) or None,
        "assets": [_asset(asset) for asset in assets],
    }
    return {name: value for name, value in body.items() if value is not None}


def _asset(asset: AssetEntry) -> dict[str, Any]:
    body = {
        "key": asset.asset_key,
        "outcome": asset.outcome,
        "source": asset.source,
        "code": asset.code,
        "message": asset.message,
        "retriable": asset.retriable,
        "attempts": asset.attempts or None,
        "bytes": asset.bytes_in,
        "bytesStored": asset.bytes_out,
        "sha256": asset.sha256,
        "type": asset.media_type,
        "seconds": None if asset.milliseconds is None else asset.milliseconds / 1000,
    }
    return {name: value for name, value in body.items() if value is not None}


def _wants_lines(call: Call) -> bool:
    wanted = call.query.get("format")
    if wanted is None:
        return NDJSON in call.request.headers.get("accept", "")
    if wanted not in {"json", "ndjson"}:
        raise InvalidParameter(f"format must be json or ndjson, not {wanted[:40]!r}.", target="format")
    return wanted == "ndjson"


def _state(text: str | None) -> str | None:
    if not text:
        return None
    if text.lower() not in ITEM_STATES:
        raise InvalidParameter(f"state must be one of {', '.join(ITEM_STATES)}, not {text[:40]!r}.", target="state")
    return text.lower()


def _after(text: str | None) -> int:
    if not text:
        return -1
    if not _TOKEN.fullmatch(text):
        raise InvalidParameter("after is the number of an item: follow nextLink as it is.", target="after")
    return int(text)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/inma/operations/{operationId}/items",
        list_operation_items,
        Role.READER,
        "What became of each item of an operation",
        ("state", "$top", "after", "format"),
    ),
)
