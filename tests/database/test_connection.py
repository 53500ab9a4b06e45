"""Group commit, savepoints, failures of one and of all, and what cannot be opened."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from graticule.database import Connection, Database, SqliteDatabase, passing_fault
from graticule.database.connection import ReadLimit
from graticule.database.sqlite import migrate
from graticule.errors import SettingsError, Unavailable


@pytest.fixture
def notes(database: Database) -> Database:
    """A database with a table to write into."""
    database.write_now(lambda tx: tx.execute("CREATE TABLE notes(text TEXT UNIQUE CHECK (text <> 'bad'))"))
    return database


def note(text: str) -> Callable[[Connection], int]:
    return lambda tx: tx.execute("INSERT INTO notes VALUES(:text)", {"text": text})


def texts(database: Database) -> list[str]:
    return database.read_now(lambda tx: [row[0] for row in tx.all("SELECT text FROM notes ORDER BY text")])


class Together:
    """Holds the writer until several functions wait, so that they share one commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._go = threading.Event()

    def __enter__(self) -> Self:
        def hold(_tx: Connection) -> None:
            assert self._go.wait(30)

        self._database.submit(hold)
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()


def group(database: Database, *functions: Callable[[Connection], Any]) -> list[Future[Any]]:
    with Together(database):
        return [database.submit(function) for function in functions]


def test_what_is_written_can_be_read_when_the_write_returns(notes: Database) -> None:
    notes.write_now(note("a"))
    assert texts(notes) == ["a"]


async def test_what_is_written_can_be_looked_up(notes: Database) -> None:
    notes.write_now(note("a"))

    def found(tx: Connection) -> Any:
        return tx.value("SELECT text FROM notes WHERE text = :text", {"text": "a"})

    assert await notes.look_up(found) == "a"
    with pytest.raises(sqlite3.OperationalError):
        await notes.look_up(lambda tx: tx.one("SELECT nothing FROM notes"))
    notes.write_now(lambda tx: tx.execute("DELETE FROM notes"))  # no look has left a lock
    assert await notes.look_up(found) is None
    notes.close()
    with pytest.raises(Unavailable):
        await notes.look_up(found)


def test_one_that_fails_takes_back_only_its_own(notes: Database) -> None:
    def half(tx: Connection) -> None:
        note("half")(tx)
        note("bad")(tx)

    good, bad, other = group(notes, note("a"), half, note("b"))

    with pytest.raises(sqlite3.IntegrityError):
        bad.result(30)
    assert (good.result(30), other.result(30)) == (1, 1)
    assert texts(notes) == ["a", "b"]


def test_the_first_of_a_group_that_fails_takes_back_only_its_own(notes: Database) -> None:
    """It is the one that has no savepoint."""

    def half(tx: Connection) -> None:
        note("half")(tx)
        note("bad")(tx)

    bad, worse, good = group(notes, half, half, note("a"))
    for future in (bad, worse):
        with pytest.raises(sqlite3.IntegrityError):
            future.result(30)
    assert good.result(30) == 1
    assert texts(notes) == ["a"]


def test_an_inner_savepoint_takes_back_only_what_is_inside(notes: Database) -> None:
    def write(tx: Connection) -> None:
        note("kept")(tx)
        with suppress(sqlite3.IntegrityError), tx.savepoint():
            note("gone")(tx)
            note("bad")(tx)
        note("after")(tx)

    notes.write_now(write)
    assert texts(notes) == ["after", "kept"]


def test_a_lost_transaction_fails_all_that_wait_for_it(notes: Database) -> None:
    """As SQLite does it when the disk is full: the whole transaction is rolled back."""

    def lose(tx: Connection) -> None:
        tx.raw.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    first, losing, last = group(notes, note("a"), lose, note("b"))

    for future in (first, losing):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            future.result(30)
    assert last.result(30) == 1  # in a transaction of its own
    assert texts(notes) == ["b"]


def test_a_commit_that_fails_reaches_all_that_wait_for_it(notes: Database) -> None:
    notes.write_now(
        lambda tx: tx.execute("CREATE TABLE children(parent TEXT REFERENCES notes(text) DEFERRABLE INITIALLY DEFERRED)")
    )

    def orphan(tx: Connection) -> None:
        tx.execute("INSERT INTO children VALUES('nobody')")  # noticed at the commit

    for future in group(notes, note("a"), orphan, note("b")):
        with pytest.raises(sqlite3.IntegrityError):
            future.result(30)
    assert texts(notes) == []
    notes.write_now(note("c"))
    assert texts(notes) == ["c"]


def test_the_writer_outlives_a_transaction_that_was_left_open(notes: Database) -> None:
    def sabotage(tx: Connection) -> None:
        tx.raw.execute("COMMIT")
        tx.raw.execute("BEGIN IMMEDIATE")
        tx.raw.execute("SAVEPOINT unit")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the one above
        notes.write_now(sabotage)
    notes.write_now(note("a"))
    assert texts(notes) == ["a"]


