"""Leases: who runs a job, and what happens to it when its worker stops, fails or is lost.

A worker holds a job from its claim until it finishes it or hands it back. The token of that hold is the worker's id
and the number of times the job was handed back before (`Attempt`); whatever ends the hold compares it first, so a
worker that was thought dead changes nothing when it wakes. Every hand-over counts one attempt; only those after an
exception count as failures, only those after a lost worker as losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from graticule.database import Connection, Row
from graticule.errors import GraticuleError
from graticule.stac.datetimes import now_us
from graticule.workflows.statements import statement
from graticule.workflows.wakeup import announce


class LeaseLost(GraticuleError):
    """The job was taken from this worker, which looked dead: another one runs it now, and nothing was changed."""

    code = "LeaseLost"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a job by one worker: the fence token, and what befell the job before."""

    #: The job.
    job_id: int
    #: Who runs it.
    worker_id: int
    #: How often it was handed back before, for whatever reason.
    attempts: int
    #: How often its task raised before.
    failures: int = 0
    #: How often its worker was lost before (stops and restarts of the service do not count).
    losses: int = 0

    def still_ours(self, tx: Connection) -> None:
        """Refuse to go on unless this attempt still holds the job; call it in the transaction that publishes.

        Raises:
            LeaseLost: the job was finished, handed back or taken over.
        """
        token = {"job_id": self.job_id, "worker_id": self.worker_id, "attempts": self.attempts}
        if tx.one(statement(tx, "holds_lease"), token) is None:
            raise LeaseLost(f"Job {self.job_id} is no longer held by worker {self.worker_id}: nothing was changed.")


@dataclass(slots=True)
class Lease:
    """The hold that the current asyncio task has on its job."""

    attempt: Attempt
    #: Set when the task raised: handing back then counts a failure.
    failed: bool = False


#: Set by the engine around each job; procrastinate's finishing runs in a copy of the same context. The connector would
#: otherwise know only the job's id, which a zombie and its successor in one process share.
current_lease: ContextVar[Lease | None] = ContextVar("current_lease", default=None)


class Held(NamedTuple):
    """A running job as it was seen."""

    job_id: int
    worker_id: int | None
    attempts: int
    losses: int


class Released(NamedTuple):
    """A job that was taken from a dead worker, and the ids that it carries."""

    job_id: int
    ids: Mapping[str, Any]


def hand_back(
    tx: Connection,
    held: Held,
    *,
    failures: int = 0,
    losses: int = 0,
    scheduled_at: int | None = None,
    priority: int | None = None,
    queue_name: str | None = None,
    lock: str | None = None,
    status: str = "doing",
) -> bool:
    """Make a job wait again, if it still is as it was seen; says whether it was. ``scheduled_at`` in microseconds."""
    parameters = {
        "job_id": held.job_id,
        "worker_id": held.worker_id,
        "attempts": held.attempts,
        "status": status,
        "failures": failures,
        "losses": losses,
        "scheduled_at": scheduled_at,
        "priority": priority,
        "queue_name": queue_name,
        "lock": lock,
        "now": now_us(),
    }
    handed_back = tx.execute(statement(tx, "retry_job"), parameters) == 1
    if handed_back:
        announce(tx)
    return handed_back


def clock(tx: Connection) -> int:
    """The time that heartbeats are told in, microseconds since 1970: the server's, for hosts may disagree."""
    if tx.dialect == "postgresql":
        return int(tx.value("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"))
    return now_us()


def rescue(tx: Connection, *, stalled_after: float) -> tuple[list[Held], list[int]]:
    """Free the jobs of workers without a heartbeat for ``stalled_after`` seconds, and forget those workers.

    Answers the jobs, counted as lost once more, and the workers' ids.
    """
    since = {"since": clock(tx) - int(stalled_after * 1_000_000)}
    freed = [
        held._replace(losses=held.losses + 1)
        for held in _held(tx.all(statement(tx, "jobs_of_lost_workers"), since))
        if hand_back(tx, held, losses=1)
    ]
    workers = [row["worker_id"] for row in tx.all(statement(tx, "prune_stalled_workers"), since)]
    return freed, workers


def retire_worker(tx: Connection, worker_id: int) -> list[Held]:
    """Forget a worker that stops; jobs that it still holds wait again, without a loss being counted."""
    worker = {"worker_id": worker_id}
    held = [held for held in _held(tx.all(statement(tx, "jobs_of_worker"), worker)) if hand_back(tx, held)]
    tx.execute(statement(tx, "unregister_worker"), worker)
    return held


def release_all(tx: Connection) -> list[Released]:
    """Free every running job and forget every worker.

    Only for who can prove that all workers are dead, as the supervisor can by the lock on the data folder. A service
    restart is nobody's fault, so no loss is counted.
    """
    released = _release(tx, tx.all(statement(tx, "jobs_running")))
    tx.execute("DELETE FROM procrastinate_workers")
    return released


def release_place(tx: Connection, place: str) -> list[Released]:
    """As `release_all`, for the workers of one place: for who can prove that those are dead."""
    parameters = {"place": place}
    released = _release(tx, tx.all(statement(tx, "jobs_of_place"), parameters))
    tx.execute(statement(tx, "forget_place"), parameters)
    return released


def _release(tx: Connection, rows: Sequence[Row]) -> list[Released]:
    arguments = {row["id"]: row["args"] for row in rows}
    return [Released(held.job_id, orjson.loads(arguments[held.job_id])) for held in _held(rows) if hand_back(tx, held)]


def beat(tx: Connection, worker_id: int) -> bool:
    """Renew a worker's heartbeat; False when the worker was pruned meanwhile."""
    return tx.execute(statement(tx, "update_heartbeat"), {"worker_id": worker_id, "now": clock(tx)}) == 1


def _held(rows: Iterable[Row]) -> list[Held]:
    return [Held(row["id"], row["worker_id"], row["attempts"], row["losses"]) for row in rows]
