"""The journal of operations: what was asked, how far it is, and what became of each item and asset.

These rows are what clients poll (api.md 3.4: `Operation`), and what a restarted worker continues from. Every function
works inside the caller's transaction, so that an operation's progress commits together with the work it reports.

States of an operation: ``Pending → Running → Succeeded | Failed``, and ``→ Canceling → Canceled`` once cancelled; of an
item: ``pending → running → succeeded | skipped | failed | canceled`` (a skipped one counts as succeeded).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graticule.database import Connection, Row
from graticule.errors import CanceledOperation, ErrorsInBatch, GraticuleError, IngestionError, NotFound
from graticule.stac.datetimes import now_us

#: Statuses that an operation never leaves.
TERMINAL = frozenset({"Succeeded", "Failed", "Canceled"})
#: The type of operations that build or remove the index of a queryable: their items do not wait to be ingested.
INDEX_QUERYABLE = "IndexQueryable"
#: The same of those that work out the words of older items.
INDEX_WORDS = "IndexWords"
#: Of an item.
ITEM_STATES = ("pending", "running", "succeeded", "skipped", "failed", "canceled")
STATUSES = ("Pending", "Running", "Succeeded", "Canceled", "Canceling", "Failed")


#: Operations, and about as many items, that one transaction cancels.
_CANCEL_SLICE = 100
_CANCEL_ITEMS = 1000
#: Rows of detail that one transaction forgets.
_FOLD_ITEMS = 1000
#: Failures that a batch's own message tells of, and characters of each.
_NAMED_FAILURES = 5
_LONGEST_FAILURE = 500
#: Of an item, characters.
_LONGEST_MESSAGE = 2000


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


@dataclass(frozen=True)
class StoredAsset:
    """An asset whose bytes are in managed storage."""

    asset_key: str
    outcome: str  #: converted, copied, untouched, packed or referenced
    container: str
    key: str
    media_type: str | None
    bytes_in: int
    bytes_out: int
    sha256: str
    source: str = ""  #: the href without its query
    attempts: int = 1
    milliseconds: int = 0
    facts: Mapping[str, Any] | None = None  #: of a raster: what it is, as the stored file says
    cube: Mapping[str, Any] | None = None  #: of a manifest: what it says of its data cube; not kept here


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


# --- operations ------------------------------------------------------------------------------------------------------


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
    """Write down a new operation, Pending. A `still_open` one does not end before `close`."""
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


def close(tx: Connection, pk: int) -> None:
    """All items of an open operation were found: it ends when they have."""
    tx.execute("UPDATE operations SET open=0 WHERE pk=:pk", {"pk": pk})
    if (operation := by_pk(tx, pk)) is not None:
        end_if_complete(tx, operation)


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
    if operation.started is None:
        start(tx, operation)
        operation = _again(tx, operation)
    _move(tx, operation, "Succeeded", word="Finished", finished=now_us())


def fail(tx: Connection, operation: Operation, error: GraticuleError) -> None:
    """It failed, for this reason."""
    if operation.started is None:
        start(tx, operation)
        operation = _again(tx, operation)
    _move(tx, operation, "Failed", finished=now_us(), error=error)


def cancel(tx: Connection, operation: Operation) -> None:
    """Stop an operation: items that wait end at once, those in a worker's hands when it next looks.

    A finished operation is left as it is. The documents of cancelled items are erased one by one, by the jobs that
    find them ended: to erase a large post at once would keep other writers waiting.
    """
    if operation.is_terminal or operation.status == "Canceling":
        return
    cancel_waiting(tx, operation.pk, _CANCEL_ITEMS)
    operation = _again(tx, operation)
    # More than one transaction should cancel, or still to be found: the jobs of the operation do the rest.
    if operation.open or _has_open_items(tx, operation.pk):
        _move(tx, operation, "Canceling")
    else:
        end_cancel(tx, operation)


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
        "SELECT * FROM operations WHERE status IN ('Pending', 'Running') AND total IS NOT NULL AND accepted=1"
        f" AND pk<:below{where} ORDER BY pk DESC LIMIT :limit",
        {"collection": collection_id, "below": 2**62 if below is None else below, "limit": _CANCEL_SLICE},
    )
    items = 0
    for row in rows:
        operation = _operation(row)
        cancel(tx, operation)
        items += operation.total or 0
        if items >= _CANCEL_ITEMS:
            return operation.pk
    return _operation(rows[-1]).pk if len(rows) == _CANCEL_SLICE else None


def end_cancel(tx: Connection, operation: Operation) -> None:
    """Nothing of a cancelled operation runs any more."""
    _move(tx, operation, "Canceled", finished=now_us(), error=canceled(operation))


def canceled(operation: Operation) -> CanceledOperation:
    """What ends the items of a cancelled operation."""
    return CanceledOperation(_canceled_message(operation))


def check_not_canceled(operation: Operation) -> None:
    """Refuse to go on with a cancelled operation.

    Raises:
        CanceledOperation: it is cancelled, or about to be.
    """
    if operation.status in {"Canceling", "Canceled"}:
        raise canceled(operation)


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


# --- items of an operation -------------------------------------------------------------------------------------------


def add_items(tx: Connection, pk: int, items: Iterable[tuple[int, str | None, bytes | None]]) -> None:
    """Write down items as (sequence number, id, sealed document); None where nothing is left to do with it."""
    items = list(items)
    tx.execute_many(
        "INSERT INTO operation_items(operation, seq, item_id, state) VALUES(?, ?, ?, 'pending')",
        [(pk, seq, item_id) for seq, item_id, _ in items],
    )
    tx.execute_many(
        "INSERT INTO submissions(operation, seq, sealed) VALUES(?, ?, ?)",
        [(pk, seq, sealed) for seq, _, sealed in items if sealed is not None],
    )


def add_succeeded(
    tx: Connection, pk: int, items: Sequence[tuple[int, str | None, Sequence[Mapping[str, str]]]]
) -> None:
    """Write down items that succeeded in this very transaction: number, id, warnings; ends as `end_item` does."""
    if not items:
        return
    now = now_us()
    tx.execute_many(
        "INSERT INTO operation_items(operation, seq, item_id, state, finished, warnings)"
        " VALUES(?, ?, ?, 'succeeded', ?, ?)",
        [(pk, seq, item_id, now, _packed(warnings)) for seq, item_id, warnings in items],
    )
    tx.execute("UPDATE operations SET succeeded=succeeded+:count WHERE pk=:pk", {"count": len(items), "pk": pk})
    if (operation := by_pk(tx, pk)) is not None:
        end_if_complete(tx, operation)


def _packed(warnings: Sequence[Mapping[str, str]]) -> str | None:
    return json.dumps([dict(warning) for warning in warnings]) if warnings else None


_ENTRY = "seq, item_id, state, code, message, attempts, crashes, started, finished, retriable, source, warnings"


def _item_entry(row: Row) -> ItemEntry:
    retriable: int | None = row["retriable"]
    warnings = json.loads(row["warnings"] or "[]")
    facts: tuple[Any, ...] = (*row[:9], None if retriable is None else bool(retriable), row["source"], warnings)
    return ItemEntry(*facts)


def item(tx: Connection, pk: int, seq: int) -> ItemEntry | None:
    """One item of an operation, or None."""
    row = tx.one(f"SELECT {_ENTRY} FROM operation_items WHERE operation=:pk AND seq=:seq", {"pk": pk, "seq": seq})
    return None if row is None else _item_entry(row)


def items(tx: Connection, pk: int, *, state: str | None = None, limit: int = 100, after: int = -1) -> list[ItemEntry]:
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


def items_in_hand(tx: Connection, collection_id: str) -> bool:
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


def start_item(tx: Connection, pk: int, seq: int) -> None:
    """A worker has it in hand (again)."""
    tx.execute(
        "UPDATE operation_items SET state='running', attempts=attempts+1, started=coalesce(started, :now)"
        " WHERE operation=:pk AND seq=:seq AND state IN ('pending', 'running')",
        {"pk": pk, "seq": seq, "now": now_us()},
    )


def postpone_item(tx: Connection, pk: int, seq: int, until: int) -> None:
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


def end_item(
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
            "message": None if error is None else error.message[:_LONGEST_MESSAGE],
            "retriable": _retriable(error),
            "warnings": _packed(warnings),
            "now": now_us(),
        },
    )
    if not (keep_failed and state == "failed"):
        erase_document(tx, pk, seq)
    if changed:
        count = f"{state}={state}+1" + (", skipped=skipped+1" if skipped else "")
        tx.execute(f"UPDATE operations SET {count} WHERE pk=:pk", {"pk": pk})
    operation = by_pk(tx, pk)
    if operation is not None and changed:
        end_if_complete(tx, operation)
        operation = by_pk(tx, pk)
    return operation


def end_if_complete(tx: Connection, operation: Operation) -> None:
    """End an operation whose items have all ended."""
    if operation.is_terminal or operation.total is None or operation.open:
        return
    ended = operation.succeeded + operation.failed + operation.canceled >= operation.total
    # The total of a cancelled one may count items that were never written down.
    if not ended and (operation.status != "Canceling" or _has_open_items(tx, operation.pk)):
        return
    if operation.status == "Canceling" or operation.canceled:
        end_cancel(tx, operation)
    elif operation.failed == 0:
        succeed(tx, operation)
    elif operation.total == 1:
        only = items(tx, operation.pk, state="failed", limit=1)[0]
        _fail_with(tx, operation, only.code or "InternalError", only.message or "")
    else:
        _fail_with(tx, operation, ErrorsInBatch.code, _batch_message(tx, operation))


# --- assets of an item -----------------------------------------------------------------------------------------------


def asset_stored(tx: Connection, pk: int, seq: int, asset: StoredAsset) -> None:
    """An asset's bytes are safe; a later attempt does not fetch it again."""
    tx.execute(
        "INSERT INTO operation_assets(operation, seq, asset_key, source, outcome, attempts, bytes_in, bytes_out,"
        " sha256, media_type, container, key, milliseconds, facts) VALUES(:pk, :seq, :asset_key, :source, :outcome,"
        " :attempts, :bytes_in, :bytes_out, :sha256, :media_type, :container, :key, :milliseconds, :facts)"
        " ON CONFLICT(operation, seq, asset_key) DO UPDATE SET outcome=excluded.outcome, attempts=excluded.attempts,"
        " code=NULL, message=NULL, retriable=NULL, bytes_in=excluded.bytes_in, bytes_out=excluded.bytes_out,"
        " sha256=excluded.sha256, media_type=excluded.media_type, container=excluded.container, key=excluded.key,"
        " milliseconds=excluded.milliseconds, facts=excluded.facts",
        {"pk": pk, "seq": seq, **vars(asset), "facts": None if asset.facts is None else json.dumps(dict(asset.facts))},
    )


