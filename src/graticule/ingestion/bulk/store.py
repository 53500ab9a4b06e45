"""The rows of ingestions, runs, walks and chunks. Every function works inside the caller's transaction."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graticule.database import Connection, Row
from graticule.errors import NotFound
from graticule.ingestion.bulk.models import Definition, ImportType, Ingestion, Plan, Run
from graticule.stac.datetimes import now_us
from graticule.workflows import item_entries, journal
from graticule.workflows.journal import Operation

# --- ingestions


def add_ingestion(tx: Connection, collection_id: str, definition: Definition, sealed: bytes) -> Ingestion:
    """Write down a new definition; `sealed` is its URL."""
    ingestion_id = str(uuid.uuid4())
    tx.execute(
        "INSERT INTO ingestions(id, collection_id, import_type, display_name, url, source, skip_existing,"
        " keep_originals, created) VALUES(:id, :collection, :kind, :name, :url, :source, :skip, :keep, :created)",
        {"id": ingestion_id, "collection": collection_id, "created": now_us()} | _members(definition, sealed),
    )
    return ingestion(tx, collection_id, ingestion_id)


def update_ingestion(tx: Connection, pk: int, definition: Definition, sealed: bytes) -> None:
    """Change a definition; runs keep what they were made with."""
    tx.execute(
        "UPDATE ingestions SET import_type=:kind, display_name=:name, url=:url, source=:source, skip_existing=:skip,"
        " keep_originals=:keep WHERE pk=:pk",
        {"pk": pk} | _members(definition, sealed),
    )


def ingestion(tx: Connection, collection_id: str, ingestion_id: str) -> Ingestion:
    """One definition. Raises NotFound."""
    row = tx.one(
        "SELECT * FROM ingestions WHERE id=:id AND collection_id=:collection",
        {"id": ingestion_id, "collection": collection_id},
    )
    if row is None:
        raise NotFound(
            f"Ingestion '{ingestion_id}' does not exist in collection '{collection_id}'.", target="ingestionId"
        )
    return _ingestion(row)


def ingestions(tx: Connection, collection_id: str, *, top: int, skip: int) -> list[Ingestion]:
    """Definitions of a collection, newest first."""
    rows = tx.all(
        "SELECT * FROM ingestions WHERE collection_id=:collection ORDER BY pk DESC LIMIT :top OFFSET :skip",
        {"collection": collection_id, "top": top, "skip": skip},
    )
    return [_ingestion(row) for row in rows]


def remove_ingestion(tx: Connection, pk: int) -> None:
    """Forget a definition and its runs; their operations stay as a record of what was done."""
    tx.execute("DELETE FROM ingestion_runs WHERE ingestion=:pk", {"pk": pk})
    tx.execute("DELETE FROM ingestions WHERE pk=:pk", {"pk": pk})


def forget_ingestions(tx: Connection, collection_id: str) -> None:
    """Forget all definitions of a collection that is being deleted; one with a run that is still ending, later."""
    unfinished = (
        "EXISTS (SELECT 1 FROM ingestion_runs r JOIN operations o ON o.pk=r.operation WHERE r.ingestion=ingestions.pk"
        " AND o.status IN ('Pending', 'Running', 'Canceling'))"
    )
    tx.execute(
        f"UPDATE ingestions SET collection_id='' WHERE collection_id=:collection AND {unfinished}",
        {"collection": collection_id},
    )
    rows = tx.all(
        f"SELECT pk FROM ingestions WHERE collection_id=:collection OR (collection_id='' AND NOT {unfinished})",
        {"collection": collection_id},
    )
    for row in rows:
        remove_ingestion(tx, row["pk"])


# --- runs


def add_run(
    tx: Connection, ingestion: Ingestion, *, dry: bool = False, parent: str | None = None, total: int = 0
) -> Run:
    """Write down a run with the options as they are now, and its operation."""
    kind = f"Ingestion{ingestion.import_type}" + ("DryRun" if dry else "")
    information = {"IngestionId": ingestion.id} | ({} if parent is None else {"ParentRunId": parent})
    operation = journal.create(tx, kind, ingestion.collection_id, total=total, still_open=True, information=information)
    tx.execute(
        "INSERT INTO ingestion_runs(operation, ingestion, parent, import_type, url, source, skip_existing,"
        " keep_originals, dry) VALUES(:operation, :ingestion, :parent, :kind, :url, :source, :skip, :keep, :dry)",
        {
            "operation": operation.pk,
            "ingestion": ingestion.pk,
            "parent": parent,
            "kind": str(ingestion.import_type),
            "url": ingestion.url,
            "source": ingestion.source,
            "skip": int(ingestion.skip_existing),
            "keep": int(ingestion.keep_originals),
            "dry": int(dry),
        },
    )
    found = run(tx, operation.pk)
    assert found is not None
    return found


def run(tx: Connection, pk: int) -> Run | None:
    """The run of an operation, or None: it has none (any more)."""
    row = tx.one(f"{_RUNS} WHERE r.operation=:pk", {"pk": pk})
    return None if row is None else _run(tx, row)


def run_of(tx: Connection, ingestion: Ingestion, run_id: str) -> Run:
    """One run of an ingestion. Raises NotFound."""
    row = tx.one(f"{_RUNS} WHERE o.id=:id AND r.ingestion=:ingestion", {"id": run_id, "ingestion": ingestion.pk})
    if row is None:
        raise NotFound(f"Run '{run_id}' does not exist in ingestion '{ingestion.id}'.", target="runId")
    return _run(tx, row)


def runs(tx: Connection, ingestion: Ingestion, *, top: int, skip: int) -> list[Run]:
    """Runs of an ingestion, newest first."""
    rows = tx.all(
        f"{_RUNS} WHERE r.ingestion=:ingestion ORDER BY r.operation DESC LIMIT :top OFFSET :skip",
        {"ingestion": ingestion.pk, "top": top, "skip": skip},
    )
    return [_run(tx, row) for row in rows]


def unfinished_runs(tx: Connection, ingestion: Ingestion | None = None) -> int:
    """How many runs have not ended, of an ingestion or of all."""
    only = "" if ingestion is None else " AND r.ingestion=:ingestion"
    return int(
        tx.value(
            "SELECT count(*) FROM operations o JOIN ingestion_runs r ON r.operation=o.pk"
            f" WHERE o.status IN ('Pending', 'Running', 'Canceling'){only}",
            {"ingestion": None if ingestion is None else ingestion.pk},
        )
    )


def plan_of(tx: Connection, pk: int) -> Plan:
    """What a dry run found so far, of assets."""
    row = tx.one(
        "SELECT coalesce(sum(CASE WHEN outcome<>'failed' THEN 1 ELSE 0 END), 0),"
        " coalesce(sum(CASE WHEN outcome='convert' THEN 1 ELSE 0 END), 0),"
        " coalesce(sum(CASE WHEN outcome='failed' THEN 1 ELSE 0 END), 0),"
        " coalesce(sum(CASE WHEN outcome<>'failed' AND bytes_in IS NULL THEN 1 ELSE 0 END), 0),"
        " coalesce(sum(CASE WHEN outcome<>'failed' THEN bytes_in ELSE 0 END), 0)"
        " FROM operation_assets WHERE operation=:pk",
        {"pk": pk},
    )
    assert row is not None
    return Plan(*(int(value) for value in row))


# --- the walk


def next_turn(tx: Connection, pk: int) -> int:
    """Make jobs of the walk that were deferred before old ones."""
    return int(tx.all("UPDATE ingestion_runs SET turn=turn+1 WHERE operation=:pk RETURNING turn", {"pk": pk})[0][0])


def move(tx: Connection, pk: int, position: int) -> None:
    """Rows of the table, or items of the parent, up to here are written down."""
    tx.execute("UPDATE ingestion_runs SET position=:position WHERE operation=:pk", {"pk": pk, "position": position})


@dataclass(frozen=True, slots=True)
class Document:
    """A Catalog or Collection that waits to be read."""

    hash: bytes
    depth: int
    #: Its URL.
    sealed: bytes


def document_to_read(tx: Connection, pk: int) -> Document | None:
    """The next one, the highest first."""
    row = tx.one(
        "SELECT hash, depth, sealed FROM run_links WHERE operation=:pk AND sealed IS NOT NULL"
        " ORDER BY depth, hash LIMIT 1",
        {"pk": pk},
    )
    return None if row is None else Document(bytes(row["hash"]), row["depth"], bytes(row["sealed"]))


def document_was_read(tx: Connection, pk: int, hash_: bytes) -> None:
    """It is not read again."""
    tx.execute("UPDATE run_links SET sealed=NULL WHERE operation=:pk AND hash=:hash", {"pk": pk, "hash": hash_})


def note_link(tx: Connection, pk: int, hash_: bytes, *, depth: int = 0, sealed: bytes | None = None) -> bool:
    """Remember that a link was met; False: it was met before."""
    return (
        tx.execute(
            "INSERT INTO run_links(operation, hash, depth, sealed) VALUES(:pk, :hash, :depth, :sealed)"
            " ON CONFLICT(operation, hash) DO NOTHING",
            {"pk": pk, "hash": hash_, "depth": depth, "sealed": sealed},
        )
        == 1
    )


def forget_links(tx: Connection, pk: int, limit: int) -> int:
    """Forget some of what the walk met; answers how many."""
    return tx.execute(
        "DELETE FROM run_links WHERE operation=:pk AND hash IN"
        " (SELECT hash FROM run_links WHERE operation=:pk LIMIT :limit)",
        {"pk": pk, "limit": limit},
    )


@dataclass(frozen=True, slots=True)
class Found:
    """An item that the walk found: what is needed to get it, sealed, and where it comes from, without the query."""

    sealed: bytes
    source: str | None


def add_found(tx: Connection, run: Run, found: Sequence[Found], *, counted: bool = True) -> int:
    """Write items down; answers the number of the first. `counted`: the operation's total grows with them."""
    first = int(
        tx.all(
            "UPDATE ingestion_runs SET added=added+:n WHERE operation=:pk RETURNING added",
            {"pk": run.pk, "n": len(found)},
        )[0][0]
    ) - len(found)
    item_entries.add(tx, run.pk, ((first + number, None, entry.sealed) for number, entry in enumerate(found)))
    tx.execute_many(
        "UPDATE operation_items SET source=? WHERE operation=? AND seq=?",
        [(entry.source, run.pk, first + number) for number, entry in enumerate(found) if entry.source is not None],
    )
    if counted:
        grow(tx, run.pk, len(found))
    return first


