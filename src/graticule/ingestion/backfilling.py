"""The job that works out the words of items written before there were any, so that ``q`` finds these too.

An operation of type ``IndexWords`` per collection, begun when a worker starts. How far it is lies in the database, so
one that is killed goes on where it was; one that is cancelled or fails is begun again at the next start of a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from graticule.catalog.sql import backfill
from graticule.catalog.sql.dialects import dialect_of
from graticule.database import Connection, Database
from graticule.errors import GraticuleError, InternalError
from graticule.workflows import Attempt, Engine, journal

#: The name of the task.
BACKFILL: Final = "backfill_words"
#: Items that one transaction reads, so that other writers get their turn.
SLICE: Final = 100


@dataclass(frozen=True)
class WordBackfill:
    """The task and the parts it needs."""

    database: Database
    engine: Engine
    slice_size: int = SLICE

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
        """Work until nothing is left to do."""
        work = partial(self._work, attempt=attempt, pk=operation, collection_id=collection)
        while not await self.database.write(work):
            pass

    def _work(self, tx: Connection, *, attempt: Attempt, pk: int, collection_id: str) -> bool:
        """One slice; True when it was the last."""
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        if operation is None or operation.is_terminal:
            backfill.mark(tx, collection_id, begun=False)
            return True
        progress = backfill.work_on(tx, dialect_of(self.database), collection_id, self.slice_size)
        journal.start(tx, operation)
        journal.progress(tx, operation, done=progress.done, total=progress.total or 0)
        if progress.ended:
            journal.succeed(tx, journal.get(tx, operation.id))
        return progress.ended

    async def give_up(self, attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        """The engine has tried often enough: the operation says why, and the next worker tries anew."""
        reason = (
            error
            if isinstance(error, GraticuleError)
            else InternalError(
                f"The words of collection '{ids['collection']}' could not be worked out ({type(error).__name__}): the"
                " log tells more under this operation's id. It is tried again when a worker starts."
            )
        )

        def fail(tx: Connection) -> None:
            attempt.still_ours(tx)
            backfill.mark(tx, ids["collection"], begun=False)
            operation = journal.by_pk(tx, ids["operation"])
            if operation is not None and not operation.is_terminal:
                journal.fail(tx, operation, reason)

        await self.database.write(fail)
