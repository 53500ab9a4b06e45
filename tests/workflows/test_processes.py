"""Several processes on one database, of each kind."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from graticule.database import Connection, Database
from graticule.workflows import Attempt, Engine, Timing

MakeEngine = Callable[..., Engine]
Running = Callable[..., AbstractAsyncContextManager[None]]
Until = Callable[..., Awaitable[Any]]
JobRows = Callable[[Database], list[dict[str, Any]]]
StartProcess = Callable[..., subprocess.Popen[bytes]]


RESULTS = "CREATE TABLE results (n BIGINT, kind TEXT, job_id BIGINT, worker_id BIGINT, losses BIGINT)"


def results(database: Database, kind: str) -> list[tuple[int, int, int]]:
    sql = "SELECT n, worker_id, losses FROM results WHERE kind = :kind"
    return database.read_now(lambda tx: [tuple(row) for row in tx.all(sql, {"kind": kind})])


def counted(database: Database, table: str) -> int:
    return database.read_now(lambda tx: int(tx.value(f"SELECT count(*) FROM {table}")))


@pytest.fixture
def engine(database: Database, make_engine: MakeEngine) -> Engine:
    """Knows the tasks of the worker processes, and runs none itself."""
    database.write_now(lambda tx: tx.execute("DROP TABLE IF EXISTS results"))  # of a test before, where a server has it
    database.write_now(lambda tx: tx.execute(RESULTS))
    engine: Engine = make_engine(database)
    for name in ["publish", "publish when allowed"]:

        @engine.task(name)
        async def task(attempt: Attempt, **ids: object) -> None:
            """Never runs here."""

    return engine


async def test_three_processes_run_a_thousand_jobs_once_each(
    database: Database, engine: Engine, start_process: StartProcess, until: Until
) -> None:
    await database.write(lambda tx: engine.defer(tx, "publish", [{"n": n} for n in range(1000)]))
    for _ in range(3):
        start_process()
    await until(lambda: counted(database, "procrastinate_jobs") == 0)
    published = results(database, "published")
    assert Counter(n for n, _, _ in published) == Counter(range(1000))
    assert len({worker_id for _, worker_id, _ in published}) == 3


async def test_a_worker_wakes_on_commits_of_another_process(
    database: Database, engine: Engine, start_process: StartProcess, until: Until
) -> None:
    start_process(polling=3600.0)
    await until(lambda: counted(database, "procrastinate_workers"))
    for n in range(3):
        jobs = [{"n": n}]
        await database.write(partial(engine.defer, task_name="publish", jobs=jobs))
        await until(lambda n=n: len(results(database, "published")) == n + 1)


async def test_the_job_of_a_killed_worker_is_taken_over(
    database: Database, engine: Engine, start_process: StartProcess, until: Until, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    ids = {"n": 1, "flag": str(flag)}
    await database.write(lambda tx: engine.defer(tx, "publish when allowed", [ids]))
    first = start_process(stalled=1.0)
    await until(lambda: results(database, "started"))
    first.kill()
    start_process(stalled=1.0)
    await until(lambda: len(results(database, "started")) == 2)
    flag.touch()
    (published,) = await until(lambda: results(database, "published"))
    assert published[2] == 1  # one loss


async def test_the_late_result_of_a_suspended_worker_is_refused(
    database: Database, engine: Engine, start_process: StartProcess, until: Until, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    ids = {"n": 1, "flag": str(flag)}
    await database.write(lambda tx: engine.defer(tx, "publish when allowed", [ids]))
    zombie = start_process(stalled=1.0, heartbeat=0.5, stubborn=True)
    await until(lambda: results(database, "started"))
    # Not while it holds the lock of SQLite's file: nobody would write until it wakes.
    await database.write(lambda _: zombie.send_signal(signal.SIGSTOP))
    start_process(stalled=1.0)
    await until(lambda: len(results(database, "started")) == 2)
    flag.touch()
    await until(lambda: results(database, "published"))
    await until(lambda: counted(database, "procrastinate_jobs") == 0)
    zombie.send_signal(signal.SIGCONT)
    refused = await until(lambda: results(database, "refused"))
    ((_, published, losses),) = results(database, "published")
    assert published not in {worker_id for _, worker_id, _ in refused}
    assert losses == 1
    # And the worker that was taken for dead works again.
    await until(lambda: counted(database, "procrastinate_workers") == 2)
    assert zombie.poll() is None


@pytest.mark.parametrize("point", ["workflows.claim.after", "workflows.finish.before", "workflows.finish.after"])
async def test_no_job_is_lost_when_a_worker_dies_at(
    point: str, database: Database, engine: Engine, start_process: StartProcess, until: Until
) -> None:
    await database.write(lambda tx: engine.defer(tx, "publish", [{"n": n} for n in range(5)]))
    environment = {"GRATICULE_CRASH_POINT": f"{point}:3"}
    assert start_process(stalled=0.8, environment=environment).wait(timeout=30) == -signal.SIGKILL
    start_process(stalled=0.8)
    await until(lambda: counted(database, "procrastinate_jobs") == 0)
    assert {n for n, _, _ in results(database, "published")} == set(range(5))


async def test_a_stopped_process_hands_its_job_back_and_ends(
    *, database: Database, engine: Engine, start_process: StartProcess, until: Until, job_rows: JobRows, tmp_path: Path
) -> None:
    ids = {"n": 1, "flag": str(tmp_path / "flag")}
    await database.write(lambda tx: engine.defer(tx, "publish when allowed", [ids]))
    process = start_process()
    await until(lambda: results(database, "started"))
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert [(row["status"], row["losses"], row["failures"]) for row in job_rows(database)] == [("todo", 0, 0)]
    assert counted(database, "procrastinate_workers") == 0


async def test_a_writer_at_full_load_locks_nobody_out(
    *,
    database: Database,
    engine: Engine,
    start_process: StartProcess,
    until: Until,
    job_rows: JobRows,
    running: Running,
    make_engine: MakeEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def prepare(tx: Connection) -> None:
        tx.execute("DROP TABLE IF EXISTS load")
        tx.execute("CREATE TABLE load (n BIGINT)")
        tx.execute("INSERT INTO load VALUES (0)")

    await database.write(prepare)
    worker = make_engine(database, timing=Timing(heartbeat=1.0, stalled=30.0))
    attempts: list[Attempt] = []

    @worker.task("publish")
    async def publish(attempt: Attempt, n: int) -> None:  # noqa: ARG001 - jobs carry it
        await database.write(attempt.still_ours)
        attempts.append(attempt)

    hammer = start_process("hammer")
    await until(lambda: database.read_now(lambda tx: tx.value("SELECT n FROM load")))
    async with running(worker, 8):
        await database.write(lambda tx: engine.defer(tx, "publish", [{"n": n} for n in range(4)]))
        await until(lambda: not job_rows(database), limit=120.0)
        assert hammer.poll() is None
    assert len(attempts) == 4
    assert {(attempt.failures, attempt.losses) for attempt in attempts} == {(0, 0)}
    assert "locked" not in caplog.text
    assert "taken" not in caplog.text