def grow(tx: Connection, pk: int, more: int) -> None:
    """The operation has more items than it was known to have."""
    tx.execute("UPDATE operations SET total=total+:n WHERE pk=:pk", {"pk": pk, "n": more})


def name_item(tx: Connection, pk: int, seq: int, item_id: str) -> None:
    """The id of an item, once its document is there."""
    tx.execute(
        "UPDATE operation_items SET item_id=:id WHERE operation=:pk AND seq=:seq",
        {"pk": pk, "seq": seq, "id": item_id},
    )


def planned_asset(
    tx: Connection, pk: int, seq: int, key: str, *, outcome: str, source: str, size: int | None, media_type: str | None
) -> None:
    """What a run would do with an asset: fetch it, or fetch and convert it."""
    tx.execute(
        "INSERT INTO operation_assets(operation, seq, asset_key, source, outcome, attempts, bytes_in, media_type)"
        " VALUES(:pk, :seq, :key, :source, :outcome, 1, :size, :type) ON CONFLICT(operation, seq, asset_key) DO UPDATE"
        " SET outcome=excluded.outcome, bytes_in=excluded.bytes_in, code=NULL, message=NULL, retriable=NULL",
        {
            "pk": pk,
            "seq": seq,
            "key": key,
            "source": source,
            "outcome": outcome,
            "size": size,
            "type": media_type,
        },
    )


