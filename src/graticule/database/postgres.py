"""The database on a PostgreSQL server: the scaled-out kind. Any ordinary server from version 14 on, no extension.

Several processes write at once there. What rooms rely on is SQLite's promise, one write transaction at a time, so each
group of writes takes one advisory lock first (docs/decisions/0010). Reads take none, and see one state each.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import psycopg
from psycopg import pq
from psycopg.rows import RowFactory, tuple_row
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper, NumericBinaryLoader
from psycopg.types.string import StrBinaryDumper, StrDumperUnknown

from graticule.database import schema
from graticule.database.connection import Connection, Database, Dialect, Parameters, ReadLimit, Row
from graticule.errors import ReadStopped, SettingsError, Unavailable

T = TypeVar("T")

#: The lock of whoever writes, and of whoever migrates. Advisory locks are a database's own, so one number does.
_WRITER_LOCK: Final = 0x47_52_41_54
#: Wait this long for the writers of other processes, milliseconds.
LOCK_TIMEOUT_MS: Final = 30_000
#: The server ends a write transaction whose process stands still for so long: others wait for it, milliseconds.
_IDLE_TIMEOUT_MS: Final = 10_000
#: So many rows are added by COPY, which has no statement to plan and no answer per row.
_COPY_FROM_ROWS: Final = 8
_CANCEL_TIMEOUT_SECONDS: Final = 5
#: A server that vanished without a word is noticed within half a minute, and not after the system's two hours.
PATIENCE: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds, for what was sent and never acknowledged
}

_BEGIN_WRITE: Final = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({_WRITER_LOCK})".encode()
_BEGIN_READ: Final = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

#: What a text may hold besides names of parameters: literals, quoted names, comments, casts.
_TOKEN: Final = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/|::|:([A-Za-z_]\w*)|\?|%""", re.DOTALL)


@functools.lru_cache(maxsize=2048)
def translated(sql: str) -> bytes:
    """The text with psycopg's names for parameters: ``%(name)s`` for ``:name``, ``%s`` for ``?``."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is not None:
            return f"%({match[1]})s"
        return "%s" if match[0] == "?" else match[0].replace("%", "%%")

    return _TOKEN.sub(replace, sql).encode()


# --- values ----------------------------------------------------------------------------------------------------------


class _Text(StrDumperUnknown):
    """A text: PostgreSQL keeps no NUL in one, so it becomes the character that stands for what cannot be shown."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class _BinaryText(StrBinaryDumper):
    """As `_Text`, for COPY."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class _Numeric(NumericBinaryLoader):
    """A sum of BIGINT is NUMERIC; here it is an integer again, as on SQLite."""

    def load(self, data: Any) -> Any:
        number = super().load(data)
        return int(number) if number.is_finite() and number == number.to_integral_value() else float(number)


class PostgresRow(tuple[Any, ...]):
    """A `Row`: a tuple that knows its columns' names."""

    __slots__ = ()
    _positions: ClassVar[dict[str, int]] = {}

    def __getitem__(self, key: Any) -> Any:
        """The value of a column: its position or its name."""
        return tuple.__getitem__(self, self._positions[key] if isinstance(key, str) else key)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._positions.keys()


@functools.lru_cache(maxsize=1024)
def _row_class(names: tuple[str, ...]) -> type[PostgresRow]:
    positions = {name: position for position, name in enumerate(names)}
    return type("PostgresRow", (PostgresRow,), {"__slots__": (), "_positions": positions})


def _rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], PostgresRow]:
    return _row_class(tuple(column.name for column in cursor.description or ()))


