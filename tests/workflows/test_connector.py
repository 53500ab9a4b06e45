from __future__ import annotations

import datetime as dt
from typing import Any

import procrastinate
import pytest
from procrastinate import App, exceptions
from procrastinate.jobs import Status
from procrastinate.sql import queries

from graticule.database import Database
from graticule.errors import SettingsError
from graticule.workflows.connector import PIN, DatabaseConnector, check_query_names

NAMES = ["note", "other"]


@pytest.fixture
def app(either_database: Database) -> App:
    """An app of procrastinate's own, as its documentation makes one."""
    app = App(connector=DatabaseConnector(either_database, tasks=lambda: NAMES))

    @app.task(name="note", queue="quick")
    async def note(n: int) -> None:
        """Never runs here."""

    return app


async def claim(app: App, queues: list[str] | None = None) -> Any:
    worker_id = await app.job_manager.register_worker()
    return await app.job_manager.fetch_job(queues, worker_id)


def test_the_queries_of_the_installed_version_are_those_answered() -> None:
    check_query_names(queries)
    assert procrastinate.__version__ == PIN


def test_missing_and_unknown_queries_are_named_with_the_pin() -> None:
    theirs = (set(queries) - {"fetch_job"}) | {"fetch_jobs"}
    with pytest.raises(
        SettingsError, match=r"missing queries \['fetch_job'\], unknown queries \['fetch_jobs'\]"
    ) as caught:
        check_query_names(theirs)
    assert "procrastinate==3.10.0" in caught.value.message


async def test_foreign_sql_is_refused(app: App) -> None:
    with pytest.raises(exceptions.ConnectorException, match="named queries only, not 'SELECT 1'"):
        await app.connector.execute_query_async("SELECT 1")
    with pytest.raises(exceptions.ConnectorException, match="woken otherwise"):
        await app.connector.execute_query_async(queries["listen_queue"])


async def test_the_tables_are_found(app: App) -> None:
    assert await app.check_connection_async()
    assert app.check_connection()


async def test_a_claimed_job_is_what_was_deferred(app: App) -> None:
    due = dt.datetime(2024, 5, 17, 12, 30, 0, 123456, tzinfo=dt.UTC)
    arguments: dict[str, Any] = {
        "n": 2**53 + 1,
        "name": "ünï \" ' \\ \n",
        "list": [1.5, None, True],
        "nested": {"a": "{}"},
    }
    job_id = await app.configure_task("note", priority=3, lock="l", queueing_lock="q", schedule_at=due).defer_async(
        **arguments
    )
    job = await claim(app)
    assert (job.id, job.queue, job.task_name, job.task_kwargs) == (job_id, "quick", "note", arguments)
    assert (job.priority, job.lock, job.queueing_lock, job.scheduled_at) == (3, "l", "q", due)
    assert (job.attempts, job.status, job.abort_requested) == (0, "doing", False)
    assert await claim(app) is None


async def test_only_the_queues_asked_for_are_claimed_from(app: App) -> None:
    await app.configure_task("note").defer_async(n=1)
    await app.configure_task("other", queue="slow").defer_async(n=2)
    assert (await claim(app, ["slow"])).task_name == "other"
    assert await claim(app, ["slow"]) is None


async def test_a_job_whose_lock_is_taken_does_not_hold_up_the_others(app: App) -> None:
    for lock in ["a", "a", "b", None]:
        await app.configure_task("note", lock=lock).defer_async(n=1)
    claimed = [await claim(app) for _ in range(4)]
    assert [job.lock if job else "nothing" for job in claimed] == ["a", "b", None, "nothing"]


async def test_a_job_waits_for_the_earlier_ones_of_its_lock_even_if_they_are_not_due(app: App) -> None:
    await app.configure_task("note", lock="l", schedule_in={"hours": 1}).defer_async(n=1)
    await app.configure_task("note", lock="l").defer_async(n=2)
    assert await claim(app) is None
    await app.configure_task("note", lock="l", priority=1).defer_async(n=3)
    assert (await claim(app)).task_kwargs == {"n": 3}


async def test_a_pruned_worker_cannot_claim_or_beat(app: App) -> None:
    await app.configure_task("note").defer_async(n=1)
    with pytest.raises(exceptions.ConnectorException, match=r"(?i)foreign key"):
        await app.job_manager.fetch_job(None, 77)
    with pytest.raises(exceptions.ConnectorException, match="Worker 77 was taken for dead"):
        await app.job_manager.update_heartbeat(77)


async def test_a_second_job_of_a_queueing_lock_is_already_enqueued(app: App) -> None:
    deferrer = app.configure_task("note", queueing_lock="q")
    await deferrer.defer_async(n=1)
    with pytest.raises(exceptions.AlreadyEnqueued):
        await deferrer.defer_async(n=2)
    with pytest.raises(exceptions.AlreadyEnqueued):
        deferrer.defer(n=3)
    assert len(list(await app.job_manager.list_jobs_async())) == 1


async def test_a_batch_is_deferred_whole_or_not_at_all(app: App) -> None:
    with pytest.raises(exceptions.AlreadyEnqueued):
        await app.configure_task("note", queueing_lock="q").batch_defer_async({"n": 1}, {"n": 2})
    assert list(await app.job_manager.list_jobs_async()) == []


