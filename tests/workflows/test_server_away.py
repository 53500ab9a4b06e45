"""A PostgreSQL server that goes away under the engine, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import psycopg
import pytest

import postgres_server
from graticule.database import Database, SqliteDatabase, database_errors, is_duplicate, passing_fault, said, unreachable
from graticule.database.postgres import PostgresDatabase
from graticule.workflows import Attempt, Backoff, Engine, Timing
from postgres_server import PostgresServer

MakeEngine = Callable[..., Engine]
Running = Callable[..., AbstractAsyncContextManager[None]]
Until = Callable[..., Awaitable[Any]]
JobRows = Callable[[Database], list[dict[str, Any]]]

#: Asks for jobs when it is told of some, and hardly ever by itself; so nothing makes it fail while the server is away.
PATIENT = Timing(heartbeat=0.1, stalled=30.0, polling=3600.0, wake=0.02, restart=Backoff(0.05, 0.1))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    programs = postgres_server.programs()
    if programs is None:
        pytest.skip("no PostgreSQL server: install one, or name its folder of programs with GRATICULE_TEST_POSTGRES")
    with postgres_server.running(programs) as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> Iterator[Database]:
    with server.emptied_database("template1") as url:
        database = PostgresDatabase(url)
        yield database
        database.close()


async def test_a_worker_is_woken_again_after_a_restart_of_the_server(
    *, database: Database, server: PostgresServer, make_engine: MakeEngine, running: Running, until: Until
) -> None:
    engine = make_engine(database, timing=PATIENT)
    ran: list[int] = []

    @engine.task("note")
    async def note(_: Attempt, n: int) -> None:
        ran.append(n)

    async with running(engine):
        await database.write(lambda tx: engine.defer(tx, "note", [{"n": 1}]))
        await until(lambda: ran == [1])
        await asyncio.to_thread(server.crash)
        await asyncio.to_thread(server.start)
        await database.write(lambda tx: engine.defer(tx, "note", [{"n": 2}]))
        await until(lambda: ran == [1, 2])


async def test_a_job_that_ends_while_the_server_is_away_is_told_later_and_not_run_again(
    *,
    database: Database,
    server: PostgresServer,
    make_engine: MakeEngine,
    running: Running,
    until: Until,
    job_rows: JobRows,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = make_engine(database, timing=PATIENT)
    began, may_end = asyncio.Event(), asyncio.Event()
    ran: list[Attempt] = []

    @engine.task("note")
    async def note(attempt: Attempt) -> None:
        ran.append(attempt)
        began.set()
        await may_end.wait()

    async with running(engine):
        await database.write(lambda tx: engine.defer(tx, "note", [{}]))
        await began.wait()
        await until(lambda: engine._connector._drained)  # else the worker dies asking for more, and another one begins
        await asyncio.to_thread(server.crash)
        may_end.set()
        await until(lambda: "could not be told" in caplog.text)
        await asyncio.to_thread(server.start)
        await until(lambda: not job_rows(database))
    assert len(ran) == 1


async def test_a_job_that_the_server_interrupted_runs_again_and_has_not_failed(
    *, database: Database, server: PostgresServer, make_engine: MakeEngine, running: Running, until: Until
) -> None:
    engine = make_engine(database)
    began, may_write = asyncio.Event(), asyncio.Event()
    ran: list[Attempt] = []
    ended: list[Attempt] = []

    @engine.task("note")
    async def note(attempt: Attempt) -> None:
        ran.append(attempt)
        began.set()
        await may_write.wait()
        await database.write(attempt.still_ours)
        ended.append(attempt)

    async with running(engine):
        await database.write(lambda tx: engine.defer(tx, "note", [{}]))
        await began.wait()
        await asyncio.to_thread(server.crash)
        may_write.set()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        await until(lambda: ended)
    assert [(attempt.failures, attempt.losses) for attempt in ended] == [(0, 0)]
    assert len(ran) > 1


def test_what_is_said_of_an_error_holds_neither_address_nor_values(server: PostgresServer) -> None:
    with pytest.raises(psycopg.Error) as wrong:
        psycopg.connect("postgresql://user:hush-hush@[::1/catalog")
    assert "hush" in str(wrong.value)
    assert "hush" not in said(wrong.value)
    assert not unreachable(wrong.value)
    with psycopg.connect(server.url("postgres")) as raw:
        raw.execute("CREATE TEMPORARY TABLE t (name TEXT UNIQUE CHECK (name <> 'hush'))")
        raw.execute("INSERT INTO t VALUES ('quiet')")
        with raw.transaction(), pytest.raises(psycopg.Error) as twice, raw.transaction():
            raw.execute("INSERT INTO t VALUES ('quiet')")
        assert "quiet" in str(twice.value)
        assert "quiet" not in said(twice.value)
        assert is_duplicate(twice.value, "t.name", "t_name_key")
        assert not is_duplicate(twice.value, "t.name", "other")
        assert passing_fault(twice.value) is None


def test_sqlite_tells_which_column_is_not_unique() -> None:
    database = SqliteDatabase(None)
    database.write_now(lambda tx: tx.execute("CREATE TABLE t (name TEXT UNIQUE)"))
    database.write_now(lambda tx: tx.execute("INSERT INTO t VALUES ('a')"))
    with pytest.raises(database_errors()) as twice:
        database.write_now(lambda tx: tx.execute("INSERT INTO t VALUES ('a')"))
    assert is_duplicate(twice.value, "t.name", "")
    assert not is_duplicate(twice.value, "t.other", "")
    assert not unreachable(twice.value)
    database.close()
