"""The job that works out the words of items written before there were any, so that ``q`` finds these too.

An operation of type ``IndexWords`` per collection, begun when a worker starts. One that is killed goes on where it
was; one that is cancelled or fails is begun again at the next start of a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from graticule import crashpoints
from graticule.catalog.base import IndexProgress
from graticule.catalog.sql import backfill
from graticule.catalog.sql.dialects import dialect_of
from graticule.database import Connection, Database
from graticule.workflows import Attempt, Engine, journal, slices
from graticule.workflows.journal import Operation

#: The name of the task.
BACKFILL: Final = "backfill_words"

_AFTER_SLICE = crashpoints.crash_point("ingestion.backfill.slice")


@dataclass(frozen=True)
class WordBackfill:
    """The task and the parts it needs."""

    database: Database
    engine: Engine
    slice_size: int = slices.SLICE

    async def register(self) -> None:
        """Tell the engine, and see to it that every collection that needs it has a job."""
        self.engine.task(BACKFILL, on_give_up=self.give_up)(self.run)
        if await self.database.read(backfill.waiting):
            await self.database.write(self._begin)

    def _begin(self, tx: Connection) -> None:
        for collection_id in backfill.waiting(tx):
            operation = journal.create(tx, journal.INDEX_WORDS, collection_id)
            ids = {"operation": operation.pk, "collection": collection_id}
            self.engine.defer(tx, BACKFILL, [ids], priority=-10, lock=f"words {collection_id}")
            backfill.mark(tx, collection_id, begun=True)

    # --- the job

    async def run(self, attempt: Attempt, operation: int, collection: str) -> None:
        """Work until nothing is left to do, or the operation is cancelled."""
        work = partial(self._work, collection_id=collection)
        await slices.run(self.database, attempt, operation, work, after=_AFTER_SLICE)

    def _work(self, tx: Connection, operation: Operation | None, *, collection_id: str) -> IndexProgress:
        if operation is None or operation.is_terminal:
            backfill.mark(tx, collection_id, begun=False)
            return IndexProgress(0, 0, ended=True)
        return backfill.work_on(tx, dialect_of(self.database), collection_id, self.slice_size)

    async def give_up(self, attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        """The engine has tried often enough: the operation says why, and the next worker tries anew."""
        await slices.give_up(
            self.database,
            attempt,
            ids["operation"],
            error,
            partial(backfill.mark, collection_id=ids["collection"], begun=False),
            what=f"The words of collection '{ids['collection']}' could not be worked out",
            remedy="It is tried again when a worker starts.",
        )
