"""What became of each item of an operation, and how an operation ends with its items.

States of an item: ``pending → running → succeeded | skipped | failed | canceled`` (a skipped one counts as succeeded).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graticule.database import Connection, Row
from graticule.errors import CanceledOperation, ErrorsInBatch, GraticuleError
from graticule.stac.datetimes import now_us
from graticule.workflows import journal
from graticule.workflows.asset_entries import LONGEST_MESSAGE, retriable_flag
from graticule.workflows.journal import Operation

STATES = ("pending", "running", "succeeded", "skipped", "failed", "canceled")

#: Rows of detail that one transaction forgets.
_FOLD_ITEMS = 1000
#: Failures that a batch's own message tells of, and characters of each.
_NAMED_FAILURES = 5
_LONGEST_FAILURE = 500


@dataclass(frozen=True)
class ItemEntry:
    """An item of an operation, as it stands."""

    seq: int
    item_id: str | None
    state: str
    code: str | None
    message: str | None
    attempts: int
    crashes: int
    started: int | None
    finished: int | None
    retriable: bool | None = None  #: of a failure: may the same work succeed later?
    source: str | None = None  #: where its document came from, without the query
    warnings: Sequence[Mapping[str, str]] = ()  #: what its owner should know: path, rule and message of each

    @property
    def is_open(self) -> bool:
        """Has it not ended?"""
        return self.state in {"pending", "running"}


def add(tx: Connection, pk: int, items: Iterable[tuple[int, str | None, bytes | None]]) -> None:
    """Write down items as (sequence number, id, sealed document); None where nothing is left to do with it."""
    items = list(items)
    entries = [(pk, seq, item_id, "pending") for seq, item_id, _ in items]
    tx.insert("operation_items", ("operation", "seq", "item_id", "state"), entries)
    documents = [(pk, seq, sealed) for seq, _, sealed in items if sealed is not None]
    tx.insert("submissions", ("operation", "seq", "sealed"), documents)


def add_succeeded(
    tx: Connection, pk: int, items: Sequence[tuple[int, str | None, Sequence[Mapping[str, str]]]]
) -> None:
    """Write down items that succeeded in this very transaction: number, id, warnings; ends as `end` does."""
    if not items:
        return
    now = now_us()
    tx.insert(
        "operation_items",
        ("operation", "seq", "item_id", "state", "finished", "warnings"),
        [(pk, seq, item_id, "succeeded", now, _packed(warnings)) for seq, item_id, warnings in items],
    )
    tx.execute("UPDATE operations SET succeeded=succeeded+:count WHERE pk=:pk", {"count": len(items), "pk": pk})
    if (operation := journal.by_pk(tx, pk)) is not None:
        end_operation_if_complete(tx, operation)


_ENTRY = "seq, item_id, state, code, message, attempts, crashes, started, finished, retriable, source, warnings"


def get(tx: Connection, pk: int, seq: int) -> ItemEntry | None:
    """One item of an operation, or None."""
    row = tx.one(f"SELECT {_ENTRY} FROM operation_items WHERE operation=:pk AND seq=:seq", {"pk": pk, "seq": seq})
    return None if row is None else _item_entry(row)


def listing(tx: Connection, pk: int, *, state: str | None = None, limit: int = 100, after: int = -1) -> list[ItemEntry]:
    """Items of an operation in the order they were sent, optionally only those in one state."""
    condition = "" if state is None else " AND state=:state"
    rows = tx.all(
        f"SELECT {_ENTRY} FROM operation_items WHERE operation=:pk AND seq>:after{condition} ORDER BY seq LIMIT :limit",
        {"pk": pk, "state": state, "limit": limit, "after": after},
    )
    return [_item_entry(row) for row in rows]


def document(tx: Connection, pk: int, seq: int) -> bytes | None:
    """The sealed document of an item that has not ended."""
    sealed: bytes | None = tx.value(
        "SELECT sealed FROM submissions WHERE operation=:pk AND seq=:seq", {"pk": pk, "seq": seq}
    )
    return sealed


def erase_document(tx: Connection, pk: int, seq: int) -> None:
    """Forget what was submitted for an item."""
    tx.execute("DELETE FROM submissions WHERE operation=:pk AND seq=:seq", {"pk": pk, "seq": seq})


def erase_documents_of_canceled(tx: Connection, pk: int, limit: int) -> int:
    """Forget what was submitted for some of the items that were cancelled; answers for how many."""
    return tx.execute(
        "DELETE FROM submissions WHERE operation=:pk AND seq IN (SELECT s.seq FROM submissions s JOIN operation_items i"
        " ON i.operation=s.operation AND i.seq=s.seq WHERE s.operation=:pk AND i.state='canceled' LIMIT :limit)",
        {"pk": pk, "limit": limit},
    )


def in_hand(tx: Connection, collection_id: str) -> bool:
    """Does a worker still hold an item of this collection?"""
    return (
        tx.value(
            "SELECT 1 FROM operations o JOIN operation_items i ON i.operation=o.pk"
            " WHERE o.collection_id=:collection AND o.status IN ('Running', 'Canceling') AND i.state='running' LIMIT 1",
            {"collection": collection_id},
        )
        is not None
    )


def in_hand_from(tx: Connection, pk: int, first: int) -> tuple[int, int] | None:
    """The only item that is running among those from a number on, as (operation, number)."""
    rows = tx.all(
        "SELECT seq FROM operation_items WHERE operation=:pk AND state='running' AND seq>=:first LIMIT 2",
        {"pk": pk, "first": first},
    )
    return (pk, rows[0]["seq"]) if len(rows) == 1 else None


def has_open(tx: Connection, pk: int) -> bool:
    """Is one left that has not ended?"""
    return any(
        tx.one("SELECT 1 FROM operation_items WHERE operation=:pk AND state=:state LIMIT 1", {"pk": pk, "state": state})
        for state in ("running", "pending")
    )


def start(tx: Connection, pk: int, seq: int) -> None:
    """A worker has it in hand (again)."""
    tx.execute(
        "UPDATE operation_items SET state='running', attempts=attempts+1, started=coalesce(started, :now)"
        " WHERE operation=:pk AND seq=:seq AND state IN ('pending', 'running')",
        {"pk": pk, "seq": seq, "now": now_us()},
    )


def postpone(tx: Connection, pk: int, seq: int, until: int) -> None:
    """Put an item back that has not ended: it is pending, and nobody takes it up before this time (µs since 1970)."""
    tx.execute(
        "UPDATE operation_items SET state='pending', retry_at=:until"
        " WHERE operation=:pk AND seq=:seq AND state IN ('pending', 'running')",
        {"pk": pk, "seq": seq, "until": until},
    )


def count_crash(tx: Connection, pk: int, seq: int) -> int:
    """The item's own conversion, or the worker that had nothing else in hand, died; answers how often by now."""
    return int(
        tx.all(
            "UPDATE operation_items SET crashes=crashes+1 WHERE operation=:pk AND seq=:seq RETURNING crashes",
            {"pk": pk, "seq": seq},
        )[0][0]
    )


