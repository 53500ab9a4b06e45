"""The connector that lets procrastinate keep its jobs in our database, on SQLite and on PostgreSQL alike.

procrastinate has every statement as a named PostgreSQL query and hands its text to the connector; here the text is
looked up and answered by `answers`. That interface is not public, so procrastinate is pinned and the names of
its queries are compared with the answers before anything runs (docs/decisions/0002, 0011).
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from procrastinate import exceptions
from procrastinate.connector import BaseAsyncConnector, Notify
from procrastinate.jobs import Job
from procrastinate.manager import QUEUEING_LOCK_CONSTRAINT
from procrastinate.sql import queries as PROCRASTINATE_QUERIES  # noqa: N812 - a constant there too

from graticule import crashpoints
from graticule.database import Connection, Database, database_errors, is_duplicate, said, unreachable
from graticule.errors import SettingsError
from graticule.workflows.answers import ANSWERS, QUEUEING_LOCK, READS, Rows, claim, claimable, job_row
from graticule.workflows.leases import Attempt, current_lease
from graticule.workflows.retry import Backoff
from graticule.workflows.statements import statement
from graticule.workflows.wakeup import Due, watch

logger = logging.getLogger(__name__)

PIN: Final = "3.10.0"
#: Between two tries while the server is away.
_AWAY: Final = Backoff(0.2, 2.0)
_ANY_QUEUE: Final = "procrastinate_any_queue_v1"
_QUEUE_PREFIX: Final = "procrastinate_queue_v1#"

_AFTER_CLAIM = crashpoints.crash_point("workflows.claim.after")
_BEFORE_FINISH = crashpoints.crash_point("workflows.finish.before")
_AFTER_FINISH = crashpoints.crash_point("workflows.finish.after")


def check_query_names(theirs: Iterable[str]) -> None:
    """Refuse a procrastinate whose queries are not exactly those answered here.

    Raises:
        SettingsError: naming the missing and the unknown ones, and the version that fits.
    """
    unknown = sorted(set(theirs) - set(ANSWERS))
    missing = sorted(set(ANSWERS) - set(theirs))
    if unknown or missing:
        raise SettingsError(
            f"The installed procrastinate does not fit our connector: missing queries {missing or 'none'}, "
            f"unknown queries {unknown or 'none'}. Install procrastinate=={PIN}."
        )


class DatabaseConnector(BaseAsyncConnector):
    """Answers procrastinate's queries from a `Database`."""

    json_dumps = None
    json_loads = None

    #: Where the workers of this process are: see `release_place`.
    place: str | None = None

    def __init__(self, database: Database, *, tasks: Callable[[], Iterable[str]], wake_interval: float = 0.05) -> None:
        """Check the pin; nothing is opened, the database belongs to the caller.

        Args:
            database: where the tables of ``0002_workflows.sql`` are.
            tasks: the names of the tasks that this process can run; other jobs are left waiting.
            wake_interval: at least this long between two looks for what commits left to do, seconds.
        """
        check_query_names(PROCRASTINATE_QUERIES)
        self._database = database
        self._tasks = tasks
        self._wake_interval = wake_interval
        self._name_of = {text: name for name, text in PROCRASTINATE_QUERIES.items()}
        self._drained = False
        self._histories: dict[tuple[int, int, int], tuple[int, int]] = {}

    def attempt_of(self, job: Job) -> Attempt:
        """The attempt that `fetch_job` made with this job; to be asked once."""
        token = (job.id or 0, job.worker_id or 0, job.attempts)
        failures, losses = self._histories.pop(token, (0, 0))
        return Attempt(*token, failures=failures, losses=losses)

    # --- procrastinate's interface, asynchronous: a transaction each

    async def open_async(self, pool: Any | None = None) -> None:
        """Nothing to open: the database is the caller's."""

    async def close_async(self) -> None:
        """Nothing to close."""

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        """Run a query for its effect."""
        name = self._name(query)
        if name == "finish_job":
            crashpoints.reach(_BEFORE_FINISH)
        if name in {"finish_job", "retry_job"} and current_lease.get() is not None:
            await self._end_lease(name, arguments)
        else:
            await self._run(name, arguments)
        if name == "finish_job":
            crashpoints.reach(_AFTER_FINISH)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        """Run a query that answers one row."""
        name = self._name(query)
        if name == "fetch_job":
            return await self._fetch(**arguments)
        return _one(await self._run(name, arguments))

    async def execute_query_all_async(self, query: str, **arguments: Any) -> Rows:
        """Run a query that answers rows."""
        return await self._run(self._name(query), arguments)

    # --- the same within the transaction of a caller, who commits or rolls back

    def execute_query_one_with_connection(self, connection: Any, query: str, **arguments: Any) -> dict[str, Any]:
        """Run a query that answers one row on the caller's `Connection`."""
        return _one(self.execute_query_all_with_connection(connection, query, **arguments))

    def execute_query_all_with_connection(self, connection: Any, query: str, **arguments: Any) -> Rows:
        """Run a query that answers rows on the caller's `Connection`."""
        with _wrapped_errors():
            return self._answer(self._name(query), arguments)(connection)

    # --- synchronous, for commands

    def get_sync_connector(self) -> DatabaseConnector:
        """This one answers both ways."""
        return self

    def execute_query(self, query: str, **arguments: Any) -> None:
        """Run a query for its effect, and wait."""
        self.execute_query_all(query, **arguments)

    def execute_query_one(self, query: str, **arguments: Any) -> dict[str, Any]:
        """Run a query that answers one row, and wait."""
        return _one(self.execute_query_all(query, **arguments))

    def execute_query_all(self, query: str, **arguments: Any) -> Rows:
        """Run a query that answers rows, and wait."""
        name = self._name(query)
        run = self._database.read_now if name in READS else self._database.write_now
        with _wrapped_errors():
            return run(self._answer(name, arguments))

    # --- in place of LISTEN and NOTIFY

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Call back whenever a commit of any process leaves a job to run or a request to abort; never returns."""
        names = list(channels)
        queues = None if _ANY_QUEUE in names else [name.removeprefix(_QUEUE_PREFIX) for name in names]
        parameters = {"queues": None if queues is None else json.dumps(queues)}

        def due(tx: Connection) -> Due:
            aborts = tx.all(statement(tx, "list_jobs_to_abort"), {"queue_name": None})
            return Due(claimable(tx, {**parameters, "tasks": self._task_names()}), [row[0] for row in aborts])

        async with watch(self._database, due, interval=self._wake_interval) as commits:
            while True:
                found = await commits.next()
                events = [("abort_job_requested", job_id) for job_id in found.aborts]
                if found.claimable is not None:
                    events.append(("job_inserted", found.claimable))
                for kind, job_id in events:
                    await on_notification(channel=names[0], payload=json.dumps({"type": kind, "job_id": job_id}))

    # --- inside

    async def _run(self, name: str, arguments: Mapping[str, Any]) -> Rows:
        run = self._database.read if name in READS else self._database.write
        with _wrapped_errors():
            return await run(self._answer(name, arguments))

    async def _end_lease(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Tell how a job ended, however long the server is away: untold, a worker that lives would hold it for ever."""
        failures = 0
        while True:
            try:
                await self._run(name, arguments)
            except exceptions.ConnectorException as exc:
                if exc.__cause__ is None or not unreachable(exc.__cause__):
                    raise
                extra = {"action": "end_untold", "job_id": arguments["job_id"]}
                logger.warning("The end of a job could not be told, trying again: %s", exc, extra=extra)
                await asyncio.sleep(_AWAY.delay(failures).total_seconds())
                failures += 1
            else:
                return

    async def _fetch(self, queues: Iterable[str] | None, worker_id: int) -> dict[str, Any]:
        """Claim a job. An idle worker only looks: it takes the write lock once there is something to claim."""
        parameters = {
            "queues": None if queues is None else json.dumps(list(queues)),
            "tasks": self._task_names(),
            "worker_id": worker_id,
        }
        with _wrapped_errors():
            if self._drained and await self._database.read(functools.partial(claimable, parameters=parameters)) is None:
                return {"id": None}
            row = await self._database.write(functools.partial(claim, parameters=parameters))
        self._drained = row is None
        if row is None:
            return {"id": None}
        crashpoints.reach(_AFTER_CLAIM)
        self._histories[row["id"], worker_id, row["attempts"]] = (row["failures"], row["losses"])
        return job_row(row)

    def _task_names(self) -> str:
        return json.dumps(list(self._tasks()))

    def _name(self, query: str) -> str:
        try:
            return self._name_of[query]
        except KeyError:
            raise exceptions.ConnectorException(
                f"Our connector answers procrastinate's named queries only, not {query[:60]!r}."
            ) from None

    def _answer(self, name: str, arguments: Mapping[str, Any]) -> Callable[[Connection], Rows]:
        # The lease is looked up here, in the caller's task: the answer itself runs on the database's thread.
        if name in {"finish_job", "retry_job"}:
            lease = current_lease.get()
            if lease is not None and lease.attempt.job_id == arguments["job_id"]:
                arguments = {**arguments, "attempt": lease.attempt, "failed": lease.failed}
        if name == "register_worker":
            arguments = {**arguments, "place": self.place}
        return functools.partial(ANSWERS[name], **arguments)


# --- errors ----------------------------------------------------------------------------------------------------------


@contextmanager
def _wrapped_errors() -> Iterator[None]:
    """Turn the driver's errors into those that procrastinate knows."""
    try:
        yield
    except database_errors() as exc:
        if is_duplicate(exc, *QUEUEING_LOCK):
            raise exceptions.UniqueViolation(constraint_name=QUEUEING_LOCK_CONSTRAINT, queueing_lock=None) from exc
        raise exceptions.ConnectorException(f"Database error: {said(exc)}") from exc


def _one(rows: Rows) -> dict[str, Any]:
    if not rows:
        raise exceptions.NoResult
    return rows[0]
