"""Owns: the record of every managed byte, in the table ``blobs``, and which container a collection has.

A blob's life: `plan` commits its row as staged, before any byte is written; `stored` notes what was written; `publish`
makes it live in the transaction that publishes the item; a bury function makes it dead; the sweep removes the bytes and
`settle` forgets the row. Every function takes the caller's transaction.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from graticule.database import Connection, Row
from graticule.errors import CanceledOperation, CollectionDoesNotExist, InternalError
from graticule.storage import layout

STAGED: Final = "staged"
LIVE: Final = "live"
DEAD: Final = "dead"

#: A blob that was buried while staged is swept again after this long, microseconds: its writer may have been at work.
GRACE: Final = 15 * 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """One row."""

    container: str
    key: str
    collection_id: str
    #: None: an asset of the collection itself.
    item_id: str | None
    #: The operation that wrote it.
    operation_id: str
    asset_key: str
    #: staged, live or dead.
    state: str
    #: Bytes; None until stored, as are checksum and ETag.
    size: int | None
    sha256: str | None
    media_type: str | None
    etag: str | None
    #: Microseconds since 1970.
    created: int
    updated: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The live blobs of a collection."""

    blobs: int
    bytes: int


_COLUMNS: Final = (
    "b.container, b.key, b.collection_id, b.item_id, b.operation_id, b.asset_key, b.state, b.size, b.sha256, "
    "b.media_type, b.etag, b.created, b.updated"
)


# --- containers


def open_container(tx: Connection, collection_id: str) -> str:
    """The container of a collection; a new one on first use, and after the collection was deleted."""
    container = container_of(tx, collection_id)
    if container is None:
        container = layout.container_name(collection_id)
        tx.execute(
            "INSERT INTO containers (container, collection_id, created) VALUES (:container, :collection, :now)",
            {"container": container, "collection": collection_id, "now": _now()},
        )
    return container


def container_of(tx: Connection, collection_id: str) -> str | None:
    """The container of a collection, if it has one."""
    found: str | None = tx.value(
        "SELECT container FROM containers WHERE collection_id = :collection AND dropped IS NULL",
        {"collection": collection_id},
    )
    return found


# --- a blob's life


def plan(
    tx: Connection,
    *,
    container: str,
    key: str,
    collection_id: str,
    item_id: str | None,
    operation_id: str,
    asset_key: str,
    media_type: str | None,
) -> BlobRecord:
    """Announce a blob before its bytes are written; the same again after a crash.

    Raises:
        CollectionDoesNotExist: the container is not that of a collection any more.
        CanceledOperation: the blob was buried since: nothing may be written under this key.
        InternalError: another operation's, or live already.
    """
    if container_of(tx, collection_id) != container:
        raise CollectionDoesNotExist(f"The collection {collection_id!r} does not exist: it was deleted meanwhile.")
    now = _now()
    tx.execute(
        "INSERT INTO blobs (container, key, collection_id, item_id, operation_id, asset_key, state, media_type, "
        "created, updated) VALUES (:container, :key, :collection, :item, :operation, :asset, 'staged', :media_type, "
        ":now, :now) ON CONFLICT (container, key) DO UPDATE SET media_type = excluded.media_type, updated = :now "
        "WHERE blobs.state = 'staged' AND blobs.operation_id = excluded.operation_id",
        {
            "container": container,
            "key": key,
            "collection": collection_id,
            "item": item_id,
            "operation": operation_id,
            "asset": asset_key,
            "media_type": media_type,
            "now": now,
        },
    )
    record = find(tx, container, key, states=(STAGED, LIVE, DEAD))
    if record is None or record.operation_id != operation_id or record.state == LIVE:
        raise InternalError(f"The name {container}/{key} is taken by another blob.")
    if record.state == DEAD:
        raise CanceledOperation(f"The operation {operation_id} was cancelled or given up.")
    return record


def stored(tx: Connection, container: str, key: str, *, size: int, sha256: str, etag: str | None) -> None:
    """Note what was written.

    Raises:
        CanceledOperation: the blob was buried meanwhile; the sweep removes the bytes.
    """
    changed = tx.execute(
        "UPDATE blobs SET size = :size, sha256 = :sha256, etag = :etag, updated = :now "
        "WHERE container = :container AND key = :key AND state = 'staged'",
        {"container": container, "key": key, "size": size, "sha256": sha256, "etag": etag, "now": _now()},
    )
    if not changed:
        raise CanceledOperation(f"The blob {container}/{key} was given up while it was written.")


def publish(tx: Connection, operation_id: str, item_id: str | None) -> int:
    """Make what an operation stored for an item (None: for the collection) live; answers how many blobs.

    Blobs that were planned but never stored are buried: a try may have planned another name than the one after it.
    """
    names = {"operation": operation_id, "item": item_id, "now": _now()}
    tx.execute(
        "UPDATE blobs SET state = 'dead', updated = :now WHERE operation_id = :operation "
        f"AND {_of(item_id)} AND state = 'staged' AND size IS NULL",
        names,
    )
    return tx.execute(
        "UPDATE blobs SET state = 'live', was_live = 1, updated = :now WHERE operation_id = :operation "
        f"AND {_of(item_id)} AND state = 'staged'",
        names,
    )


def bury_item(
    tx: Connection,
    collection_id: str,
    item_id: str,
    *,
    except_operation: str | None = None,
    keep: Collection[tuple[str, str]] = (),
) -> int:
    """Make an item's live blobs dead, before it is deleted or after it was replaced; answers how many.

    What other operations have staged for an item of this id is theirs and stays.

    Args:
        tx: the caller's transaction.
        collection_id: the item's collection.
        item_id: the item.
        except_operation: the operation that has just published it; its blobs stay.
        keep: (container, key) of blobs that the new document still names.
    """
    rows = tx.all(
        "SELECT container, key, operation_id FROM blobs "
        "WHERE collection_id = :collection AND item_id = :item AND state = 'live'",
        {"collection": collection_id, "item": item_id},
    )
    kept = set(keep)
    return sum(bury(tx, row[0], row[1]) for row in rows if row[2] != except_operation and (row[0], row[1]) not in kept)