class PostgresConnection(Connection):
    """A `Connection` to PostgreSQL."""

    dialect: Dialect = "postgresql"
    raw: psycopg.Connection[Any]

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        """Wrap an open driver connection."""
        self.raw = raw
        self._column_types: dict[str, dict[str, int]] = {}

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """See `Connection`."""
        return self.raw.execute(translated(sql), parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """See `Connection`."""
        with self.raw.cursor() as cursor:
            cursor.executemany(translated(sql), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Connection`."""
        names = ", ".join(columns)
        if len(rows) < _COPY_FROM_ROWS:
            places = ", ".join(["%s"] * len(columns))
            with self.raw.cursor() as cursor:
                cursor.executemany(f"INSERT INTO {table}({names}) VALUES ({places})".encode(), rows)
            return
        types = self._types(table)
        with self.raw.cursor() as cursor:
            cursor.adapters.register_dumper(str, _BinaryText)
            with cursor.copy(f"COPY {table}({names}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
                copy.set_types([types[name] for name in columns])
                for row in rows:
                    copy.write_row(row)

    def _types(self, table: str) -> dict[str, int]:
        """What each column of a table is, by the server's numbers of types."""
        known = self._column_types.get(table)
        if known is None:
            sql = b"SELECT attname, atttypid::int8 FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            found = self.raw.execute(sql, [table]).fetchall()
            known = self._column_types[table] = {row[0]: row[1] for row in found}
        return known

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """See `Connection`."""
        rows: list[Row] = self._run(sql, parameters).fetchall()
        return rows

    def tuples(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """See `Connection`."""
        rows: list[tuple[Any, ...]] = self._run(sql, parameters, tuple_row).fetchall()
        return rows

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """See `Connection`."""
        row: Row | None = self._run(sql, parameters).fetchone()
        return row

    def _run(self, sql: str, parameters: Parameters, rows: RowFactory[Any] = _rows) -> psycopg.Cursor[Any]:
        cursor = self.raw.cursor(row_factory=rows)
        if self.limit is None:
            return cursor.execute(translated(sql), parameters, binary=True)
        self.limit.check()
        try:
            return cursor.execute(translated(sql), parameters, binary=True)
        except psycopg.errors.QueryCanceled as exc:
            # What is left to do with a search that was stopped is done in the same state of the database.
            self.raw.execute(b"ROLLBACK TO limited; SET LOCAL statement_timeout = 0")
            raise ReadStopped from exc

    def command(self, sql: str) -> None:
        """See `Connection`."""
        self.raw.execute(sql.encode())

    @property
    def in_transaction(self) -> bool:
        """See `Connection`."""
        return self.raw.info.transaction_status in _OPEN

    @property
    def has_failed(self) -> bool:
        """See `Connection`."""
        return self.raw.info.transaction_status == pq.TransactionStatus.INERROR


_OPEN: Final = frozenset({pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR, pq.TransactionStatus.ACTIVE})


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
            self._raw = self._connect()
        except psycopg.Error as exc:
            message = (
                f"The PostgreSQL database cannot be opened: {_without_url(exc)}. Check its address"
                " (GRATICULE_DATABASE_URL), and that the server runs and lets this user in."
            )
            # Not chained: the driver's error may hold the address with its password.
            raise (Unavailable if _may_pass(exc) else SettingsError)(message) from None
        try:
            migrate(self._raw)
        except BaseException:
            self._raw.close()
            raise
        self._connection = PostgresConnection(self._raw)
        super().__init__(readers=readers)

    def _connect(self) -> psycopg.Connection[Any]:
        raw: psycopg.Connection[Any] = psycopg.connect(self.url, autocommit=True, row_factory=_rows, **PATIENCE)
        # By value an int would be sent as int2, int4 or int8: many statements of one text, and arrays that overflow.
        raw.adapters.register_dumper(int, Int8Dumper)
        raw.adapters.register_dumper(int, Int8BinaryDumper)  # the last one is preferred; lists may ask for the other
        raw.adapters.register_dumper(bool, Int8BinaryDumper)  # truth is 0 or 1 in our tables
        raw.adapters.register_dumper(str, _Text)
        raw.adapters.register_loader("numeric", _Numeric)
        raw.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}".encode())
        raw.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_TIMEOUT_MS}".encode())
        raw.execute(b"SET client_encoding = 'UTF8'")
        with suppress(psycopg.errors.InvalidParameterValue):  # a server may be built without it
            # Documents are compressed as they are written: this takes a quarter of the time of the default.
            raw.execute(b"SET default_toast_compression = 'lz4'")
        return raw

    def _begin(self) -> Connection:
        try:
            self._raw.execute(_BEGIN_WRITE)
        except psycopg.OperationalError:
            if not self._raw.closed:  # the lock was not to be had
                raise
            # The server went away since the last group. Nothing of this one has run, so a new connection will do.
            self._raw = self._connect()
            self._connection = PostgresConnection(self._raw)
            self._raw.execute(_BEGIN_WRITE)
        return self._connection

    def _commit(self) -> None:
        if self._raw.execute(b"COMMIT").statusmessage != "COMMIT":
            raise psycopg.OperationalError("The server rolled the transaction back instead of committing it.")

    def _roll_back(self) -> None:
        with suppress(psycopg.Error):
            if self._raw.info.transaction_status in _OPEN:
                self._raw.execute(b"ROLLBACK")

    @contextmanager
    def _reading(self, limit: ReadLimit | None) -> Iterator[Connection]:
        begin = _BEGIN_READ
        if limit is not None:
            # In one message: each way to the server and back counts beside what a search takes there.
            milliseconds = max(round(limit.seconds * 1000), 1)
            begin += f"; SAVEPOINT limited; SET LOCAL statement_timeout = {milliseconds}".encode()
        raw = self._begin_read(begin)
        connection = PostgresConnection(raw)
        try:
            if limit is not None:
                connection.limit = limit
                limit.begin(partial(_cancel, raw))
            yield connection
        finally:
            if limit is not None:
                limit.end()
            with suppress(psycopg.Error):  # a lost connection has ended it itself
                raw.execute(b"ROLLBACK")
            self._idle.append(raw)

    def _look_up(self, function: Callable[[Connection], T]) -> T:
        raw = self._free()
        try:
            try:
                return function(PostgresConnection(raw))
            except psycopg.OperationalError:
                if not raw.closed:
                    raise
            raw = self._connect()  # it was lost since it was used last; nothing is asked twice by reading again
            return function(PostgresConnection(raw))
        finally:
            if not raw.closed:
                self._idle.append(raw)

    def _begin_read(self, begin: bytes) -> psycopg.Connection[Any]:
        raw: psycopg.Connection[Any] = self._free()
        try:
            raw.execute(begin, prepare=False)
        except psycopg.OperationalError:  # lost since it was used last
            raw.close()
            raw = self._connect()
            raw.execute(begin, prepare=False)
        return raw

    def tidy_now(self, tables: Sequence[str]) -> None:
        """Statistics, without which plans are guesses, and what index-only scans need to leave the rows unread.

        Autovacuum does the same, within a minute or at a fifth more rows; a bulk load is searched before that.
        """
        with closing(self._connect()) as raw:
            for table in tables:
                with suppress(psycopg.errors.LockNotAvailable):  # somebody else is at it
                    raw.execute(f"VACUUM (ANALYZE) {table}".encode())

    def _close(self) -> None:
        for raw in (*self._idle, self._raw):
            raw.close()


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


def _cancel(raw: psycopg.Connection[Any]) -> None:
    """End the statement that runs. One that cannot be reached ends by its own time limit."""
    with suppress(psycopg.Error):
        raw.cancel_safe(timeout=_CANCEL_TIMEOUT_SECONDS)


def _without_url(error: psycopg.Error) -> str:
    """What the server or the driver says; never the address with its password."""
    return re.sub(r"\w+://\S+", "(address)", str(error)).strip().rstrip(".") or type(error).__name__
