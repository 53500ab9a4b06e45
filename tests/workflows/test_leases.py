from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
from procrastinate.jobs import Status

from graticule.database import Connection, Database
from graticule.stac.datetimes import now_us
from graticule.workflows import Attempt, Engine, LeaseLost, release_all, release_place
from graticule.workflows.connector import DatabaseConnector
from graticule.workflows.leases import Held, Lease, beat, current_lease, hand_back, rescue, retire_worker
from graticule.workflows.statements import statement

MakeEngine = Callable[..., Engine]
Running = Callable[..., AbstractAsyncContextManager[None]]
Until = Callable[..., Awaitable[Any]]
JobRows = Callable[[Database], list[dict[str, Any]]]


def register(tx: Connection, place: str | None = None) -> int:
    row = tx.one(statement(tx, "register_worker"), {"now": now_us(), "place": place})
    assert row is not None
    return int(row[0])


def claim(tx: Connection, worker_id: int) -> Attempt:
    parameters = {"queues": None, "tasks": '["note"]', "worker_id": worker_id, "now": now_us()}
    row = tx.one(statement(tx, "fetch_job"), parameters)
    assert row is not None
    return Attempt(row["id"], worker_id, row["attempts"], row["failures"], row["losses"])


def held(attempt: Attempt) -> Held:
    return Held(attempt.job_id, attempt.worker_id, attempt.attempts, attempt.losses)


@pytest.fixture
def engine(database: Database, make_engine: MakeEngine) -> Engine:
    engine: Engine = make_engine(database)

    @engine.task("note")
    async def note(attempt: Attempt, n: int) -> None:
        """Never runs here."""

    return engine


@pytest.fixture
def attempt(database: Database, engine: Engine) -> Attempt:
    """A running job of a worker that beats."""
    database.write_now(lambda tx: engine.defer(tx, "note", [{"n": 1}]))
    return database.write_now(lambda tx: claim(tx, register(tx)))


def lose_worker(database: Database, worker_id: int) -> None:
    sql = "UPDATE procrastinate_workers SET last_heartbeat = :then WHERE id = :id"
    database.write_now(lambda tx: tx.execute(sql, {"then": now_us() - 31_000_000, "id": worker_id}))


def test_the_holder_may_publish(database: Database, attempt: Attempt) -> None:
    database.write_now(attempt.still_ours)


def test_a_job_taken_over_is_no_longer_ours(database: Database, attempt: Attempt) -> None:
    lose_worker(database, attempt.worker_id)
    database.write_now(lambda tx: rescue(tx, stalled_after=30))
    with pytest.raises(LeaseLost, match=f"Job {attempt.job_id} "):
        database.write_now(attempt.still_ours)
    successor = database.write_now(lambda tx: claim(tx, register(tx)))
    assert successor.job_id == attempt.job_id
    assert successor.worker_id != attempt.worker_id
    assert (successor.attempts, successor.failures, successor.losses) == (1, 0, 1)
    database.write_now(successor.still_ours)
    with pytest.raises(LeaseLost):
        database.write_now(attempt.still_ours)


def test_the_same_worker_claiming_the_job_again_is_another_attempt(database: Database, attempt: Attempt) -> None:
    database.write_now(lambda tx: hand_back(tx, held(attempt)))
    again = database.write_now(lambda tx: claim(tx, attempt.worker_id))
    assert again.worker_id == attempt.worker_id
    with pytest.raises(LeaseLost):
        database.write_now(attempt.still_ours)


def test_the_rescue_leaves_workers_that_beat_alone(database: Database, attempt: Attempt) -> None:
    assert database.write_now(lambda tx: rescue(tx, stalled_after=30)) == ([], [])
    database.write_now(attempt.still_ours)


def test_the_rescue_forgets_lost_workers(database: Database, attempt: Attempt) -> None:
    lose_worker(database, attempt.worker_id)
    freed, workers = database.write_now(lambda tx: rescue(tx, stalled_after=30))
    assert [(job.job_id, job.losses) for job in freed] == [(attempt.job_id, 1)]
    assert workers == [attempt.worker_id]
    assert not database.write_now(lambda tx: beat(tx, attempt.worker_id))


def test_a_job_without_a_worker_is_rescued(database: Database, attempt: Attempt) -> None:
    database.write_now(lambda tx: tx.execute("DELETE FROM procrastinate_workers"))
    freed, _ = database.write_now(lambda tx: rescue(tx, stalled_after=30))
    assert [job.job_id for job in freed] == [attempt.job_id]


def test_a_rescuer_that_comes_late_changes_nothing(database: Database, attempt: Attempt) -> None:
    database.write_now(lambda tx: hand_back(tx, held(attempt)))
    database.write_now(lambda tx: claim(tx, register(tx)))
    assert not database.write_now(lambda tx: hand_back(tx, held(attempt), losses=1))


