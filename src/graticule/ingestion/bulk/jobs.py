"""The jobs of a run, and which items are handed to them when.

A run has at most one walk and, per lane, one chunk; one whose last items wait to be tried again is parked beside its
lane. What a job carries is the run and a turn: a job that was continued
by another one, but is run again after a crash, has an old turn and does nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from graticule.database import Connection
from graticule.ingestion.bulk import store
from graticule.ingestion.bulk.store import Chunk
from graticule.workflows import Engine, cancelling, item_entries

WALK: Final = "walk_run"
CHUNK: Final = "ingest_chunk"
AWAKENING: Final = "awaken_chunk"
TASKS: Final = (WALK, CHUNK, AWAKENING)
#: Items of a chunk, at most.
CHUNK_ITEMS: Final = 200
#: Behind single posts (10) and batches (0), before housekeeping.
PRIORITY: Final = -2


def defer_walk(engine: Engine, tx: Connection, pk: int, turn: int) -> None:
    """Have a worker walk on."""
    engine.defer(tx, WALK, [{"operation": pk, "turn": turn}], priority=PRIORITY)


def defer_chunk(engine: Engine, tx: Connection, pk: int, chunk: Chunk) -> None:
    """Have a worker take up a chunk (again). Chunks of one lane, of whichever runs, take turns."""
    ids = {"operation": pk, "first": chunk.first, "turn": chunk.turn}
    engine.defer(tx, CHUNK, [ids], priority=PRIORITY, lock=f"bulk {chunk.lane}")


def defer_awakening(engine: Engine, tx: Connection, pk: int, chunk: Chunk, after: timedelta) -> None:
    """Have a parked chunk stand in its lane's queue later. Without the lane's lock, for a job that waits holds it."""
    ids = {"operation": pk, "first": chunk.first, "turn": chunk.turn}
    engine.defer(tx, AWAKENING, [ids], priority=PRIORITY, schedule_in=after)


def hand_out(engine: Engine, tx: Connection, pk: int, lanes: int) -> None:
    """Give items that no job has to free lanes: whole chunks, and what there is when nothing else is in work."""
    run = store.run(tx, pk)
    if run is None or run.operation.status not in {"Pending", "Running"}:
        return
    busy = {chunk.lane for chunk in store.chunks(tx, pk) if not chunk.parked}
    handed = run.handed
    for lane in range(lanes):
        waiting = run.added - handed
        if waiting <= 0 or (waiting < CHUNK_ITEMS and run.operation.open and busy):
            return
        if lane in busy:
            continue
        chunk = Chunk(handed, handed + min(waiting, CHUNK_ITEMS) - 1, lane, 0)
        store.add_chunk(tx, pk, chunk)
        defer_chunk(engine, tx, pk, chunk)
        busy.add(lane)
        handed = chunk.last + 1


def cancel_some(tx: Connection, pk: int, limit: int) -> bool:
    """Go on with cancelling a run; True when nothing of it waits any more, and no document is kept for it."""
    waiting = cancelling.cancel_waiting(tx, pk, limit)
    erased = item_entries.erase_documents_of_canceled(tx, pk, limit)
    return waiting < limit and erased < limit
