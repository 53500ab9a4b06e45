"""What differs on PostgreSQL: parameters and values, several writers, a server that goes away, the schema."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

import postgres_server
from graticule.database import Connection, Database, SqliteDatabase, passing_fault
from graticule.database.postgres import PostgresDatabase
from graticule.database.postgres_connection import numbered
from graticule.errors import SettingsError, Unavailable
from postgres_server import PostgresServer


@pytest.fixture
def database(postgres: PostgresServer, postgres_template: str) -> Iterator[PostgresDatabase]:
    """A database with a table to write into."""
    with postgres.database(postgres_template) as url:
        database = PostgresDatabase(url)
        database.write_now(lambda tx: tx.execute("CREATE TABLE notes(text TEXT UNIQUE CHECK (text <> 'bad'))"))
        yield database
        database.close()


def note(text: str) -> Callable[[Connection], int]:
    return lambda tx: tx.execute("INSERT INTO notes VALUES(:text)", {"text": text})


def texts(database: Database) -> list[str]:
    return database.read_now(lambda tx: [row[0] for row in tx.all("SELECT text FROM notes ORDER BY text")])


def group(database: Database, *functions: Callable[[Connection], object]) -> list[Future[object]]:
    """Hand over functions so that they share one commit."""
    go = threading.Event()

    def hold(_tx: Connection) -> None:
        assert go.wait(30)

    database.submit(hold)
    futures = [database.submit(function) for function in functions]
    go.set()
    return futures


# --- statements and values


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        ("a = :a AND b=:b_2 OR c = :a", b"a = $1 AND b=$2 OR c = $1", ("a", "b_2")),
        ("VALUES(?, ?)", b"VALUES($1, $2)", None),
        ("x LIKE '50%' AND y = ':no ?'", b"x LIKE '50%' AND y = ':no ?'", ()),
        (':a::int8[] AND ":b" % 2', b'$1::int8[] AND ":b" % 2', ("a",)),
        ("1 -- :no\n/* ? */ :a", b"1 -- :no\n/* ? */ $1", ("a",)),
    ],
)
def test_parameters_are_numbered(ours: str, theirs: bytes, names: tuple[str, ...] | None) -> None:
    assert numbered(ours) == (theirs, names)


def test_a_row_is_read_by_name_and_by_position(database: PostgresDatabase) -> None:
    row = database.read_now(lambda tx: tx.one("SELECT :a AS a, 'x' AS b", {"a": 7}))
    assert row is not None
    assert (row["a"], row[1], row["b"], tuple(row), dict(row), row[:1]) == (
        7,
        "x",
        "x",
        (7, "x"),
        {"a": 7, "b": "x"},
        (7,),
    )


def test_values_come_back_as_on_sqlite(database: PostgresDatabase) -> None:
    def read(tx: Connection) -> None:
        assert tx.value("SELECT sum(x) FROM (VALUES (:a), (:b)) v(x)", {"a": 2**62, "b": 1}) == 2**62 + 1
        assert tx.value("SELECT :x::float8 / 4", {"x": 1.0}) == 0.25
        assert tx.value("SELECT :x + 0", {"x": True}) == 1
        assert tx.value("SELECT :x::bytea", {"x": b"\0\xff"}) == b"\0\xff"
        assert tx.value("SELECT cardinality(:x::int8[])", {"x": []}) == 0
        assert tx.value("SELECT (:x::int8[])[2]", {"x": [1, 2**60]}) == 2**60
        assert tx.value("SELECT count(*) FROM notes WHERE text = :x", {"x": "a\0b"}) == 0

    database.read_now(read)


_PREPARED = "SELECT count(*), sum(generic_plans + custom_plans) FROM pg_prepared_statements WHERE statement LIKE :like"


def test_a_statement_that_runs_often_is_prepared_once_for_each_of_its_types(database: PostgresDatabase) -> None:
    def read(tx: Connection) -> None:
        for number in range(20):
            assert tx.value("SELECT coalesce(:often, -1)", {"often": number}) == number
            assert tx.value("SELECT coalesce(:often, -1)", {"often": None if number % 2 else 3}) == (
                -1 if number % 2 else 3
            )
        assert tx.tuples(_PREPARED, {"like": "SELECT coalesce($1, -1)"}) == [(2, 30)]

    database.read_now(read)


def test_a_hundred_statements_stay_prepared_and_others_are_forgotten(database: PostgresDatabase) -> None:
    def read(tx: Connection) -> None:
        for number in [*range(130), 0, 129]:
            for _ in range(6):
                assert tx.value(f"SELECT :n + {number}", {"n": 1}) == number + 1
        assert tx.tuples(_PREPARED, {"like": "SELECT $1 + %"}) == [
            (100, 106)
        ]  # one run of each, and six more of the last

    database.read_now(read)


def test_a_statement_that_cannot_be_prepared_fails_as_it_would_without(database: PostgresDatabase) -> None:
    def often(tx: Connection) -> int:
        return int(tx.value("SELECT n FROM numbers WHERE n = :n", {"n": 1}))

    database.write_now(lambda tx: tx.execute("CREATE TABLE numbers AS SELECT 1::int8 AS n"))
    for _ in range(5):
        assert database.write_now(often) == 1
    database.write_now(lambda tx: tx.execute("ALTER TABLE numbers RENAME TO others"))
    for _ in range(3):
        with pytest.raises(psycopg.errors.UndefinedTable):
            database.write_now(often)
    database.write_now(lambda tx: tx.execute("ALTER TABLE others RENAME TO numbers"))
    for _ in range(8):
        assert database.write_now(often) == 1


# --- transactions


def test_one_that_fails_takes_back_only_its_own(database: PostgresDatabase) -> None:
    def half(tx: Connection) -> None:
        note("half")(tx)
        note("bad")(tx)

    good, bad, other = group(database, note("a"), half, note("b"))
    with pytest.raises(psycopg.IntegrityError):
        bad.result(30)
    assert (good.result(30), other.result(30)) == (1, 1)
    assert texts(database) == ["a", "b"]


def test_the_first_of_a_group_that_fails_takes_back_only_its_own(database: PostgresDatabase) -> None:
    """It is the one that has no savepoint."""

    def half(tx: Connection) -> None:
        note("half")(tx)
        note("bad")(tx)

    bad, worse, good = group(database, half, half, note("a"))
    for future in (bad, worse):
        with pytest.raises(psycopg.IntegrityError):
            future.result(30)
    assert good.result(30) == 1
    assert texts(database) == ["a"]


def test_an_inner_savepoint_takes_back_only_what_is_inside(database: PostgresDatabase) -> None:
    def write(tx: Connection) -> None:
        note("kept")(tx)
        with suppress(psycopg.IntegrityError), tx.savepoint():
            note("gone")(tx)
            note("bad")(tx)
        note("after")(tx)

    database.write_now(write)
    assert texts(database) == ["after", "kept"]


def test_a_swallowed_failure_is_not_taken_for_success(database: PostgresDatabase) -> None:
    def swallow(tx: Connection) -> None:
        note("a")(tx)
        with suppress(psycopg.IntegrityError):
            note("bad")(tx)

    swallowed, other = group(database, swallow, note("b"))
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        swallowed.result(30)
    other.result(30)
    assert texts(database) == ["b"]


def test_a_reader_sees_one_state_and_cannot_write(database: PostgresDatabase) -> None:
    database.write_now(note("a"))

    def read(tx: Connection) -> tuple[int, int]:
        before = tx.value("SELECT count(*) FROM notes")
        database.write_now(note("b"))
        return before, tx.value("SELECT count(*) FROM notes")

    assert database.read_now(read) == (1, 1)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        database.read_now(note("c"))
    assert texts(database) == ["a", "b"]


def test_writers_of_several_processes_see_each_others_last_word(database: PostgresDatabase) -> None:
    """Read, then write what was read plus one: lost updates would show at once."""
    database.write_now(lambda tx: tx.execute("CREATE TABLE counter(n BIGINT)"))
    database.write_now(lambda tx: tx.execute("INSERT INTO counter VALUES (0)"))

    def count(tx: Connection) -> None:
        tx.execute("UPDATE counter SET n = :n", {"n": tx.value("SELECT n FROM counter") + 1})

    others = [PostgresDatabase(database.url, readers=1) for _ in range(3)]
    try:
        futures = [other.submit(count) for _ in range(50) for other in others]
        for future in futures:
            future.result(60)
    finally:
        for other in others:
            other.close()
    assert database.read_now(lambda tx: tx.value("SELECT n FROM counter")) == 150


# --- a server that goes away


def test_a_lost_connection_fails_its_group_as_a_passing_fault_and_the_next_works(database: PostgresDatabase) -> None:
    def lose(tx: Connection) -> None:
        with psycopg.connect(database.url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", (tx.value("SELECT pg_backend_pid()"),))
        note("lost")(tx)

    first, losing, last = group(database, note("a"), lose, note("b"))
    for future in (first, losing):
        with pytest.raises(psycopg.OperationalError) as caught:
            future.result(30)
        assert passing_fault(caught.value) is not None
    assert last.result(30) == 1
    assert texts(database) == ["b"]


async def test_a_look_that_meets_a_lost_connection_takes_another(database: PostgresDatabase) -> None:
    database.write_now(note("a"))

    def found(tx: Connection) -> Any:
        return tx.one("SELECT text, pg_backend_pid() FROM notes WHERE text = :text", {"text": "a"})

    _, pid = await database.look_up(found)
    with psycopg.connect(database.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    text, another = await database.look_up(found)
    assert text == "a"
    assert another != pid
    with pytest.raises(psycopg.ProgrammingError):
        await database.look_up(lambda tx: tx.one("SELECT nothing FROM notes"))
    assert (await database.look_up(found))[1] == another


def test_after_a_restart_of_the_server_reads_and_writes_go_on() -> None:
    programs = postgres_server.programs()
    if programs is None:
        pytest.skip("no PostgreSQL server")
    with postgres_server.running(programs) as server, server.database() as url:
        database = PostgresDatabase(url, readers=1)
        try:
            database.write_now(lambda tx: tx.execute("CREATE TABLE notes(text TEXT)"))
            assert texts(database) == []
            server.stop()
            for use in (lambda: database.write_now(note("away")), lambda: texts(database)):
                with pytest.raises(psycopg.OperationalError) as caught:
                    use()
                assert passing_fault(caught.value) == "the database cannot be reached"
            server.start()
            database.write_now(note("back"))
            assert texts(database) == ["back"]
        finally:
            database.close()


def test_a_server_that_cannot_be_reached_may_come_back_and_no_password_is_told(tmp_path: Path) -> None:
    url = f"postgresql://user:hush-hush@/catalog?host={tmp_path}"
    with pytest.raises(Unavailable, match="Check its address") as caught:
        PostgresDatabase(url)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_server_that_refuses_is_a_setting_to_mend(postgres: PostgresServer) -> None:
    with pytest.raises(SettingsError, match='database "nowhere" does not exist'):
        PostgresDatabase(postgres.url("nowhere"))
    with pytest.raises(SettingsError, match="Check its address") as caught:
        PostgresDatabase("postgresql://user:hush-hush@[::1/catalog")
    assert "hush" not in str(caught.value)


# --- the schema

_TABLES = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name NOT IN ('graticule_schema', 'notes')"""
_TABLES_OF_SQLITE = """
    SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
    WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%'"""