def is_repeated(tx: Connection, pk: int, seq: int, item_id: str) -> bool:
    """Has another item of the run this id? The first one that begins has it."""
    return (
        tx.one(
            "SELECT 1 FROM operation_items WHERE operation=:pk AND item_id=:id AND seq<>:seq LIMIT 1",
            {"pk": pk, "id": item_id, "seq": seq},
        )
        is not None
    )


def failed_after(tx: Connection, pk: int, seq: int, limit: int) -> list[tuple[int, str | None, bytes]]:
    """Failed items of a run whose documents are kept: number, source and document, in order."""
    rows = tx.all(
        "SELECT i.seq, i.source, s.sealed FROM operation_items i JOIN submissions s"
        " ON s.operation=i.operation AND s.seq=i.seq"
        " WHERE i.operation=:pk AND i.state='failed' AND i.seq>=:seq ORDER BY i.seq LIMIT :limit",
        {"pk": pk, "seq": seq, "limit": limit},
    )
    return [(row[0], row[1], bytes(row[2])) for row in rows]


# --- chunks


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items of a run that one job has in hand."""

    first: int
    last: int
    lane: int
    turn: int
    #: Its lane has gone on: what is left of it waits to be tried again.
    parked: bool = False


def chunk(tx: Connection, pk: int, first: int) -> Chunk | None:
    """A chunk, or None: it is done."""
    row = tx.one(
        "SELECT first, last, lane, turn, parked FROM run_chunks WHERE operation=:pk AND first=:first",
        {"pk": pk, "first": first},
    )
    return None if row is None else _chunk(row)


def chunks(tx: Connection, pk: int) -> list[Chunk]:
    """The chunks that are in work."""
    rows = tx.all("SELECT first, last, lane, turn, parked FROM run_chunks WHERE operation=:pk", {"pk": pk})
    return [_chunk(row) for row in rows]


def add_chunk(tx: Connection, pk: int, chunk: Chunk) -> None:
    """Hand items to a job."""
    tx.execute(
        "INSERT INTO run_chunks(operation, first, last, lane, turn) VALUES(:pk, :first, :last, :lane, :turn)",
        {"pk": pk, "first": chunk.first, "last": chunk.last, "lane": chunk.lane, "turn": chunk.turn},
    )
    tx.execute("UPDATE ingestion_runs SET handed=:n WHERE operation=:pk", {"pk": pk, "n": chunk.last + 1})


def turn_chunk(tx: Connection, pk: int, chunk: Chunk) -> Chunk:
    """Make jobs of the chunk that were deferred before old ones."""
    tx.execute(
        "UPDATE run_chunks SET turn=turn+1 WHERE operation=:pk AND first=:first", {"pk": pk, "first": chunk.first}
    )
    return dataclasses.replace(chunk, turn=chunk.turn + 1)


def park_chunk(tx: Connection, pk: int, chunk: Chunk) -> Chunk:
    """As `turn_chunk`, and its lane is free for others."""
    tx.execute("UPDATE run_chunks SET parked=1 WHERE operation=:pk AND first=:first", {"pk": pk, "first": chunk.first})
    return dataclasses.replace(turn_chunk(tx, pk, chunk), parked=True)


def _chunk(row: Row) -> Chunk:
    return Chunk(row[0], row[1], row[2], row[3], bool(row[4]))


def remove_chunk(tx: Connection, pk: int, first: int) -> None:
    """It is done."""
    tx.execute("DELETE FROM run_chunks WHERE operation=:pk AND first=:first", {"pk": pk, "first": first})


def open_items(tx: Connection, pk: int, chunk: Chunk, limit: int, *, due: int | None = None) -> list[int]:
    """Numbers of items of a chunk that have not ended; with a time (µs since 1970), those to be taken up by then."""
    when = "" if due is None else " AND (retry_at IS NULL OR retry_at<=:due)"
    rows: Iterable[Row] = tx.all(
        "SELECT seq FROM operation_items WHERE operation=:pk AND seq BETWEEN :first AND :last"
        f" AND state IN ('pending', 'running'){when} ORDER BY seq LIMIT :limit",
        {"pk": pk, "first": chunk.first, "last": chunk.last, "limit": limit, "due": due},
    )
    return [row[0] for row in rows]


def next_retry(tx: Connection, pk: int, chunk: Chunk) -> int | None:
    """When the first of a chunk's items is to be tried again, µs since 1970; None: none is."""
    at: int | None = tx.value(
        "SELECT min(retry_at) FROM operation_items WHERE operation=:pk AND seq BETWEEN :first AND :last"
        " AND state='pending'",
        {"pk": pk, "first": chunk.first, "last": chunk.last},
    )
    return at


