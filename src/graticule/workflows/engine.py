"""The engine: tasks by name, jobs that are deferred with the caller's rows, and workers that run them.

At least once is all that it promises: a task may run twice, also at the same time as a worker that was thought dead,
so it publishes under `Attempt.still_ours`. procrastinate claims, runs and records; what it leaves open is here:
back-off and giving up, taking over the jobs of lost workers, and a worker that comes back when it dies.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from procrastinate import App, JobContext, exceptions, utils
from procrastinate.job_context import AbortReason
from procrastinate.worker import Worker

from graticule.database import Connection, Database, database_errors, said, unreachable
from graticule.errors import GraticuleError, Unavailable
from graticule.workflows.connector import DatabaseConnector
from graticule.workflows.leases import Attempt, Held, Lease, LeaseLost, beat, current_lease, rescue, retire_worker
from graticule.workflows.retry import Backoff, Decision, HandBack, TryAgain

logger = logging.getLogger(__name__)

#: A task: called with the attempt and the ids that its job carries.
TaskFunction = Callable[..., Awaitable[None]]
#: Called when a job is given up, with the attempt, its ids and the last error; fence its writes as in a task.
GiveUp = Callable[[Attempt, Mapping[str, Any], Exception], Awaitable[None]]

F = TypeVar("F", bound=TaskFunction)


class AlreadyQueued(GraticuleError):
    """A job with this queueing lock is waiting already."""

    code = "AlreadyQueued"


class GivenUp(GraticuleError):
    """The job failed, or lost its worker, more often than is allowed."""

    code = "GivenUp"


_RESTART: Final = Backoff(0.5, 10.0)


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a worker does what it does beside its jobs, seconds."""

    #: Between two heartbeats, and two looks for workers without one.
    heartbeat: float = 10.0
    #: Without a heartbeat for this long a worker counts as lost. Take-over comes within this and one heartbeat.
    stalled: float = 30.0
    #: Between two looks for jobs that became due by the clock; new ones are noticed by their commit.
    polling: float = 0.5
    #: Between two looks for commits.
    wake: float = 0.05
    #: How long a stopping worker waits for its jobs to take their cancellation.
    stop: float = 2.5
    #: Before a worker that died is started again: the first delay and the longest.
    restart: Backoff = _RESTART


DEFAULT_TIMING: Final = Timing()

#: procrastinate's own heartbeat ends silently when it fails, so ours replaces it; this is for ever, seconds.
_NEVER: Final = 86_400.0
#: A worker that ran for this long was healthy: its next death is a first one, seconds.
_HEALTHY: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    function: TaskFunction
    on_give_up: GiveUp | None