def bury_operation(tx: Connection, operation_id: str, item_id: str | None = None) -> int:
    """Make what a failed or cancelled operation staged (for one item, or at all) dead; what it published stays."""
    return tx.execute(
        "UPDATE blobs SET state = 'dead', updated = :now WHERE operation_id = :operation AND state = 'staged' "
        + ("" if item_id is None else "AND item_id = :item"),
        {"operation": operation_id, "item": item_id, "now": _now()},
    )


def bury_collection(tx: Connection, collection_id: str) -> None:
    """Drop a collection's container: from here on its blobs are not found, and the sweep removes them.

    One row, however many blobs. A collection of the same id made afterwards has a container of its own.
    """
    tx.execute(
        "UPDATE containers SET dropped = :now WHERE collection_id = :collection AND dropped IS NULL",
        {"collection": collection_id, "now": _now()},
    )


def bury(tx: Connection, container: str, key: str) -> int:
    """Make one blob dead; answers 1, or 0 if it was already or does not exist."""
    return tx.execute(
        "UPDATE blobs SET state = 'dead', updated = :now WHERE container = :container AND key = :key "
        "AND state <> 'dead'",
        {"container": container, "key": key, "now": _now()},
    )


# --- questions


def find(tx: Connection, container: str, key: str, *, states: Sequence[str] = (LIVE,)) -> BlobRecord | None:
    """The record of a blob in one of these states; a dropped container has none but dead ones."""
    row = tx.one(
        f"SELECT {_COLUMNS}, c.dropped FROM blobs b LEFT JOIN containers c ON c.container = b.container "
        "WHERE b.container = :container AND b.key = :key",
        {"container": container, "key": key},
    )
    if row is None:
        return None
    record = _record(row)
    state = DEAD if row["dropped"] is not None else record.state
    return record if state in states else None


def of_item(tx: Connection, collection_id: str, item_id: str | None) -> list[BlobRecord]:
    """The live blobs of an item (None: of the collection itself), by key."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM blobs b JOIN containers c ON c.container = b.container AND c.dropped IS NULL "
        f"WHERE b.collection_id = :collection AND b.{_of(item_id)} "
        "AND b.state = 'live' ORDER BY b.container, b.key",
        {"collection": collection_id, "item": item_id},
    )
    return [_record(row) for row in rows]


def known(tx: Connection, names: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the names that have a record, in whatever state."""
    return {
        name
        for name in names
        if tx.value(
            "SELECT 1 FROM blobs WHERE container = :container AND key = :key", {"container": name[0], "key": name[1]}
        )
    }


def totals(tx: Connection) -> dict[str, Totals]:
    """Number and bytes of live blobs, by collection."""
    rows = tx.all(
        "SELECT b.collection_id, COUNT(*), COALESCE(SUM(b.size), 0) FROM blobs b "
        "JOIN containers c ON c.container = b.container AND c.dropped IS NULL "
        "WHERE b.state = 'live' GROUP BY b.collection_id"
    )
    return {row[0]: Totals(row[1], row[2]) for row in rows}


# --- for the sweep


def bury_dropped(tx: Connection, limit: int) -> int:
    """Make blobs of dropped containers dead, a slice at a time; answers how many."""
    return tx.execute(
        "UPDATE blobs SET state = 'dead', updated = :now WHERE (container, key) IN (SELECT b.container, b.key "
        "FROM containers c JOIN blobs b ON b.container = c.container "
        "WHERE c.dropped IS NOT NULL AND b.state <> 'dead' LIMIT :limit)",
        {"limit": limit, "now": _now()},
    )


def dead(tx: Connection, limit: int) -> list[BlobRecord]:
    """Dead blobs whose bytes are to be removed: for the first time, or once more after `GRACE`."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM blobs b WHERE b.state = 'dead' AND (b.swept IS NULL OR b.updated < :settled) "
        "ORDER BY b.updated LIMIT :limit",
        {"limit": limit, "settled": _now() - GRACE},
    )
    return [_record(row) for row in rows]


def forget(tx: Connection, records: Iterable[BlobRecord]) -> int:
    """The bytes of these dead blobs are removed: forget them; answers how many rows are gone.

    A blob that was staged when it was buried is kept until `GRACE` is over: should its writer have been at work, the
    bytes it writes still have a row, and go with the next sweep.
    """
    gone = 0
    for record in records:
        names = {"container": record.container, "key": record.key, "now": _now(), "settled": _now() - GRACE}
        deleted = tx.execute(
            "DELETE FROM blobs WHERE container = :container AND key = :key AND state = 'dead' "
            "AND (was_live = 1 OR updated < :settled)",
            names,
        )
        if not deleted:
            tx.execute(
                "UPDATE blobs SET swept = :now WHERE container = :container AND key = :key AND state = 'dead'", names
            )
        gone += deleted
    tx.execute(
        "DELETE FROM containers WHERE dropped IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.container = containers.container)"
    )
    return gone


def _of(item_id: str | None) -> str:
    """A condition on item_id; both databases use an index for it."""
    return "item_id IS NULL" if item_id is None else "item_id = :item"


def _record(row: Row) -> BlobRecord:
    return BlobRecord(*tuple(row)[:13])


def _now() -> int:
    return time.time_ns() // 1000