def asset_failed(tx: Connection, pk: int, seq: int, asset_key: str, source: str, error: GraticuleError) -> None:
    """An asset could not be brought in."""
    tx.execute(
        "INSERT INTO operation_assets(operation, seq, asset_key, source, outcome, code, message, retriable)"
        " VALUES(:pk, :seq, :asset_key, :source, 'failed', :code, :message, :retriable)"
        " ON CONFLICT(operation, seq, asset_key) DO UPDATE SET outcome='failed', code=excluded.code,"
        " message=excluded.message, retriable=excluded.retriable",
        {
            "pk": pk,
            "seq": seq,
            "asset_key": asset_key,
            "source": source,
            "code": error.code,
            "message": error.message[:_LONGEST_MESSAGE],
            "retriable": _retriable(error),
        },
    )


def stored_assets(tx: Connection, pk: int, seq: int) -> dict[str, StoredAsset]:
    """The assets of an item whose bytes are safe, by key."""
    rows = tx.all(
        "SELECT asset_key, outcome, container, key, media_type, bytes_in, bytes_out, sha256, source, attempts,"
        " milliseconds, facts FROM operation_assets WHERE operation=:pk AND seq=:seq AND outcome<>'failed'",
        {"pk": pk, "seq": seq},
    )
    found = {}
    for row in rows:
        members: tuple[Any, ...] = (*row[:-1], None if row["facts"] is None else json.loads(row["facts"]))
        found[row["asset_key"]] = StoredAsset(*members)
    return found