def end(
    tx: Connection,
    pk: int,
    seq: int,
    error: GraticuleError | None = None,
    *,
    skipped: bool = False,
    keep_failed: bool = False,
    warnings: Sequence[Mapping[str, str]] = (),
) -> Operation | None:
    """The item succeeded, was skipped, or failed for this reason (`CanceledOperation`: was cancelled).

    Erases its document, unless that of a failed one is to be kept, and ends the operation with its last item. An item
    that has ended stays as it is. `warnings` have path, rule and message. Answers the operation as it now stands.
    """
    state = "succeeded" if error is None else "canceled" if isinstance(error, CanceledOperation) else "failed"
    changed = tx.execute(
        "UPDATE operation_items SET state=:state, code=:code, message=:message, finished=:now, retriable=:retriable,"
        " warnings=:warnings WHERE operation=:pk AND seq=:seq AND state IN ('pending', 'running')",
        {
            "pk": pk,
            "seq": seq,
            "state": "skipped" if skipped else state,
            "code": None if error is None else error.code,
            "message": None if error is None else error.message[:LONGEST_MESSAGE],
            "retriable": retriable_flag(error),
            "warnings": _packed(warnings),
            "now": now_us(),
        },
    )
    if not (keep_failed and state == "failed"):
        erase_document(tx, pk, seq)
    if changed:
        count = f"{state}={state}+1" + (", skipped=skipped+1" if skipped else "")
        tx.execute(f"UPDATE operations SET {count} WHERE pk=:pk", {"pk": pk})
    operation = journal.by_pk(tx, pk)
    if operation is not None and changed:
        end_operation_if_complete(tx, operation)
        operation = journal.by_pk(tx, pk)
    return operation


