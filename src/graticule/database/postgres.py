"""The database on a PostgreSQL server: the scaled-out kind. Any ordinary server from version 14 on, no extension.

Several processes write at once there. What rooms rely on is SQLite's promise, one write transaction at a time, so each
group of writes takes one advisory lock first (docs/decisions/0010). Reads take none, and see one state each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import psycopg

from graticule.database import schema
from graticule.database.connection import Connection, Database, Dialect, ReadLimit
from graticule.database.postgres_connection import PostgresConnection
from graticule.errors import SettingsError, Unavailable

T = TypeVar("T")

#: The lock of whoever writes, and of whoever migrates. Advisory locks are a database's own, so one number does.
_WRITER_LOCK: Final = 0x47_52_41_54
#: Wait this long for the writers of other processes, milliseconds.
LOCK_TIMEOUT_MS: Final = 30_000
#: The server ends a write transaction whose process stands still for so long: others wait for it, milliseconds.
_IDLE_TIMEOUT_MS: Final = 10_000
_CANCEL_TIMEOUT_SECONDS: Final = 5
#: A server that vanished without a word is noticed within half a minute, and not after the system's two hours.
PATIENCE: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds, for what was sent and never acknowledged
}

_BEGIN_WRITE: Final = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({_WRITER_LOCK})"
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresDatabase(Database):
    """One PostgreSQL database, shared by the threads of this process and by processes of any host."""

    dialect: Dialect = "postgresql"

    def __init__(self, url: str, *, readers: int = 4) -> None:
        """Connect to ``postgresql://…``, bring the schema up to date and start the writer.

        Raises:
            SettingsError: the server refuses us, or a newer version has migrated the database.
            Unavailable: the server cannot be reached at the moment.
        """
        self.url = url
        try:
            self._connection = self._connect()
        except psycopg.Error as exc:
            message = (
                f"The PostgreSQL database cannot be opened: {_without_url(exc)}. Check its address"
                " (GRATICULE_DATABASE_URL), and that the server runs and lets this user in."
            )
            # Not chained: the driver's error may hold the address with its password.
            raise (Unavailable if _may_pass(exc) else SettingsError)(message) from None
        try:
            migrate(self._connection.raw)
        except BaseException:
            self._connection.close()
            raise
        super().__init__(readers=readers)

    def _connect(self) -> PostgresConnection:
        raw: psycopg.Connection[Any] = psycopg.connect(self.url, autocommit=True, **PATIENCE)
        raw.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}".encode())
        raw.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_TIMEOUT_MS}".encode())
        raw.execute(b"SET client_encoding = 'UTF8'")
        with suppress(psycopg.errors.InvalidParameterValue):  # a server may be built without it
            # Documents are compressed as they are written: this takes a quarter of the time of the default.
            raw.execute(b"SET default_toast_compression = 'lz4'")
        return PostgresConnection(raw)

    def _begin(self) -> Connection:
        try:
            self._connection.command(_BEGIN_WRITE)
        except psycopg.OperationalError:
            if not self._connection.is_lost:  # the lock was not to be had
                raise
            # The server went away since the last group. Nothing of this one has run, so a new connection will do.
            self._connection.close()
            self._connection = self._connect()
            self._connection.command(_BEGIN_WRITE)
        return self._connection

    def _commit(self) -> None:
        if self._connection.answer(b"COMMIT") != b"COMMIT":
            raise psycopg.OperationalError("The server rolled the transaction back instead of committing it.")

    def _roll_back(self) -> None:
        with suppress(psycopg.Error):
            if self._connection.in_transaction:
                self._connection.command("ROLLBACK")

    @contextmanager
    def _reading(self, limit: ReadLimit | None) -> Iterator[Connection]:
        begin = _BEGIN_READ
        if limit is not None:
            # In one message: each way to the server and back counts beside what a search takes there.
            milliseconds = max(round(limit.seconds * 1000), 1)
            begin += f"; SAVEPOINT limited; SET LOCAL statement_timeout = {milliseconds}"
        connection = self._begin_read(begin)
        try:
            if limit is not None:
                connection.limit = limit
                limit.begin(partial(_cancel, connection))
            yield connection
        finally:
            if limit is not None:
                limit.end()
                connection.limit = None
            with suppress(psycopg.Error):  # a lost connection has ended it itself
                connection.command("ROLLBACK")
            self._idle.append(connection)

    def _look_up(self, function: Callable[[Connection], T]) -> T:
        connection = self._free()
        try:
            try:
                return function(connection)
            except psycopg.OperationalError:
                if not connection.is_lost:
                    raise
            connection.close()
            connection = self._connect()  # it was lost since it was used last; nothing is asked twice by reading again
            return function(connection)
        finally:
            if not connection.is_lost:
                self._idle.append(connection)

    def _begin_read(self, begin: str) -> PostgresConnection:
        connection: PostgresConnection = self._free()
        try:
            connection.command(begin)
        except psycopg.OperationalError:  # lost since it was used last
            connection.close()
            connection = self._connect()
            connection.command(begin)
        return connection

    def tidy_now(self, tables: Sequence[str]) -> None:
        """Statistics, without which plans are guesses, and what index-only scans need to leave the rows unread.

        Autovacuum does the same, within a minute or at a fifth more rows; a bulk load is searched before that.
        """
        with closing(self._connect()) as connection:
            for table in tables:
                with suppress(psycopg.errors.LockNotAvailable):  # somebody else is at it
                    connection.command(f"VACUUM (ANALYZE) {table}")

    def _close(self) -> None:
        for connection in (*self._idle, self._connection):
            connection.close()


# --- schema ----------------------------------------------------------------------------------------------------------


def migrate(raw: psycopg.Connection[Any]) -> None:
    """Apply the scripts that this database has not seen, all in one transaction.

    Raises:
        SettingsError: the database was written by a newer version of Graticule.
    """
    scripts = schema.migrations()
    with raw.transaction():
        raw.execute(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})".encode())
        raw.execute(b"CREATE TABLE IF NOT EXISTS graticule_schema (version BIGINT NOT NULL)")
        row = raw.execute(b"SELECT max(version) FROM graticule_schema").fetchone()
        version = row[0] or 0 if row else 0
        if version > len(scripts):
            raise schema.too_new(version, len(scripts))
        for number, script in enumerate(scripts[version:], start=version + 1):
            for statement in schema.statements(script):
                raw.execute(schema.postgresql(statement).encode())
            raw.execute(f"INSERT INTO graticule_schema VALUES ({number})".encode())


#: How a server says no for good; the driver keeps no code of a connection that was refused.
_REFUSED: Final = re.compile(r"authentication failed|does not exist|no pg_hba.conf entry|not permitted to log in")


def _may_pass(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError) and not _REFUSED.search(str(error))


def _cancel(connection: PostgresConnection) -> None:
    """End the statement that runs. One that cannot be reached ends by its own time limit."""
    with suppress(psycopg.Error):
        connection.raw.cancel_safe(timeout=_CANCEL_TIMEOUT_SECONDS)


def _without_url(error: psycopg.Error) -> str:
    """What the server or the driver says; never the address with its password."""
    return re.sub(r"\w+://\S+", "(address)", str(error)).strip().rstrip(".") or type(error).__name__
