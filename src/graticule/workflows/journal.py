"""The journal of operations: what was asked, and how far it is.

These rows are what clients poll (api.md 3.4: `Operation`), and what a restarted worker continues from. Every function
here and in `item_entries`, `asset_entries` and `cancelling` works inside the caller's transaction, so that an
operation's progress commits together with the work it reports.

States of an operation: ``Pending → Running → Succeeded | Failed``, and ``→ Canceling → Canceled`` once cancelled.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graticule.database import Connection, Row
from graticule.errors import CanceledOperation, GraticuleError, NotFound
from graticule.stac.datetimes import now_us

#: Statuses that an operation never leaves.
TERMINAL = frozenset({"Succeeded", "Failed", "Canceled"})
#: The type of operations that build or remove the index of a queryable: their items do not wait to be ingested.
INDEX_QUERYABLE = "IndexQueryable"
#: The same of those that work out the words of older items.
INDEX_WORDS = "IndexWords"
STATUSES = ("Pending", "Running", "Succeeded", "Canceled", "Canceling", "Failed")


@dataclass(frozen=True)
class Operation:
    """One row of the journal; times are µs since 1970."""

    pk: int
    id: str
    type: str
    collection_id: str | None
    status: str
    created: int
    started: int | None
    finished: int | None
    total: int | None  #: items, or None where the operation carries none
    succeeded: int
    failed: int
    canceled: int
    history: tuple[dict[str, Any], ...]
    error_code: str | None
    error_message: str | None
    open: bool = False  #: items are still being found for it: it does not end before that has
    skipped: int = 0  #: of those that succeeded: were there already
    information: Mapping[str, str] = field(default_factory=dict)  #: more for `additionalInformation`

    @property
    def pending(self) -> int:
        """Items that have not ended; a cancelled item stays pending for ever, as the original counts it."""
        return (self.total or 0) - self.succeeded - self.failed

    @property
    def is_terminal(self) -> bool:
        """Has it ended?"""
        return self.status in TERMINAL


def create(
    tx: Connection,
    kind: str,
    collection_id: str | None,
    *,
    total: int | None = None,
    accepted: bool = True,
    still_open: bool = False,
    information: Mapping[str, str] | None = None,
) -> Operation:
    """Write down a new operation, Pending. A `still_open` one does not end before `item_entries.close`."""
    created = now_us()
    operation_id = str(uuid.uuid4())
    tx.execute(
        "INSERT INTO operations(id, type, collection_id, status, created, total, accepted, history, open,"
        " information) VALUES(:id, :type, :collection, 'Pending', :created, :total, :accepted, :history, :open,"
        " :information)",
        {
            "id": operation_id,
            "type": kind,
            "collection": collection_id,
            "created": created,
            "total": total,
            "accepted": int(accepted),
            "history": json.dumps([_entry("Pending", created)]),
            "open": int(still_open),
            "information": None if information is None else json.dumps(dict(information)),
        },
    )
    return get(tx, operation_id)


def accept(tx: Connection, pk: int) -> None:
    """The whole body of a large post is written down: from here on it is promised."""
    tx.execute("UPDATE operations SET accepted=1 WHERE pk=:pk", {"pk": pk})


def discard_unaccepted(tx: Connection, *, older_than: float) -> int:
    """Forget posts that no client got an answer for, because the service died meanwhile (seconds ago)."""
    return tx.execute(
        "DELETE FROM operations WHERE accepted=0 AND created<:before",
        {"before": now_us() - int(older_than * 1_000_000)},
    )


def get(tx: Connection, operation_id: str) -> Operation:
    """One operation by its public id.

    Raises:
        NotFound: there is none.
    """
    row = tx.one("SELECT * FROM operations WHERE id=:id", {"id": operation_id})
    if row is None:
        raise NotFound(f"Operation '{operation_id}' does not exist.", target="operationId")
    return _operation(row)


def by_pk(tx: Connection, pk: int) -> Operation | None:
    """One operation by its key, or None where it has been removed."""
    row = tx.one("SELECT * FROM operations WHERE pk=:pk", {"pk": pk})
    return None if row is None else _operation(row)


def listing(
    tx: Connection, *, top: int, skip: int, collection_id: str | None = None, status: str | None = None
) -> list[Operation]:
    """Operations, newest first."""
    where = ["accepted=1"]
    if collection_id is not None:
        where.append("collection_id=:collection")
    if status is not None:
        where.append("status=:status")
    rows = tx.all(
        f"SELECT * FROM operations WHERE {' AND '.join(where)} ORDER BY pk DESC LIMIT :top OFFSET :skip",
        {"top": top, "skip": skip, "collection": collection_id, "status": status},
    )
    return [_operation(row) for row in rows]


def unfinished_items(tx: Connection) -> int:
    """How many posted items wait or run in the whole catalog; those of bulk runs are bounded by other means."""
    return int(
        tx.value(
            "SELECT coalesce(sum(total-succeeded-failed-canceled), 0) FROM operations"
            " WHERE status IN ('Pending', 'Running', 'Canceling') AND type<>:index AND type<>:words"
            " AND NOT EXISTS (SELECT 1 FROM ingestion_runs r WHERE r.operation=operations.pk)",
            {"index": INDEX_QUERYABLE, "words": INDEX_WORDS},
        )
    )


def start(tx: Connection, operation: Operation) -> None:
    """Pending → Running; anything else stays as it is."""
    if operation.status == "Pending":
        _move(tx, operation, "Running", started=now_us())


def progress(tx: Connection, operation: Operation, *, done: int, total: int) -> None:
    """How far an operation is that goes over items of its own accord."""
    tx.execute(
        "UPDATE operations SET succeeded=:done, total=:total WHERE pk=:pk",
        {"pk": operation.pk, "done": min(done, total), "total": total},
    )


def succeed(tx: Connection, operation: Operation) -> None:
    """It is done. The history says ``Finished``, as the original's does (api.md 3.4)."""
    _move(tx, _begun(tx, operation), "Succeeded", word="Finished", finished=now_us())


