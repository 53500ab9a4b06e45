"""The indexes of declared queryables, built and removed in the background: an operation each, in short transactions.

The catalog knows how far an index is, so a job that is killed goes on where it was. The engine runs a job at least
once; every slice first asks it whether this attempt still owns the job, and jobs of one queryable follow each other.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from graticule import crashpoints
from graticule.catalog import Catalog
from graticule.database import Connection, Database
from graticule.errors import GraticuleError, InternalError
from graticule.workflows import Attempt, Engine, journal

log = logging.getLogger(__name__)

TASK: Final = "index_queryable"
#: Items that one transaction reads, so that other writers get their turn.
SLICE: Final = 100

_AFTER_SLICE = crashpoints.crash_point("configuration.index.slice")


class Indexing:
    """Has indexes built and removed."""

    def __init__(self, *, database: Database, catalog: Catalog, engine: Engine, slice_size: int = SLICE) -> None:
        """Take the parts this works with; jobs run where `register` was called."""
        self._database = database
        self._catalog = catalog
        self._engine = engine
        self._slice = slice_size
        engine.declare(TASK)

    def register(self) -> None:
        """Tell the engine which function runs the task."""
        self._engine.task(TASK, on_give_up=self.give_up)(self.run)

    def declare(self, tx: Connection, collection_id: str, name: str, *, indexed: bool) -> None:
        """Let a property be queryable, and have its index built or removed as that asks for."""
        if self._catalog.declare_queryable(tx, collection_id, name, indexed=indexed):
            self._begin(tx, collection_id, name)

    def withdraw(self, tx: Connection, collection_id: str, name: str) -> None:
        """Forget a queryable, and have its index removed."""
        if self._catalog.withdraw_queryable(tx, collection_id, name):
            self._begin(tx, collection_id, name)

    def _begin(self, tx: Connection, collection_id: str, name: str) -> None:
        operation = journal.create(tx, journal.INDEX_QUERYABLE, collection_id)
        ids = {"operation": operation.pk, "collection": collection_id, "name": name}
        self._engine.defer(tx, TASK, [ids], priority=-10, lock=f"queryable {collection_id}/{name}")

    # --- the job

    async def run(self, attempt: Attempt, operation: int, collection: str, name: str) -> None:
        """Work until nothing is left to do; a build that was cancelled is taken back."""
        work = partial(self._work, attempt=attempt, pk=operation, collection_id=collection, name=name)
        ended = False
        while not ended:
            ended = await self._database.write(work)
            crashpoints.reach(_AFTER_SLICE)

    def _work(self, tx: Connection, *, attempt: Attempt, pk: int, collection_id: str, name: str) -> bool:
        """One slice; True when it was the last."""
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        if operation is not None and operation.status in {"Canceling", "Canceled"}:
            self._catalog.declare_queryable(tx, collection_id, name, indexed=False)
        progress = self._catalog.work_on_queryable(tx, collection_id, name, self._slice)
        if operation is None or operation.is_terminal:
            return progress.ended
        journal.start(tx, operation)
        if progress.total is not None:
            journal.progress(tx, operation, done=progress.done, total=progress.total)
        if progress.ended:
            journal.succeed(tx, journal.get(tx, operation.id))
        return progress.ended

    async def give_up(self, attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        """The engine has tried often enough: there is no index, the operation says why."""
        reason = (
            error
            if isinstance(error, GraticuleError)
            else InternalError(
                f"The index of '{ids['name']}' could not be built ({type(error).__name__}): the log tells more under"
                " this operation's id. Write the queryable again to have it tried again."
            )
        )

        def fail(tx: Connection) -> None:
            attempt.still_ours(tx)
            # What is there of it stays out of use, and is overwritten when it is asked for again.
            self._catalog.declare_queryable(tx, ids["collection"], ids["name"], indexed=False)
            operation = journal.by_pk(tx, ids["operation"])
            if operation is not None and not operation.is_terminal:
                journal.fail(tx, operation, reason)

        await self._database.write(fail)
