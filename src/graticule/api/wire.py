"""The wire forms of what is not STAC: operations and lists (api.md 1.4, 1.5, 3.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graticule.api.links import Links
from graticule.stac.datetimes import rfc3339
from graticule.workflows.journal import Operation


def operation(value: Operation) -> dict[str, Any]:
    """The Operation resource; members without a value are left out."""
    body: dict[str, Any] = {
        "id": value.id,
        "status": value.status,
        "type": value.type,
        "creationTime": rfc3339(value.created),
        "statusHistory": [{**entry, "timestamp": rfc3339(entry["timestamp"])} for entry in value.history],
    }
    if value.collection_id is not None:
        body["collectionId"] = value.collection_id
    if value.started is not None:
        body["startTime"] = rfc3339(value.started)
    if value.finished is not None:
        body["finishTime"] = rfc3339(value.finished)
    if value.information:
        body["additionalInformation"] = dict(value.information)
    if value.total is not None:
        counts = {
            "TotalItems": value.total,
            "TotalPendingItems": value.pending,
            "TotalSuccessfulItems": value.succeeded,
            "TotalFailedItems": value.failed,
        }
        if value.skipped:
            counts["TotalSkippedItems"] = value.skipped  # among the successful ones
        texts = {name: str(count) for name, count in counts.items()}
        body["additionalInformation"] = {**value.information, **texts}
        body |= {name[0].lower() + name[1:]: count for name, count in counts.items()}
    if value.error_code is not None:
        error = {"code": value.error_code, "message": value.error_message or ""}
        body["error"] = {**error, "error": error}  # both forms: the recorded one and the one the SDK shows
    return body


def accepted(value: Operation) -> dict[str, Any]:
    """The same in the answer to the request that began it: one that has failed already is shown as it began.

    Azure clients raise for a failure that they have polled, and take one in the first answer for an end like any other.
    """
    if value.status != "Failed":
        return operation(value)
    begun = replace(value, status="Pending", started=None, finished=None, history=value.history[:1])
    return operation(replace(begun, succeeded=0, failed=0, skipped=0, error_code=None, error_message=None))


def operation_headers(value: Operation, links: Links) -> dict[str, str]:
    """Where to poll. Both headers: the SDK needs the second, plain scripts read the first (api.md 1.5)."""
    url = links.versioned("inma", "operations", value.id)
    return {"location": url, "operation-location": url, "Retry-After": "1"}