def test_a_handed_back_job_gives_up_its_queueing_lock_to_one_that_waits(
    database: Database, engine: Engine, job_rows: JobRows
) -> None:
    def defer(tx: Connection) -> None:
        engine.defer(tx, "note", [{"n": 1}], queueing_lock="sweep")

    database.write_now(defer)
    first = database.write_now(lambda tx: claim(tx, register(tx)))
    database.write_now(defer)
    second = database.write_now(lambda tx: claim(tx, first.worker_id))
    lose_worker(database, first.worker_id)
    freed, _ = database.write_now(lambda tx: rescue(tx, stalled_after=30))
    assert {job.job_id for job in freed} == {first.job_id, second.job_id}
    # One of them has it, whichever the database took first.
    assert {(row["status"], row["queueing_lock"]) for row in job_rows(database)} == {("todo", "sweep"), ("todo", None)}


def test_a_retiring_worker_hands_back_without_a_loss(database: Database, attempt: Attempt, job_rows: JobRows) -> None:
    database.write_now(lambda tx: retire_worker(tx, attempt.worker_id))
    assert [(row["status"], row["attempts"], row["losses"]) for row in job_rows(database)] == [("todo", 1, 0)]
    assert database.read_now(lambda tx: tx.value("SELECT count(*) FROM procrastinate_workers")) == 0


def test_release_all_frees_every_job_at_once_without_a_loss(
    database: Database, engine: Engine, attempt: Attempt, job_rows: JobRows
) -> None:
    database.write_now(lambda tx: engine.defer(tx, "note", [{"n": 2}, {"n": 3}]))
    database.write_now(lambda tx: claim(tx, register(tx)))
    assert [job.ids for job in database.write_now(release_all)] == [{"n": 1}, {"n": 2}]
    assert [(row["status"], row["worker_id"], row["losses"]) for row in job_rows(database)] == [("todo", None, 0)] * 3
    with pytest.raises(LeaseLost):
        database.write_now(attempt.still_ours)
    assert database.write_now(register) > attempt.worker_id  # ids never come back


def test_release_of_a_place_leaves_the_workers_of_others_alone(
    database: Database, engine: Engine, job_rows: JobRows
) -> None:
    database.write_now(lambda tx: engine.defer(tx, "note", [{"n": n} for n in range(3)]))
    here = database.write_now(lambda tx: claim(tx, register(tx, "here")))
    there = database.write_now(lambda tx: claim(tx, register(tx, "there")))
    nowhere = database.write_now(lambda tx: claim(tx, register(tx)))
    assert database.write_now(lambda tx: release_place(tx, "here")) == [(here.job_id, {"n": 0})]
    with pytest.raises(LeaseLost):
        database.write_now(here.still_ours)
    for attempt in (there, nowhere):
        database.write_now(attempt.still_ours)
        assert database.write_now(partial(beat, worker_id=attempt.worker_id))
    assert [row["losses"] for row in job_rows(database)] == [0, 0, 0]


async def test_a_job_that_lost_its_worker_too_often_is_given_up(
    database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(database, max_losses=2)
    ran: list[int] = []
    told: list[tuple[int, str]] = []

    async def on_give_up(attempt: Attempt, _: Mapping[str, Any], error: Exception) -> None:
        told.append((attempt.losses, str(error)))

    @engine.task("note", on_give_up=on_give_up)
    async def note(_: Attempt, n: int) -> None:
        ran.append(n)

    await database.write(lambda tx: engine.defer(tx, "note", [{"n": 1}]))
    for _ in range(3):
        lost = database.write_now(lambda tx: claim(tx, register(tx)))
        lose_worker(database, lost.worker_id)
        database.write_now(lambda tx: rescue(tx, stalled_after=30))
    async with running(engine):
        await until(lambda: not job_rows(database))
    assert told == [(3, "Job 1 failed 0 times and lost its worker 3 times.")]
    assert ran == []


@pytest.mark.parametrize("delete_job", [True, False])
async def test_a_zombie_can_neither_finish_nor_retry_the_job(
    *,
    database: Database,
    engine: Engine,
    attempt: Attempt,
    job_rows: JobRows,
    caplog: pytest.LogCaptureFixture,
    delete_job: bool,
) -> None:
    connector = DatabaseConnector(database, tasks=lambda: ["note"])
    manager = engine._app.job_manager
    manager.connector = connector
    (job,) = await manager.list_jobs_async(id=attempt.job_id)
    lose_worker(database, attempt.worker_id)
    database.write_now(lambda tx: rescue(tx, stalled_after=30))
    successor = database.write_now(lambda tx: claim(tx, register(tx)))
    before = job_rows(database)

    token = current_lease.set(Lease(attempt))
    await manager.finish_job(job, Status.SUCCEEDED, delete_job=delete_job)
    await manager.retry_job(job)
    current_lease.reset(token)
    assert job_rows(database) == before
    assert [record.getMessage() for record in caplog.records if getattr(record, "action", "") == "lease_refused"] == [
        f"Worker {attempt.worker_id} no longer holds job {attempt.job_id}: its finish changes nothing",
        f"Worker {attempt.worker_id} no longer holds job {attempt.job_id}: its retry changes nothing",
    ]

    token = current_lease.set(Lease(successor))
    await manager.finish_job(job, Status.SUCCEEDED, delete_job=delete_job)
    current_lease.reset(token)
    assert [row["status"] for row in job_rows(database)] == ([] if delete_job else ["succeeded"])