class Engine:
    """The durable jobs of one database."""

    def __init__(
        self,
        database: Database,
        *,
        worker_name: str,
        timing: Timing = DEFAULT_TIMING,
        max_attempts: int = 5,
        max_losses: int = 20,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        """Make an engine without tasks; nothing runs yet.

        Args:
            database: keeps the jobs; must outlive the engine.
            worker_name: names this process in the log.
            timing: intervals of the worker.
            max_attempts: after so many exceptions a job is given up.
            max_losses: a job that lost its worker more often than this is given up.
            backoff: the delays after an exception.

        Raises:
            SettingsError: the installed procrastinate is not the one that the connector answers.
        """
        self._database = database
        self._worker_name = worker_name
        self._timing = timing
        self._max_attempts = max_attempts
        self._max_losses = max_losses
        self._backoff = backoff
        self._tasks: dict[str, _Task] = {}
        self._declared: set[str] = set()
        self._connector = DatabaseConnector(database, tasks=lambda: self._tasks, wake_interval=timing.wake)
        self._app = App(connector=self._connector)
        self._unretired: set[int] = set()

    # --- tasks and jobs

    def task(self, name: str, *, queue: str = "default", on_give_up: GiveUp | None = None) -> Callable[[F], F]:
        """Register an async function ``(attempt, **ids)`` under a name that jobs in the database refer to.

        It catches what it expects; an exception that leaves it is a bug or a database that failed in passing, and the
        job is tried again until ``on_give_up`` is called. `LeaseLost` may leave it: then nothing more happens.
        """

        def register(function: F) -> F:
            task = _Task(name, function, on_give_up)

            @self._app.task(name=name, queue=queue, pass_context=True, retry=Decision())
            async def run(context: JobContext, /, **ids: Any) -> None:
                await self._run(task, context, ids)

            self._tasks[name] = task
            return function

        return register

    def declare(self, *names: str) -> None:
        """Let tasks be deferred here that other processes run."""
        self._declared.update(names)

    def defer(
        self,
        tx: Connection,
        task_name: str,
        jobs: Sequence[Mapping[str, Any]],
        *,
        priority: int = 0,
        lock: str | None = None,
        queueing_lock: str | None = None,
        schedule_in: timedelta | None = None,
    ) -> list[int]:
        """Add a job per mapping of ids, within the caller's transaction: it commits or rolls back with his rows.

        Args:
            tx: the transaction, in a function given to `Database.write`.
            task_name: a registered task.
            jobs: the ids that each job carries: small JSON, never secrets, never documents.
            priority: higher ones run first; equal ones in the order of their ids.
            lock: jobs of one lock run one after the other.
            queueing_lock: at most one job of this lock waits.
            schedule_in: do not run before this has passed.

        Returns:
            The jobs' ids, in order.

        Raises:
            AlreadyQueued: a job with the queueing lock waits already; nothing was added.
            LookupError: the task is neither registered nor declared.
        """
        known = self._tasks.keys() | self._declared
        if task_name not in known:
            raise LookupError(f"No task is registered as {task_name!r}: known are {sorted(known)}.")
        if not jobs:
            return []
        deferrer = self._app.configure_task(
            task_name,
            connection=tx,
            priority=priority,
            lock=lock,
            queueing_lock=queueing_lock,
            schedule_at=None if schedule_in is None else utils.utcnow() + schedule_in,
        )
        try:
            return deferrer.batch_defer(*(dict(ids) for ids in jobs))
        except exceptions.AlreadyEnqueued as exc:
            raise AlreadyQueued(f"A job with the queueing lock {queueing_lock!r} is waiting already.") from exc

    def cancel(self, tx: Connection, job_ids: Sequence[int]) -> int:
        """Delete waiting jobs and cancel the tasks of running ones; answers how many of them there still were.

        Record the cancellation in your own rows too, in the same transaction, and let the task look at them: a job
        whose worker is lost in between runs again.
        """
        manager = self._app.job_manager
        return sum(manager.cancel_job_by_id(job_id, abort=True, delete_job=True, connection=tx) for job_id in job_ids)

    # --- one job

    async def _run(self, task: _Task, context: JobContext, ids: Mapping[str, Any]) -> None:
        """What procrastinate runs: returns when the job is done with, raises a decision when it is to run again."""
        lease = Lease(self._connector.attempt_of(context.job))
        current_lease.set(lease)
        again: TryAgain | None = None
        try:
            again = await self._attempt(task, lease, ids)
        except LeaseLost:
            logger.warning("Job was taken over", extra=_extra("lease_lost", task, lease.attempt))
        except asyncio.CancelledError:
            reason = context.abort_reason()
            if reason is AbortReason.SHUTDOWN:
                again = HandBack()
            elif reason is None:  # the task cancelled itself: a bug like another
                lease.failed = True
                again = TryAgain(self._backoff.delay(lease.attempt.failures))
        if again is not None:
            raise again  # outside of the handlers: procrastinate logs it, and must not log the cause's text with it

    async def _attempt(self, task: _Task, lease: Lease, ids: Mapping[str, Any]) -> TryAgain | None:
        attempt = lease.attempt
        error: Exception
        if attempt.failures >= self._max_attempts or attempt.losses > self._max_losses:
            error = GivenUp(
                f"Job {attempt.job_id} failed {attempt.failures} times and lost its worker {attempt.losses} times."
            )
        else:
            try:
                await task.function(attempt, **ids)
            except LeaseLost:
                raise
            except Exception as exc:  # noqa: BLE001 - whatever a task lets out is counted, logged and given up in the end
                error = exc
            else:
                return None
            extra = _extra("job_failed", task, attempt) | {"ids": dict(ids)}
            if unreachable(error):  # no fault of the job's, so it is not counted
                logger.warning("Job was interrupted: %s", describe(error), extra=extra)
                return TryAgain(self._backoff.delay(0))
            lease.failed = True
            logger.error("Job failed: %s", describe(error), extra=extra)
            if attempt.failures + 1 < self._max_attempts:
                return TryAgain(self._backoff.delay(attempt.failures))
        return await self._give_up(task, lease, ids, error)

    async def _give_up(self, task: _Task, lease: Lease, ids: Mapping[str, Any], error: Exception) -> TryAgain | None:
        extra = _extra("job_given_up", task, lease.attempt) | {"ids": dict(ids)}
        logger.error("Job is given up: %s", describe(error), extra=extra)
        if task.on_give_up is None:
            return None
        try:
            await task.on_give_up(lease.attempt, ids, error)
        except LeaseLost:
            raise
        except Exception as exc:  # noqa: BLE001 - the job stays until its end is recorded
            lease.failed = not unreachable(exc)
            logger.error("Giving up failed: %s", describe(exc), extra=extra)  # noqa: TRY400 - describe() leaves texts out
            return TryAgain(self._backoff.delay(lease.attempt.failures))
        return None

    # --- the worker

    async def run_worker(self, concurrency: int, stop: asyncio.Event, *, place: str | None = None) -> None:
        """Run jobs, so many at a time, until ``stop`` is set; ``place`` is what `release_place` may be asked for.

        Then running tasks are cancelled and their jobs wait again at once. A worker that dies before, because the
        database failed or because it was taken for dead, is started again.
        """
        self._connector.place = place
        deaths = 0
        while not stop.is_set():
            started = time.monotonic()
            try:
                await self._run_one_worker(concurrency, stop)
            except Exception as exc:  # noqa: BLE001 - whatever ended it, jobs must go on
                logger.error("Worker died: %s", describe(exc), extra=self._worker_extra("worker_died"))  # noqa: TRY400
            if stop.is_set():
                return
            deaths = 0 if time.monotonic() - started > _HEALTHY else deaths + 1
            delay = self._timing.restart.delay(max(deaths - 1, 0)).total_seconds()
            extra = self._worker_extra("worker_restart")
            logger.warning("Worker ended and is started again in %.1f s", delay, extra=extra)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay)

    async def _run_one_worker(self, concurrency: int, stop: asyncio.Event) -> None:
        timing = self._timing
        for unretired in tuple(self._unretired):
            await self._retire(unretired)
        worker = Worker(
            app=self._app,
            name=self._worker_name,
            concurrency=concurrency,
            fetch_job_polling_interval=timing.polling,
            shutdown_graceful_timeout=0,
            delete_jobs="always",
            install_signal_handlers=False,
            update_heartbeat_interval=_NEVER,
            stalled_worker_timeout=timing.stalled,
        )
        running = asyncio.create_task(worker.run(), name="worker")  # type: ignore[no-untyped-call] # procrastinate leaves it open
        others = [
            asyncio.create_task(stop.wait(), name="stop of the worker"),
            asyncio.create_task(self._watch_over(worker), name="heartbeat of the worker"),
        ]
        try:
            await asyncio.wait({running, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            worker_id = worker.worker_id  # forgotten by the worker when it unregisters itself
            worker.stop()  # type: ignore[no-untyped-call] # as above
            for other in others:
                other.cancel()
            await asyncio.wait({running}, timeout=timing.stop)
            await asyncio.gather(*others, return_exceptions=True)
            if not running.done() or worker.worker_id is not None:
                await self._retire(worker_id)
        if running.done():
            running.result()
            return
        running.add_done_callback(lambda task: task.cancelled() or task.exception())
        logger.warning("A task ignores its cancellation and is left behind", extra=self._worker_extra("worker_left"))

    async def _retire(self, worker_id: int | None) -> None:
        """Hand back what a worker could not hand back itself."""
        if worker_id is None:
            return
        try:
            held = await self._database.write(lambda tx: retire_worker(tx, worker_id))
        except database_errors(Unavailable) as exc:  # the next worker here does it, or another one's rescue
            self._unretired.add(worker_id)
            logger.warning("Worker could not be retired: %s", said(exc), extra=self._worker_extra("retire_failed"))
            return
        self._unretired.discard(worker_id)
        if held:
            extra = self._worker_extra("worker_retired") | {"job_ids": [job.job_id for job in held]}
            logger.warning("%d jobs were handed back for a worker that did not", len(held), extra=extra)

    async def _watch_over(self, worker: Worker) -> None:
        """Send heartbeats and take over the jobs of lost workers; returns when this worker itself was given up."""
        timing = self._timing
        last = time.time()
        while True:
            await asyncio.sleep(timing.heartbeat)
            # After a suspended host every heartbeat is old, so nobody's age means anything: let the others beat first.
            overslept = time.time() - last > timing.stalled
            try:
                alive, rescued = await self._database.write(
                    functools.partial(self._beat, worker_id=worker.worker_id, rescues=not overslept)
                )
            except database_errors() as exc:
                logger.warning("Heartbeat failed: %s", said(exc), extra=self._worker_extra("heartbeat_failed"))
                continue
            last = time.time()
            for held in rescued:
                extra = self._worker_extra("job_rescued") | {"job_id": held.job_id, "losses": held.losses}
                logger.warning("Job of lost worker %s waits again", held.worker_id, extra=extra)
            if not alive:
                logger.warning("Worker was taken for dead", extra=self._worker_extra("worker_pruned"))
                return

    def _beat(self, tx: Connection, *, worker_id: int | None, rescues: bool) -> tuple[bool, list[Held]]:
        alive = worker_id is None or beat(tx, worker_id)  # None: not registered yet
        rescued = rescue(tx, stalled_after=self._timing.stalled)[0] if rescues else []
        return alive, rescued

    def _worker_extra(self, action: str) -> dict[str, Any]:
        return {"action": action, "worker_name": self._worker_name}


def _extra(action: str, task: _Task, attempt: Attempt) -> dict[str, Any]:
    return {
        "action": action,
        "task_name": task.name,
        "job_id": attempt.job_id,
        "worker_id": attempt.worker_id,
        "failures": attempt.failures,
        "losses": attempt.losses,
    }


def describe(error: BaseException) -> str:
    """An error for the log: its kind and place; its text only if we or the database wrote it.

    Texts of other libraries' errors may hold a URL with its signature.
    """
    known = (GraticuleError, exceptions.ConnectorException, *database_errors())
    text = f": {said(error)}" if isinstance(error, known) else ""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    place = " < ".join(
        f"{frame.name} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})" for frame in reversed(frames)
    )
    return f"{type(error).__qualname__}{text} at {place or 'unknown place'}"