def close(tx: Connection, pk: int) -> None:
    """All items of an open operation were found: it ends when they have."""
    tx.execute("UPDATE operations SET open=0 WHERE pk=:pk", {"pk": pk})
    if (operation := journal.by_pk(tx, pk)) is not None:
        end_operation_if_complete(tx, operation)


def end_operation_if_complete(tx: Connection, operation: Operation) -> None:
    """End an operation whose items have all ended."""
    if operation.is_terminal or operation.total is None or operation.open:
        return
    ended = operation.succeeded + operation.failed + operation.canceled >= operation.total
    # The total of a cancelled one may count items that were never written down.
    if not ended and (operation.status != "Canceling" or has_open(tx, operation.pk)):
        return
    if operation.status == "Canceling" or operation.canceled:
        journal.end_cancel(tx, operation)
    elif operation.failed == 0:
        journal.succeed(tx, operation)
    elif operation.total == 1:
        only = listing(tx, operation.pk, state="failed", limit=1)[0]
        journal.fail_with(tx, operation, only.code or "InternalError", only.message or "")
    else:
        journal.fail_with(tx, operation, ErrorsInBatch.code, _batch_message(tx, operation))


def fold(tx: Connection, *, older_than: float, limit: int) -> int:
    """Forget what became of each item and asset of operations that ended so long ago (seconds); the counts stay.

    Looks at so many operations, the oldest, and forgets some items of each; answers how many operations had any.
    """
    rows = tx.all(
        "SELECT pk FROM operations WHERE finished<:before AND pk IN"
        " (SELECT DISTINCT operation FROM operation_items ORDER BY operation LIMIT :limit)",
        {"before": now_us() - int(older_than * 1_000_000), "limit": limit},
    )
    left = _FOLD_ITEMS
    for row in rows:
        seqs = tx.all(
            "DELETE FROM operation_items WHERE operation=:pk AND seq IN"
            " (SELECT seq FROM operation_items WHERE operation=:pk ORDER BY seq LIMIT :limit) RETURNING seq",
            {"pk": row["pk"], "limit": left},
        )
        last = max((seq[0] for seq in seqs), default=-1)
        for table in ("operation_assets", "submissions"):
            tx.execute(f"DELETE FROM {table} WHERE operation=:pk AND seq<=:last", {"pk": row["pk"], "last": last})
        left -= len(seqs)
        if left <= 0:
            break
    return len(rows)


def _packed(warnings: Sequence[Mapping[str, str]]) -> str | None:
    return json.dumps([dict(warning) for warning in warnings]) if warnings else None


def _item_entry(row: Row) -> ItemEntry:
    retriable: int | None = row["retriable"]
    warnings = json.loads(row["warnings"] or "[]")
    facts: tuple[Any, ...] = (*row[:9], None if retriable is None else bool(retriable), row["source"], warnings)
    return ItemEntry(*facts)


def _batch_message(tx: Connection, operation: Operation) -> str:
    failures = listing(tx, operation.pk, state="failed", limit=_NAMED_FAILURES)
    named = "; ".join(
        f"item {entry.item_id or entry.seq!r}: {entry.code}: {(entry.message or '')[:_LONGEST_FAILURE]}"
        for entry in failures
    )
    more = operation.failed - len(failures)
    rest = f"; and {more} more" if more > 0 else ""
    return f"{operation.failed} of {operation.total} items failed: {named}{rest}"
