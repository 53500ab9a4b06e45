"""The job that makes extents and summaries of collections exact again, after items that bounded them were removed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from graticule.catalog.sql.wholes import refresh, waiting
from graticule.database import Connection, Database
from graticule.stac.datetimes import now_us
from graticule.workflows import AlreadyQueued, Attempt, Engine

#: The name of the task.
REFRESH: Final = "refresh_collection"
#: Removals come in crowds: the first of them waits this long for the others.
_PATIENCE: Final = timedelta(seconds=5)
#: After which a refresh that failed again and again is tried anew.
_AGAIN: Final = timedelta(minutes=5)


def defer_refresh(engine: Engine, tx: Connection, collection_id: str, *, after: timedelta = _PATIENCE) -> None:
    """Have a worker look at a collection soon; one such job waits at most, and runs behind what clients wait for."""
    with suppress(AlreadyQueued):
        engine.defer(
            tx,
            REFRESH,
            [{"collection": collection_id}],
            priority=-10,
            lock=f"refresh {collection_id}",
            queueing_lock=f"refresh {collection_id}",
            schedule_in=after,
        )


@dataclass(frozen=True)
class Refreshing:
    """The task and the parts it needs."""

    database: Database
    engine: Engine

    async def register(self) -> None:
        """Tell the engine, and see to it that every collection that needs it has a job."""
        self.engine.task(REFRESH, on_give_up=self.later)(self.refresh)
        if await self.database.read(waiting):
            await self.database.write(self._defer_waiting)

    async def refresh(self, attempt: Attempt, collection: str) -> None:
        """Work out what is stale."""
        if await refresh(self.database, collection, run=now_us(), fence=attempt.still_ours):
            await self.database.write(partial(defer_refresh, self.engine, collection_id=collection))

    async def later(self, attempt: Attempt, ids: Mapping[str, Any], _error: Exception) -> None:
        """A refresh is never given up: the extent would stay too wide for ever."""

        def again(tx: Connection) -> None:
            attempt.still_ours(tx)
            defer_refresh(self.engine, tx, ids["collection"], after=_AGAIN)

        await self.database.write(again)

    def _defer_waiting(self, tx: Connection) -> None:
        for collection_id in waiting(tx):
            defer_refresh(self.engine, tx, collection_id)