@pytest.mark.parametrize(
    ("abort", "delete_job", "waiting", "aborted"),
    [
        (False, False, "cancelled", False),
        (False, True, "gone", False),
        (True, False, "cancelled", True),
        (True, True, "gone", True),
    ],
)
async def test_cancelling(app: App, abort: bool, delete_job: bool, waiting: str, aborted: bool) -> None:
    manager = app.job_manager
    doing = await app.configure_task("note").defer_async(n=1)
    await claim(app)
    todo = await app.configure_task("note").defer_async(n=2)
    assert await manager.cancel_job_by_id_async(todo, abort=abort, delete_job=delete_job)
    assert await manager.cancel_job_by_id_async(doing, abort=abort, delete_job=delete_job) is aborted
    assert list(await manager.list_jobs_to_abort_async()) == ([doing] if aborted else [])
    statuses = {job.id: job.status for job in await manager.list_jobs_async()}
    assert statuses == {doing: "doing"} | ({} if waiting == "gone" else {todo: waiting})
    assert not await manager.cancel_job_by_id_async(999)


async def test_jobs_are_finished_and_retried_from_outside(app: App) -> None:
    manager = app.job_manager
    job_id = await app.configure_task("note").defer_async(n=1)
    job = await claim(app)
    await manager.finish_job(job, Status.FAILED, delete_job=False)
    assert await manager.get_job_status_async(job_id) is Status.FAILED
    await manager.retry_job(job)
    assert manager.get_job_status(job_id) is Status.TODO
    assert (await claim(app)).attempts == 2
    await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
    with pytest.raises(exceptions.ConnectorException, match="was not found"):
        await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
    with pytest.raises(exceptions.ConnectorException, match="was not found"):
        await manager.retry_job(job)
    with pytest.raises(exceptions.NoResult):
        await manager.get_job_status_async(job_id)


async def test_jobs_are_listed_and_counted(app: App) -> None:
    manager = app.job_manager
    await app.configure_task("note", lock="l").defer_async(n=1)
    await app.configure_task("other").defer_async(n=2)
    await claim(app)
    assert [job.task_name for job in await manager.list_jobs_async(status="doing")] == ["note"]
    (queue,) = await manager.list_queues_async(queue="quick")
    assert (queue["name"], queue["jobs_count"], queue["doing"], queue["todo"]) == ("quick", 1, 1, 0)
    assert [(task["name"], task["todo"]) for task in manager.list_tasks()] == [("note", 0), ("other", 1)]
    assert [(lock["name"], lock["jobs_count"]) for lock in await manager.list_locks_async()] == [("l", 1)]


async def test_old_ended_jobs_are_deleted(app: App, either_database: Database) -> None:
    manager = app.job_manager
    await app.configure_task("note").defer_async(n=1)
    await app.configure_task("note").defer_async(n=2)
    await manager.finish_job(await claim(app), Status.SUCCEEDED, delete_job=False)
    await manager.delete_old_jobs(nb_hours=1)
    assert len(list(await manager.list_jobs_async())) == 2
    await either_database.write(
        lambda tx: tx.execute("UPDATE procrastinate_jobs SET changed_at = changed_at - 3700000000")
    )
    await manager.delete_old_jobs(nb_hours=1)
    assert [job.status for job in await manager.list_jobs_async()] == ["todo"]


async def test_stalled_jobs_are_those_of_workers_without_a_heartbeat(app: App, either_database: Database) -> None:
    manager = app.job_manager
    job_id = await app.configure_task("note").defer_async(n=1)
    await claim(app)
    assert list(await manager.get_stalled_jobs(seconds_since_heartbeat=30)) == []
    await either_database.write(
        lambda tx: tx.execute("UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat - 31000000")
    )
    assert [job.id for job in await manager.get_stalled_jobs(seconds_since_heartbeat=30)] == [job_id]
    assert await manager.prune_stalled_workers(30) == [1]
    assert await manager.get_job_status_async(job_id) is Status.TODO


async def test_a_tick_is_deferred_by_the_first_worker_only(app: App) -> None:
    @app.periodic(cron="* * * * *")
    @app.task(name="other", queue="quick")
    async def other(timestamp: int) -> None:
        """Never runs here."""

    job = app.configure_task("other", task_kwargs={"timestamp": 60}).job
    later = app.configure_task("other", task_kwargs={"timestamp": 120}).job
    manager = app.job_manager
    assert await manager.defer_periodic_job(job, "", 60) is not None
    assert await manager.defer_periodic_job(job, "", 60) is None
    assert await manager.defer_periodic_job(later, "", 120) is not None
    first = await claim(app)
    assert first.task_kwargs == {"timestamp": 60}
    await manager.finish_job(first, Status.SUCCEEDED, delete_job=True)


async def test_an_async_call_on_a_connection_is_refused(app: App) -> None:
    with pytest.raises(exceptions.ConnectorException, match="does not support external connections"):
        await app.configure_task("note", connection=object()).defer_async(n=1)