# --- inside

_RUNS = (
    "SELECT o.id AS operation_id, i.id AS ingestion_id, r.parent, r.import_type, r.url, r.source, r.skip_existing,"
    " r.keep_originals, r.dry, r.turn, r.position, r.added, r.handed FROM ingestion_runs r"
    " JOIN operations o ON o.pk=r.operation JOIN ingestions i ON i.pk=r.ingestion"
)


def _members(definition: Definition, sealed: bytes) -> dict[str, Any]:
    return {
        "kind": str(definition.import_type),
        "name": definition.display_name,
        "url": definition.shown_url,
        "source": sealed,
        "skip": int(definition.skip_existing),
        "keep": int(definition.keep_originals),
    }


def _ingestion(row: Row) -> Ingestion:
    return Ingestion(
        pk=row["pk"],
        id=row["id"],
        collection_id=row["collection_id"],
        import_type=ImportType(row["import_type"]),
        display_name=row["display_name"],
        url=row["url"],
        source=bytes(row["source"]),
        skip_existing=bool(row["skip_existing"]),
        keep_originals=bool(row["keep_originals"]),
        created=row["created"],
    )


def _run(tx: Connection, row: Row) -> Run:
    operation: Operation = journal.get(tx, row["operation_id"])
    return Run(
        operation=operation,
        ingestion_id=row["ingestion_id"],
        parent=row["parent"],
        import_type=ImportType(row["import_type"]),
        url=row["url"],
        source=bytes(row["source"]),
        skip_existing=bool(row["skip_existing"]),
        keep_originals=bool(row["keep_originals"]),
        dry=bool(row["dry"]),
        turn=row["turn"],
        position=row["position"],
        added=row["added"],
        handed=row["handed"],
    )
