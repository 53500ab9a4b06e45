"""The indexes of declared queryables, built and removed in the background: an operation each, in short transactions.

The catalog knows how far an index is, so a job that is killed goes on where it was. Jobs of one queryable follow each
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from graticule import crashpoints
from graticule.catalog import Catalog
from graticule.catalog.base import IndexProgress
from graticule.database import Connection, Database
from graticule.workflows import Attempt, Engine, journal, slices
from graticule.workflows.journal import Operation

TASK: Final = "index_queryable"

_AFTER_SLICE = crashpoints.crash_point("configuration.index.slice")


class Indexing:
    """Has indexes built and removed."""

    def __init__(self, *, database: Database, catalog: Catalog, engine: Engine, slice_size: int = slices.SLICE) -> None:
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
        work = partial(self._work, collection_id=collection, name=name)
        await slices.run(self._database, attempt, operation, work, after=_AFTER_SLICE)

    def _work(self, tx: Connection, operation: Operation | None, *, collection_id: str, name: str) -> IndexProgress:
        if operation is not None and operation.status in {"Canceling", "Canceled"}:
            self._catalog.declare_queryable(tx, collection_id, name, indexed=False)
        return self._catalog.work_on_queryable(tx, collection_id, name, self._slice)

    async def give_up(self, attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        """The engine has tried often enough: there is no index, the operation says why."""
        collection_id, name = ids["collection"], ids["name"]
        await slices.give_up(
            self._database,
            attempt,
            ids["operation"],
            error,
            # What is there of it stays out of use, and is overwritten when it is asked for again.
            lambda tx: self._catalog.declare_queryable(tx, collection_id, name, indexed=False),
            what=f"The index of '{name}' could not be built",
            remedy="Write the queryable again to have it tried again.",
        )