def fail(tx: Connection, operation: Operation, error: GraticuleError) -> None:
    """It failed, for this reason."""
    _move(tx, _begun(tx, operation), "Failed", finished=now_us(), error=error)


def fail_with(tx: Connection, operation: Operation, code: str, message: str) -> None:
    """The same, for a reason that an item was given before."""
    _write(tx, _begun(tx, operation), "Failed", "Failed", None, now_us(), code, message)


def begin_cancel(tx: Connection, operation: Operation) -> None:
    """It ends as cancelled when nothing of it runs any more."""
    _move(tx, operation, "Canceling")


def end_cancel(tx: Connection, operation: Operation) -> None:
    """Nothing of a cancelled operation runs any more."""
    _move(tx, operation, "Canceled", finished=now_us(), error=canceled(operation))


def canceled(operation: Operation) -> CanceledOperation:
    """What ends the items of a cancelled operation."""
    collection = f" in collection '{operation.collection_id}'" if operation.collection_id else ""
    return CanceledOperation(f"Operation '{operation.id}'{collection} was cancelled.")


def check_not_canceled(operation: Operation) -> None:
    """Refuse to go on with a cancelled operation.

    Raises:
        CanceledOperation: it is cancelled, or about to be.
    """
    if operation.status in {"Canceling", "Canceled"}:
        raise canceled(operation)


def _operation(row: Row) -> Operation:
    return Operation(
        pk=row["pk"],
        id=row["id"],
        type=row["type"],
        collection_id=row["collection_id"],
        status=row["status"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        total=row["total"],
        succeeded=row["succeeded"],
        failed=row["failed"],
        canceled=row["canceled"],
        history=tuple(json.loads(row["history"])),
        error_code=row["error_code"],
        error_message=row["error_message"],
        open=bool(row["open"]),
        skipped=row["skipped"],
        information=json.loads(row["information"] or "{}"),
    )


def _begun(tx: Connection, operation: Operation) -> Operation:
    """As it is once it was started."""
    if operation.started is not None:
        return operation
    start(tx, operation)
    return by_pk(tx, operation.pk) or operation


def _entry(status: str, timestamp: int, code: str | None = None, message: str | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"status": status, "timestamp": timestamp}
    if code is not None:
        entry |= {"errorCode": code, "errorMessage": message}
    return entry


def _move(
    tx: Connection,
    operation: Operation,
    status: str,
    *,
    word: str | None = None,
    started: int | None = None,
    finished: int | None = None,
    error: GraticuleError | None = None,
) -> None:
    code = None if error is None else error.code
    message = None if error is None else error.message
    _write(tx, operation, status, word or status, started, finished, code, message)


def _write(
    tx: Connection,
    operation: Operation,
    status: str,
    word: str,
    started: int | None,
    finished: int | None,
    code: str | None,
    message: str | None,
) -> None:
    history: Sequence[dict[str, Any]] = operation.history
    if status == "Canceled" and operation.started is None:
        history = ()  # one cancelled while pending has only that entry (api.md 3.4)
    history = [*history, _entry(word, finished or started or now_us(), code, message)]
    # Only a failure is an error; a cancelled operation carries its code in the history (errors.md).
    failed = status == "Failed"
    tx.execute(
        "UPDATE operations SET status=:status, history=:history, started=coalesce(started, :started),"
        " finished=:finished, error_code=:code, error_message=:message WHERE pk=:pk",
        {
            "pk": operation.pk,
            "status": status,
            "history": json.dumps(list(history)),
            "started": started,
            "finished": finished,
            "code": code if failed else None,
            "message": message if failed else None,
        },
    )
