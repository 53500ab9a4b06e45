"""What procrastinate's named queries mean in our tables: a plain function each, on one connection of either kind."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import orjson
from procrastinate import exceptions
from procrastinate.manager import QUEUEING_LOCK_CONSTRAINT
from procrastinate.types import JobToDefer

from graticule.database import Connection, Row, database_errors, is_duplicate
from graticule.stac.datetimes import now_us
from graticule.workflows.leases import Attempt, Held, beat, clock, hand_back, rescue, retire_worker
from graticule.workflows.statements import statement
from graticule.workflows.wakeup import announce

logger = logging.getLogger(__name__)

Rows = list[dict[str, Any]]
Answer = Callable[..., Rows]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The unique index of waiting jobs: its column, and its name.
QUEUEING_LOCK: Final = ("procrastinate_jobs.queueing_lock", QUEUEING_LOCK_CONSTRAINT)
#: What procrastinate makes a job of.
_JOB_FIELDS: Final = (
    "id",
    "status",
    "priority",
    "lock",
    "queueing_lock",
    "task_name",
    "args",
    "scheduled_at",
    "queue_name",
    "attempts",
    "abort_requested",
    "worker_id",
)

# --- values ----------------------------------------------------------------------------------------------------------


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def _ago(seconds: float) -> int:
    return now_us() - int(seconds * 1_000_000)


def job_row(row: Row) -> dict[str, Any]:
    """A row of jobs as procrastinate wants it."""
    job = {field: row[field] for field in _JOB_FIELDS}
    job["args"] = orjson.loads(job["args"])
    job["abort_requested"] = bool(job["abort_requested"])
    if job["scheduled_at"] is not None:
        job["scheduled_at"] = _EPOCH + timedelta(microseconds=job["scheduled_at"])
    return job


def _dicts(rows: Iterable[Row]) -> Rows:
    return [dict(row) for row in rows]


# --- answers: procrastinate's query of that name, on one connection --------------------------------------------------


@contextmanager
def _in_order(tx: Connection) -> Iterator[None]:
    """Have the index of waiting jobs walked in its order, up to the first that may run.

    PostgreSQL's statistics are of a time when few jobs waited, or none. By them it reads and sorts all that wait:
    14 ms at 40,000, each time.
    """
    if tx.dialect != "postgresql":
        yield
        return
    tx.command("SET LOCAL enable_sort = off")
    yield
    tx.command("SET LOCAL enable_sort TO DEFAULT")  # others share the transaction; an error takes both back


def claimable(tx: Connection, parameters: Mapping[str, Any]) -> int | None:
    """The job that `claim` would take: parameters ``queues``, ``tasks`` as JSON arrays (queues: or None)."""
    with _in_order(tx):
        job_id: int | None = tx.value(statement(tx, "claimable_job"), {**parameters, "now": now_us()})
    return job_id


def claim(tx: Connection, parameters: Mapping[str, Any]) -> Row | None:
    """Take a job for ``worker_id``: its row, with our own columns too."""
    with _in_order(tx):
        return tx.one(statement(tx, "fetch_job"), {**parameters, "now": now_us()})


def _fetch_job(_tx: Connection, **_: Any) -> NoReturn:
    raise exceptions.ConnectorException("A job is claimed by a worker, in a transaction of its own.")


def _defer_jobs(tx: Connection, *, jobs: list[JobToDefer]) -> Rows:
    rows = [
        (
            job.queue_name,
            job.task_name,
            job.priority,
            job.lock,
            job.queueing_lock,
            orjson.dumps(job.args).decode(),  # a text within the text: kept as it is
            _microseconds(job.scheduled_at),
        )
        for job in jobs
    ]
    locks = [job.queueing_lock for job in jobs if job.queueing_lock is not None]
    parameters = {"jobs": orjson.dumps(rows).decode(), "now": now_us()}
    try:
        # Who is refused may go on in his transaction; PostgreSQL lets him only from a savepoint.
        with tx.savepoint() if locks else nullcontext():
            inserted = tx.all(statement(tx, "defer_jobs"), parameters)
    except database_errors() as exc:
        if locks and is_duplicate(exc, *QUEUEING_LOCK):
            raise exceptions.UniqueViolation(constraint_name=QUEUEING_LOCK_CONSTRAINT, queueing_lock=locks[0]) from exc
        raise
    announce(tx)
    # RETURNING promises no order; ids grow in the order of insertion, which is that of the batch.
    return [{"id": job_id} for job_id in sorted(row["id"] for row in inserted)]


def _defer_periodic_job(
    tx: Connection,
    *,
    task_name: str,
    periodic_id: str,
    defer_timestamp: int,
    queue: str,
    priority: int,
    lock: str | None,
    queueing_lock: str | None,
    args: dict[str, Any],
) -> Rows:
    tick = {"task_name": task_name, "periodic_id": periodic_id, "defer_timestamp": defer_timestamp}
    recorded = tx.all(statement(tx, "record_periodic"), tick)
    if not recorded:  # another worker was first
        return [{"id": None}]
    rows = _defer_jobs(tx, jobs=[JobToDefer(queue, task_name, priority, lock, queueing_lock, args, None)])
    tx.execute(statement(tx, "link_periodic"), {"id": recorded[0]["id"], "job_id": rows[0]["id"]})
    tx.execute(statement(tx, "forget_periodic"), tick)
    return rows


def _finish_job(
    tx: Connection,
    *,
    job_id: int,
    status: str,
    delete_job: bool,
    attempt: Attempt | None = None,
    failed: bool = False,  # noqa: ARG001 - part of the lease, of use when a job is handed back
) -> Rows:
    parameters = {"job_id": job_id} if delete_job else {"job_id": job_id, "status": status, "now": now_us()}
    kind = "delete" if delete_job else "keep"
    if attempt is None:
        if not tx.execute(statement(tx, f"finish_{kind}"), parameters):
            raise exceptions.ConnectorException(f"Job {job_id} was not found or has ended already.")
    else:
        token = {"worker_id": attempt.worker_id, "attempts": attempt.attempts}
        if not tx.execute(statement(tx, f"finish_leased_{kind}"), {**parameters, **token}):
            _log_refused(attempt, "finish")
    return []


def _retry_job(
    tx: Connection,
    *,
    job_id: int,
    retry_at: datetime,
    new_priority: int | None,
    new_queue_name: str | None,
    new_lock: str | None,
    attempt: Attempt | None = None,
    failed: bool = False,
) -> Rows:
    status = "doing"
    if attempt is not None:
        held = Held(job_id, attempt.worker_id, attempt.attempts, attempt.losses)
    else:
        row = tx.one(statement(tx, "job_token"), {"job_id": job_id})
        if row is None or row["status"] not in {"doing", "failed"}:
            raise exceptions.ConnectorException(f"Job {job_id} was not found or has a status that is not retried.")
        held, status = Held(job_id, row["worker_id"], row["attempts"], 0), row["status"]
    if not hand_back(
        tx,
        held,
        failures=int(failed),
        scheduled_at=_microseconds(retry_at),
        priority=new_priority,
        queue_name=new_queue_name,
        lock=new_lock,
        status=status,
    ):
        assert attempt is not None  # without a lease the row was read in this very transaction
        _log_refused(attempt, "retry")
    return []


def _log_refused(attempt: Attempt, what: str) -> None:
    logger.warning(
        "Worker %d no longer holds job %d: its %s changes nothing",
        attempt.worker_id,
        attempt.job_id,
        what,
        extra={"action": "lease_refused", "job_id": attempt.job_id, "worker_id": attempt.worker_id},
    )


def _cancel_job(tx: Connection, *, job_id: int, abort: bool, delete_job: bool) -> Rows:
    job = {"job_id": job_id}
    rows = tx.all(statement(tx, "cancel_delete"), job) if delete_job else []
    if not rows:
        rows = tx.all(statement(tx, "cancel_abort" if abort else "cancel_waiting"), {**job, "now": now_us()})
        announce(tx)
    return _dicts(rows) or [{"id": None}]


def _stalled_by_started(tx: Connection, *, nb_seconds: int, queue: str | None, task_name: str | None) -> Rows:
    parameters = {"since": _ago(nb_seconds), "queue": queue, "task_name": task_name}
    return [job_row(row) for row in tx.all(statement(tx, "select_stalled_jobs_by_started"), parameters)]


def _stalled_by_heartbeat(
    tx: Connection, *, seconds_since_heartbeat: float, queue: str | None, task_name: str | None
) -> Rows:
    parameters = {"since": clock(tx) - int(seconds_since_heartbeat * 1_000_000), "queue": queue, "task_name": task_name}
    return [job_row(row) for row in tx.all(statement(tx, "select_stalled_jobs_by_heartbeat"), parameters)]


def _delete_old_jobs(tx: Connection, *, nb_hours: int, queue: str | None, statuses: list[str]) -> Rows:
    parameters = {"since": _ago(nb_hours * 3600), "queue": queue, "statuses": json.dumps(statuses)}
    tx.execute(statement(tx, "delete_old_jobs"), parameters)
    return []


def _list_jobs(tx: Connection, **filters: Any) -> Rows:
    return [job_row(row) for row in tx.all(statement(tx, "list_jobs"), filters)]


def _count_by(column: str) -> Answer:
    def answer(tx: Connection, **filters: Any) -> Rows:
        groups: dict[str, dict[str, int]] = {}
        for row in tx.all(statement(tx, "count_by").replace("{column}", column), filters):
            groups.setdefault(row["name"], {})[row["status"]] = row["jobs_count"]
        return [{"name": name, "jobs_count": sum(stats.values()), "stats": stats} for name, stats in groups.items()]

    return answer


def _register_worker(tx: Connection, place: str | None = None) -> Rows:
    return _dicts(tx.all(statement(tx, "register_worker"), {"now": clock(tx), "place": place}))


def _unregister_worker(tx: Connection, *, worker_id: int) -> Rows:
    retire_worker(tx, worker_id)
    return []


def _update_heartbeat(tx: Connection, *, worker_id: int) -> Rows:
    if not beat(tx, worker_id):
        raise exceptions.ConnectorException(f"Worker {worker_id} was taken for dead and pruned.")
    return []


def _prune_stalled_workers(tx: Connection, *, seconds_since_heartbeat: float) -> Rows:
    _, workers = rescue(tx, stalled_after=seconds_since_heartbeat)
    return [{"worker_id": worker_id} for worker_id in workers]


def _plain(name: str) -> Answer:
    def answer(tx: Connection, **parameters: Any) -> Rows:
        return _dicts(tx.all(statement(tx, name), parameters))

    return answer


def _listen_queue(_tx: Connection, **_: Any) -> NoReturn:
    raise exceptions.ConnectorException("Workers are woken otherwise (wakeup.py).")


#: Every query that procrastinate 3.10.0 names.
ANSWERS: Final[dict[str, Answer]] = {
    "cancel_job": _cancel_job,
    "check_connection": _plain("check_connection"),
    "count_jobs_status": _plain("count_jobs_status"),
    "defer_jobs": _defer_jobs,
    "defer_periodic_job": _defer_periodic_job,
    "delete_old_jobs": _delete_old_jobs,
    "fetch_job": _fetch_job,
    "finish_job": _finish_job,
    "get_job_status": _plain("get_job_status"),
    "list_jobs": _list_jobs,
    "list_jobs_to_abort": _plain("list_jobs_to_abort"),
    "list_locks": _count_by("lock"),
    "list_queues": _count_by("queue_name"),
    "list_tasks": _count_by("task_name"),
    "listen_queue": _listen_queue,
    "prune_stalled_workers": _prune_stalled_workers,
    "register_worker": _register_worker,
    "retry_job": _retry_job,
    "select_stalled_jobs_by_heartbeat": _stalled_by_heartbeat,
    "select_stalled_jobs_by_started": _stalled_by_started,
    "unregister_worker": _unregister_worker,
    "update_heartbeat": _update_heartbeat,
}

#: Those that only read.
READS: Final = frozenset(
    {
        "check_connection",
        "count_jobs_status",
        "get_job_status",
        "list_jobs",
        "list_jobs_to_abort",
        "list_locks",
        "list_queues",
        "list_tasks",
        "select_stalled_jobs_by_heartbeat",
        "select_stalled_jobs_by_started",
    }
)