@dataclass(frozen=True)
class AssetEntry:
    """An asset of an operation's item, as a report tells of it."""

    asset_key: str
    outcome: str  #: converted, copied, untouched or failed; of a dry run: fetch, convert, failed
    source: str | None
    code: str | None
    message: str | None
    retriable: bool | None
    attempts: int
    bytes_in: int | None
    bytes_out: int | None
    sha256: str | None
    media_type: str | None
    milliseconds: int | None


def assets_between(tx: Connection, pk: int, first: int, last: int) -> dict[int, list[AssetEntry]]:
    """Assets of the items with these numbers, by number."""
    rows = tx.all(
        "SELECT seq, asset_key, outcome, source, code, message, retriable, attempts, bytes_in, bytes_out, sha256,"
        " media_type, milliseconds FROM operation_assets WHERE operation=:pk AND seq BETWEEN :first AND :last"
        " ORDER BY seq, asset_key",
        {"pk": pk, "first": first, "last": last},
    )
    found: dict[int, list[AssetEntry]] = {}
    for row in rows:
        flag = None if row["retriable"] is None else bool(row["retriable"])
        facts: tuple[Any, ...] = (*row[1:6], flag, *row[7:])
        found.setdefault(row["seq"], []).append(AssetEntry(*facts))
    return found


# --- inside ----------------------------------------------------------------------------------------------------------


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


def _has_open_items(tx: Connection, pk: int) -> bool:
    return any(
        tx.one("SELECT 1 FROM operation_items WHERE operation=:pk AND state=:state LIMIT 1", {"pk": pk, "state": state})
        for state in ("running", "pending")
    )


def _retriable(error: GraticuleError | None) -> int | None:
    return None if error is None else int(isinstance(error, IngestionError) and error.retriable)


def _again(tx: Connection, operation: Operation) -> Operation:
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


def _fail_with(tx: Connection, operation: Operation, code: str, message: str) -> None:
    if operation.started is None:
        start(tx, operation)
        operation = _again(tx, operation)
    _write(tx, operation, "Failed", "Failed", None, now_us(), code, message)


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


def _canceled_message(operation: Operation) -> str:
    collection = f" in collection '{operation.collection_id}'" if operation.collection_id else ""
    return f"Operation '{operation.id}'{collection} was cancelled."


def _batch_message(tx: Connection, operation: Operation) -> str:
    failures = items(tx, operation.pk, state="failed", limit=_NAMED_FAILURES)
    named = "; ".join(
        f"item {entry.item_id or entry.seq!r}: {entry.code}: {(entry.message or '')[:_LONGEST_FAILURE]}"
        for entry in failures
    )
    more = operation.failed - len(failures)
    rest = f"; and {more} more" if more > 0 else ""
    return f"{operation.failed} of {operation.total} items failed: {named}{rest}"