async def test_a_caller_that_gives_up_early_leaves_nothing(notes: Database) -> None:
    with Together(notes):
        task = asyncio.create_task(notes.write(note("a")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    notes.write_now(note("b"))
    assert texts(notes) == ["b"]


def test_a_reader_sees_one_state(notes: Database) -> None:
    notes.write_now(note("a"))

    def read(tx: Connection) -> tuple[int, int]:
        before = tx.value("SELECT count(*) FROM notes")
        notes.write_now(note("b"))
        return before, tx.value("SELECT count(*) FROM notes")

    assert notes.read_now(read) == (1, 1)


def test_a_reader_cannot_write_for_good(notes: Database) -> None:
    notes.read_now(note("a"))
    assert texts(notes) == []


def test_closing_finishes_what_was_submitted_and_refuses_the_rest(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    future = database.submit(lambda tx: tx.execute("CREATE TABLE notes(text TEXT)"))
    database.close()
    database.close()  # once more is no error
    future.result(0)
    with pytest.raises(Unavailable):
        database.write_now(note("late"))


def test_two_processes_that_migrate_at_once_apply_each_file_once(tmp_path: Path) -> None:
    for round_ in range(5):  # the file changes to WAL within a moment, in which another connection finds it locked
        path = tmp_path / f"{round_}.db"
        with ThreadPoolExecutor(6) as pool:
            opened = list(pool.map(SqliteDatabase, [path] * 6))
        for database in opened:
            database.close()


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    raw = sqlite3.connect(database.path or "", isolation_level=None)
    raw.execute("PRAGMA user_version=999")
    with pytest.raises(SettingsError, match="999"):
        migrate(raw)
    raw.close()


def test_a_file_that_is_no_database_is_a_setting_to_mend(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is something else altogether" * 100)
    with pytest.raises(SettingsError, match="cannot be used"):
        SqliteDatabase(path)


def full_disk() -> sqlite3.Error:
    raw = sqlite3.connect(":memory:", isolation_level=None)
    raw.execute("PRAGMA max_page_count=2")
    raw.execute("CREATE TABLE a(x)")
    with pytest.raises(sqlite3.OperationalError) as caught:
        raw.execute("INSERT INTO a VALUES(zeroblob(100000))")
    raw.close()
    return caught.value


def test_faults_that_pass_are_told_from_bugs() -> None:
    assert passing_fault(full_disk()) == "the disk is full"
    assert passing_fault(OSError(28, "No space left on device")) == "the disk is full"
    assert passing_fault(sqlite3.OperationalError("no such table: x")) is None
    assert passing_fault(PermissionError(13, "Permission denied")) is None
    assert passing_fault(ValueError("x")) is None


def test_a_reader_takes_the_connection_that_was_used_last(database: Database) -> None:
    if database.in_memory:
        pytest.skip("in memory reads queue with the writes")
    with database._reading(None) as one, database._reading(None) as other:
        first, last = one.raw, other.raw
        assert first is not last
    for _ in range(3):
        with database._reading(None) as again:
            assert again.raw is first  # it came back last


def test_an_answer_does_not_wait_for_the_end_of_its_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.in_memory:
        pytest.skip("in memory reads queue with the writes")
    told, reading = threading.Event(), database._reading

    @contextmanager
    def slow(limit: ReadLimit | None) -> Iterator[Connection]:
        with reading(limit) as connection:
            yield connection
            assert told.wait(30)

    monkeypatch.setattr(database, "_reading", slow)
    assert database.read_now(lambda tx: tx.value("SELECT 1")) == 1
    told.set()


async def test_readers_are_few_serve_all_who_wait_and_nobody_who_gave_up(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "notes.db", readers=2)
    go = threading.Event()
    ran: list[tuple[int, str]] = []

    def read(number: int, _tx: Connection) -> int:
        go.wait(10)
        ran.append((number, threading.current_thread().name))
        return number

    reads = [asyncio.create_task(database.read(partial(read, number))) for number in range(6)]
    await asyncio.sleep(0.1)
    reads[5].cancel()
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*reads[:5]) == [0, 1, 2, 3, 4]
    assert reads[5].cancelled()
    await asyncio.to_thread(database.close)  # waits for what was submitted
    assert sorted(number for number, _ in ran) == [0, 1, 2, 3, 4]
    assert len({name for _, name in ran}) <= 2
    with pytest.raises(Unavailable):
        await database.read(lambda _tx: None)


async def test_closing_answers_the_reads_that_run(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "notes.db", readers=1)
    begun, go = threading.Event(), threading.Event()

    def read(_tx: Connection) -> str:
        begun.set()
        go.wait(10)
        return "read"

    reads = [asyncio.create_task(database.read(read)) for _ in range(2)]
    await asyncio.to_thread(begun.wait, 10)
    closing = asyncio.create_task(asyncio.to_thread(database.close))
    await asyncio.sleep(0.05)
    go.set()
    assert await asyncio.gather(*reads) == ["read", "read"]
    await closing
