from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest

from graticule.database import Connection, Database
from graticule.workflows import AlreadyQueued, Attempt, Engine, GivenUp, LeaseLost, Timing
from graticule.workflows.retry import Backoff

MakeEngine = Callable[..., Engine]
Running = Callable[..., AbstractAsyncContextManager[None]]
Until = Callable[..., Awaitable[Any]]
JobRows = Callable[[Database], list[dict[str, Any]]]


class Recorder:
    """Registers a task that notes its runs."""

    def __init__(self, engine: Engine, name: str = "note", **options: Any) -> None:
        self.runs: list[Any] = []
        self.attempts: list[Attempt] = []

        @engine.task(name, **options)
        async def note(attempt: Attempt, n: Any) -> None:
            self.attempts.append(attempt)
            self.runs.append(n)


def defer(database: Database, engine: Engine, *numbers: Any, name: str = "note", **options: Any) -> list[int]:
    return database.write_now(lambda tx: engine.defer(tx, name, [{"n": n} for n in numbers], **options))


async def test_every_job_runs_once_and_its_row_is_deleted(
    either_database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(either_database)
    notes = Recorder(engine)
    ids = await either_database.write(lambda tx: engine.defer(tx, "note", [{"n": n} for n in range(50)]))
    assert len(set(ids)) == 50
    async with running(engine):
        await until(lambda: not job_rows(either_database))
    assert sorted(notes.runs) == list(range(50))


def test_ids_are_in_the_order_of_the_jobs(database: Database, make_engine: MakeEngine, job_rows: JobRows) -> None:
    engine = make_engine(database)
    Recorder(engine)
    ids = defer(database, engine, *"cab")
    assert [(row["id"], row["args"]) for row in job_rows(database)] == list(
        zip(ids, ['{"n":"c"}', '{"n":"a"}', '{"n":"b"}'], strict=True)
    )


def test_nothing_deferred_is_no_job(database: Database, make_engine: MakeEngine) -> None:
    engine = make_engine(database)
    Recorder(engine)
    assert defer(database, engine) == []


def test_a_job_rolls_back_with_the_rows_of_its_caller(
    either_database: Database, make_engine: MakeEngine, job_rows: JobRows
) -> None:
    engine = make_engine(either_database)
    Recorder(engine)

    def fail_after_deferring(tx: Connection) -> None:
        engine.defer(tx, "note", [{"n": 1}])
        raise ValueError("the caller fails")

    with pytest.raises(ValueError, match="the caller fails"):
        either_database.write_now(fail_after_deferring)
    assert job_rows(either_database) == []


def test_an_unknown_task_cannot_be_deferred(database: Database, make_engine: MakeEngine) -> None:
    engine = make_engine(database)
    Recorder(engine)
    with pytest.raises(LookupError, match=r"'nope': known are \['note'\]"):
        defer(database, engine, 1, name="nope")


async def test_jobs_of_a_task_that_a_worker_does_not_know_stay_waiting(
    database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    newer, older = make_engine(database), make_engine(database)
    Recorder(newer, "new")
    notes = Recorder(older)
    Recorder(newer)
    await database.write(lambda tx: newer.defer(tx, "new", [{"n": 1}], priority=9))
    await database.write(lambda tx: newer.defer(tx, "note", [{"n": 2}]))
    async with running(older):
        await until(lambda: notes.runs)
    assert [(row["task_name"], row["status"]) for row in job_rows(database)] == [("new", "todo")]


async def test_higher_priorities_run_first_and_equal_ones_in_order(
    either_database: Database, make_engine: MakeEngine, running: Running, until: Until
) -> None:
    engine = make_engine(either_database)
    notes = Recorder(engine)
    defer(either_database, engine, 1, 2)
    defer(either_database, engine, 3, 4, priority=5)
    defer(either_database, engine, 5, priority=-5)
    async with running(engine, 1):
        await until(lambda: len(notes.runs) == 5)
    assert notes.runs == [3, 4, 1, 2, 5]


async def test_jobs_of_one_lock_run_one_after_the_other(
    either_database: Database, make_engine: MakeEngine, running: Running, until: Until
) -> None:
    engine = make_engine(either_database)
    inside: list[int] = []
    order: list[int] = []
    together: list[int] = []

    @engine.task("note")
    async def note(_: Attempt, n: int) -> None:
        inside.append(n)
        await asyncio.sleep(0.01)
        together.append(len(inside))
        inside.remove(n)
        order.append(n)

    defer(either_database, engine, *range(8), lock="one")
    async with running(engine, 8):
        await until(lambda: len(order) == 8)
    assert order == list(range(8))
    assert set(together) == {1}


def test_only_one_job_of_a_queueing_lock_waits(
    either_database: Database, make_engine: MakeEngine, job_rows: JobRows
) -> None:
    engine = make_engine(either_database)
    Recorder(engine)
    defer(either_database, engine, 1, queueing_lock="sweep")

    def defer_again(tx: Connection) -> None:
        with pytest.raises(AlreadyQueued, match="'sweep'"):
            engine.defer(tx, "note", [{"n": 2}], queueing_lock="sweep")
        engine.defer(tx, "note", [{"n": 3}])  # the transaction goes on

    either_database.write_now(defer_again)
    assert [row["args"] for row in job_rows(either_database)] == ['{"n":1}', '{"n":3}']


async def test_a_scheduled_job_waits_for_its_time(
    database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(database)
    notes = Recorder(engine)
    defer(database, engine, "later", schedule_in=timedelta(hours=1))
    defer(database, engine, "soon", schedule_in=timedelta(milliseconds=150))
    async with running(engine):
        await until(lambda: notes.runs)
    assert notes.runs == ["soon"]
    assert [row["args"] for row in job_rows(database)] == ['{"n":"later"}']


async def test_a_task_that_raises_is_tried_again(
    either_database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(either_database)
    attempts: list[Attempt] = []

    @engine.task("note")
    async def note(attempt: Attempt, n: int) -> None:
        attempts.append(attempt)
        if len(attempts) < 3:
            raise ValueError(n)

    defer(either_database, engine, 1)
    async with running(engine):
        await until(lambda: len(attempts) == 3 and not job_rows(either_database))
    assert [(attempt.attempts, attempt.failures) for attempt in attempts] == [(0, 0), (1, 1), (2, 2)]


async def test_after_the_last_attempt_the_domain_is_told_and_the_job_removed(
    database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(database, max_attempts=3)
    told: list[tuple[int, Mapping[str, Any], Exception]] = []

    async def on_give_up(attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        await database.write(attempt.still_ours)
        told.append((attempt.failures, ids, error))

    @engine.task("note", on_give_up=on_give_up)
    async def note(_: Attempt, n: int) -> None:
        raise ValueError(f"bug {n}")

    defer(database, engine, 7)
    async with running(engine):
        await until(lambda: not job_rows(database))
    assert [(failures, ids, str(error)) for failures, ids, error in told] == [(2, {"n": 7}, "bug 7")]


async def test_giving_up_is_tried_again_until_it_works(
    database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(database, max_attempts=1)
    errors: list[Exception] = []
    runs: list[int] = []

    async def on_give_up(_: Attempt, __: Mapping[str, Any], error: Exception) -> None:
        errors.append(error)
        if len(errors) < 3:
            raise OSError("the database is away")

    @engine.task("note", on_give_up=on_give_up)
    async def note(_: Attempt, n: int) -> None:
        runs.append(n)
        raise ValueError(n)

    defer(database, engine, 7)
    async with running(engine):
        await until(lambda: not job_rows(database))
    assert [type(error) for error in errors] == [ValueError, GivenUp, GivenUp]
    assert runs == [7]


async def test_a_task_that_cancels_itself_counts_as_failed(
    database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(database)
    failures: list[int] = []

    @engine.task("note")
    async def note(attempt: Attempt, n: int) -> None:  # noqa: ARG001 - jobs carry it
        failures.append(attempt.failures)
        if attempt.failures == 0:
            raise asyncio.CancelledError

    defer(database, engine, 7)
    async with running(engine):
        await until(lambda: not job_rows(database))
    assert failures == [0, 1]


async def test_the_text_of_foreign_errors_is_not_logged(
    *,
    database: Database,
    make_engine: MakeEngine,
    running: Running,
    until: Until,
    job_rows: JobRows,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = make_engine(database, max_attempts=2)

    @engine.task("note")
    async def note(_: Attempt, n: int) -> None:  # noqa: ARG001 - jobs carry it
        raise ValueError("https://source.example/a.tif?sig=SECRET")

    defer(database, engine, 7)
    async with running(engine):
        await until(lambda: not job_rows(database))
    assert "SECRET" not in caplog.text
    failed = [record for record in caplog.records if getattr(record, "action", "") == "job_failed"]
    assert [vars(record)["ids"] for record in failed] == [{"n": 7}, {"n": 7}]
    assert "ValueError at note (test_engine.py" in caplog.text


async def test_a_stop_cancels_the_tasks_and_hands_their_jobs_back(
    either_database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(either_database)
    started: list[Attempt] = []
    cancelled: list[int] = []

    @engine.task("note")
    async def note(attempt: Attempt, n: int) -> None:
        started.append(attempt)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(n)
            raise

    defer(either_database, engine, 1, 2)
    async with running(engine):
        await until(lambda: len(started) == 2)
    rows = job_rows(either_database)
    assert [(row["status"], row["worker_id"], row["failures"], row["losses"]) for row in rows] == [
        ("todo", None, 0, 0)
    ] * 2
    assert sorted(cancelled) == [1, 2]
    with pytest.raises(LeaseLost):
        await either_database.write(started[0].still_ours)


async def test_a_task_that_ignores_its_cancellation_does_not_keep_its_job(
    database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(database, timing=Timing(heartbeat=0.1, polling=0.1, stop=0.1))
    started: list[Attempt] = []
    refused: list[LeaseLost] = []
    go_on = asyncio.Event()

    @engine.task("note")
    async def note(attempt: Attempt, n: int) -> None:  # noqa: ARG001 - jobs carry it
        started.append(attempt)
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        try:
            await database.write(attempt.still_ours)
        except LeaseLost as exc:
            refused.append(exc)
            raise

    defer(database, engine, 1)
    async with running(engine):
        await until(lambda: started)
    assert [row["status"] for row in job_rows(database)] == ["todo"]
    go_on.set()
    await until(lambda: refused)
    await until(lambda: len(asyncio.all_tasks()) == 1)  # the left-behind worker ends by itself
    assert [(row["status"], row["failures"]) for row in job_rows(database)] == [("todo", 0)]


async def test_cancelled_jobs_do_not_run_or_stop_running(
    either_database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(either_database)
    started: list[int] = []

    @engine.task("note")
    async def note(_: Attempt, n: int) -> None:
        started.append(n)
        await asyncio.Event().wait()

    ids = defer(either_database, engine, 1, 2)
    async with running(engine, 1):
        await until(lambda: started)
        assert await either_database.write(lambda tx: engine.cancel(tx, [*ids, 999])) == 2
        await until(lambda: not job_rows(either_database))
    assert started == [1]


async def test_a_worker_that_dies_is_started_again(
    database: Database, make_engine: MakeEngine, running: Running, until: Until, job_rows: JobRows
) -> None:
    engine = make_engine(database)
    notes = Recorder(engine)
    async with running(engine):
        await until(lambda: database.read_now(lambda tx: tx.value("SELECT count(*) FROM procrastinate_workers")))
        # As after a suspension: another worker has pruned this one.
        await database.write(lambda tx: tx.execute("DELETE FROM procrastinate_workers"))
        defer(database, engine, 1)
        await until(lambda: notes.runs and not job_rows(database))
    assert notes.runs == [1]
    assert notes.attempts[0].worker_id > 1


async def test_an_idle_worker_that_was_pruned_registers_again(
    database: Database, make_engine: MakeEngine, running: Running, until: Until
) -> None:
    engine = make_engine(database)

    def worker_ids() -> list[int]:
        return database.read_now(lambda tx: [row[0] for row in tx.all("SELECT id FROM procrastinate_workers")])

    async with running(engine):
        first = await until(worker_ids)
        await database.write(lambda tx: tx.execute("DELETE FROM procrastinate_workers"))
        assert await until(worker_ids) != first


async def test_a_worker_wakes_on_commits_of_its_own_process(
    either_database: Database, make_engine: MakeEngine, running: Running, until: Until
) -> None:
    engine = make_engine(either_database, timing=Timing(polling=3600.0))
    notes = Recorder(engine)
    async with running(engine):
        for n in range(3):
            defer(either_database, engine, n)
            await until(lambda n=n: n in notes.runs)


def test_delays_grow_to_the_longest_and_are_spread() -> None:
    backoff = Backoff(first=1.0, longest=60.0)
    for failures, full in [(0, 1.0), (1, 2.0), (4, 16.0), (9, 60.0), (10_000, 60.0)]:
        delays = {backoff.delay(failures).total_seconds() for _ in range(50)}
        assert full / 2 <= min(delays) < max(delays) <= full
