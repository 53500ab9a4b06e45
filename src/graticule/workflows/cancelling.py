"""Cancelling operations: in slices, and what a worker has in hand ends when the worker next looks."""

from __future__ import annotations

from graticule.database import Connection
from graticule.stac.datetimes import now_us
from graticule.workflows import item_entries, journal
from graticule.workflows.journal import Operation

#: Operations, and about as many items, that one transaction cancels.
_CANCEL_SLICE = 100
_CANCEL_ITEMS = 1000


def cancel(tx: Connection, operation: Operation) -> None:
    """Stop an operation: items that wait end at once, those in a worker's hands when it next looks.

    A finished operation is left as it is. The documents of cancelled items are erased one by one, by the jobs that
    find them ended: to erase a large post at once would keep other writers waiting.
    """
    if operation.is_terminal or operation.status == "Canceling":
        return
    cancel_waiting(tx, operation.pk, _CANCEL_ITEMS)
    operation = journal.by_pk(tx, operation.pk) or operation
    # More than one transaction should cancel, or still to be found: the jobs of the operation do the rest.
    if operation.open or item_entries.has_open(tx, operation.pk):
        journal.begin_cancel(tx, operation)
    else:
        journal.end_cancel(tx, operation)


def cancel_waiting(tx: Connection, pk: int, limit: int) -> int:
    """Cancel at most so many items that wait; answers how many it were."""
    rows = tx.all(
        "UPDATE operation_items SET state='canceled', finished=:now WHERE operation=:pk AND seq IN"
        " (SELECT seq FROM operation_items WHERE operation=:pk AND state='pending' ORDER BY seq LIMIT :limit)"
        " RETURNING seq",
        {"pk": pk, "now": now_us(), "limit": limit},
    )
    tx.execute("UPDATE operations SET canceled=canceled+:n WHERE pk=:pk", {"pk": pk, "n": len(rows)})
    return len(rows)


def cancel_some(tx: Connection, *, collection_id: str | None = None, below: int | None = None) -> int | None:
    """Cancel a slice of the operations that carry items (of one collection, or of all), the newest first.

    Answers where the next slice begins, to be given as `below`; None when there is no more.
    """
    where = "" if collection_id is None else " AND collection_id=:collection"
    rows = tx.all(
        "SELECT pk, id FROM operations WHERE status IN ('Pending', 'Running') AND total IS NOT NULL AND accepted=1"
        f" AND pk<:below{where} ORDER BY pk DESC LIMIT :limit",
        {"collection": collection_id, "below": 2**62 if below is None else below, "limit": _CANCEL_SLICE},
    )
    items = 0
    for row in rows:
        operation = journal.get(tx, row["id"])
        cancel(tx, operation)
        items += operation.total or 0
        if items >= _CANCEL_ITEMS:
            return operation.pk
    return rows[-1]["pk"] if len(rows) == _CANCEL_SLICE else None