_INDEXES = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexdef NOT LIKE '%UNIQUE%'"
_INDEXES_OF_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql NOT LIKE '%UNIQUE%'"


def test_both_databases_have_the_same_tables_columns_and_indexes(database: PostgresDatabase) -> None:
    sqlite = SqliteDatabase(None)
    try:
        for ours, theirs in ((_TABLES_OF_SQLITE, _TABLES), (_INDEXES_OF_SQLITE, _INDEXES)):
            expected = sqlite.read_now(lambda tx, sql=ours: {tuple(row) for row in tx.all(sql)})  # type: ignore[misc]
            assert database.read_now(lambda tx, sql=theirs: {tuple(row) for row in tx.all(sql)}) == expected  # type: ignore[misc]
    finally:
        sqlite.close()


def test_processes_that_migrate_at_once_apply_each_script_once(postgres: PostgresServer) -> None:
    with postgres.database() as url:
        with ThreadPoolExecutor(4) as pool:
            opened = list(pool.map(PostgresDatabase, [url] * 4))
        for database in opened:
            database.close()


def test_a_database_of_a_newer_version_is_refused(database: PostgresDatabase) -> None:
    database.write_now(lambda tx: tx.execute("INSERT INTO graticule_schema VALUES (999)"))
    with pytest.raises(SettingsError, match="999"):
        PostgresDatabase(database.url)
