"""A connection to PostgreSQL: psycopg connects and knows the types; statements go straight to libpq.

A cursor of psycopg's watches the socket from Python, so that other threads may run meanwhile. Each of its statements
takes 0.1 ms for that, and 0.25 ms on a processor that slept between two requests, as long as the server needs for most
of ours. libpq's own calls wait without Python, and other threads run meanwhile too (docs/decisions/0036).
"""

from __future__ import annotations

import functools
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGconn, PGresult
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper, NumericBinaryLoader
from psycopg.types.string import StrBinaryDumper, StrDumperUnknown

from graticule.database.connection import Connection, Dialect, Parameters, Row
from graticule.errors import ReadStopped

#: So many rows are added by COPY, which has no statement to plan and no answer per row.
_COPY_FROM_ROWS: Final = 8
#: A statement is prepared when it has run so often,
_RUNS_UNPREPARED: Final = 5
#: and so many are kept: the last ones used.
_MOST_PREPARED: Final = 100
#: The runs of so many others are counted.
_MOST_COUNTED: Final = 500

_BINARY: Final = pq.Format.BINARY
_DONE: Final = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK})
_OPEN: Final = frozenset({pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR, pq.TransactionStatus.ACTIVE})

#: What a text may hold besides names of parameters: literals, quoted names, comments, casts.
_TOKEN: Final = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/|::|:([A-Za-z_]\w*)|\?""", re.DOTALL)


class Statement(NamedTuple):
    """A statement with PostgreSQL's own places for parameters, ``$1`` and so on."""

    text: bytes
    #: What they were called, in the order of their numbers; None where they had no names.
    names: tuple[str, ...] | None

    def values(self, parameters: Parameters) -> Sequence[Any]:
        """The values in the order of the places."""
        if isinstance(parameters, Mapping):
            return [parameters[name] for name in self.names or ()]
        return parameters


@functools.lru_cache(maxsize=2048)
def numbered(sql: str) -> Statement:
    """The statement with a number for each ``:name``, the same for the same name, or for each ``?``."""
    numbers: dict[str, int] = {}

    def replace(match: re.Match[str]) -> str:
        if match[1] is None and match[0] != "?":
            return match[0]
        name = match[1] or f"?{len(numbers)}"
        return f"${numbers.setdefault(name, len(numbers) + 1)}"

    text = _TOKEN.sub(replace, sql).encode()
    return Statement(text, None if "?0" in numbers else tuple(numbers))


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


class _Prepared:
    """The statements that a connection has prepared: those that it runs often are parsed and planned once."""

    def __init__(self, server: PGconn) -> None:
        """None yet."""
        self._server = server
        self._names: OrderedDict[tuple[bytes, tuple[int, ...]], bytes] = OrderedDict()
        self._runs: OrderedDict[tuple[bytes, tuple[int, ...]], int] = OrderedDict()
        self._last = 0

    def name(self, text: bytes, types: tuple[int, ...]) -> bytes | None:
        """The statement's name; None: it is rare so far.

        Raises:
            psycopg.Error: the server does not take it.
        """
        key = (text, types)
        name = self._names.get(key)
        if name is not None:
            self._names.move_to_end(key)
            return name
        runs = self._runs.pop(key, 0) + 1
        if runs <= _RUNS_UNPREPARED:
            self._runs[key] = runs
            if len(self._runs) > _MOST_COUNTED:
                self._runs.popitem(last=False)
            return None
        self._last += 1
        name = f"graticule_{self._last}".encode()
        checked(self._server.prepare(name, text, types))
        self._names[key] = name
        if len(self._names) > _MOST_PREPARED:
            self._close(self._names.popitem(last=False)[1])
        return name

    def _close(self, name: bytes) -> None:
        if pq.version() >= 170000:
            checked(self._server.close_prepared(name))
        else:
            checked(self._server.exec_(b"DEALLOCATE " + name))


def checked(result: PGresult) -> PGresult:
    """The result, if it is one.

    Raises:
        psycopg.Error: the statement failed; OperationalError without a code: there was no asking the server.
    """
    if result.status in _DONE:
        return result
    error = error_from_result(result, encoding="utf-8")
    if error.sqlstate is None:  # the server gives a code with all it says: this is libpq's own word
        raise psycopg.OperationalError(str(error))
    raise error


class PostgresConnection(Connection):
    """A `Connection` to PostgreSQL, of one thread at a time."""

    dialect: Dialect = "postgresql"
    raw: psycopg.Connection[Any]

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        """Take over an open connection of the driver's; its cursors are for COPY and for many rows."""
        self.raw = raw
        # By value an int would be sent as int2, int4 or int8: many statements of one text, and arrays that overflow.
        raw.adapters.register_dumper(int, Int8Dumper)
        raw.adapters.register_dumper(int, Int8BinaryDumper)  # the last one is preferred; lists may ask for the other
        raw.adapters.register_dumper(bool, Int8BinaryDumper)  # truth is 0 or 1 in our tables
        raw.adapters.register_dumper(str, _Text)
        raw.adapters.register_loader("numeric", _Numeric)
        self._server = raw.pgconn
        self._values = Transformer(raw)
        self._prepared = _Prepared(raw.pgconn)
        self._column_types: dict[str, dict[str, int]] = {}

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """See `Connection`."""
        return self._run(sql, parameters).command_tuples or 0

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """See `Connection`."""
        statement = numbered(sql)
        with psycopg.RawCursor(self.raw) as cursor:
            cursor.executemany(statement.text, map(statement.values, rows))

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Connection`."""
        names = ", ".join(columns)
        if len(rows) < _COPY_FROM_ROWS:
            sql = f"INSERT INTO {table}({names}) VALUES ({', '.join('?' * len(columns))})"
            if len(rows) == 1:
                self.execute(sql, rows[0])
            else:
                self.execute_many(sql, rows)
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
            sql = "SELECT attname, atttypid::int8 FROM pg_attribute WHERE attrelid = ?::regclass AND attnum > 0"
            known = self._column_types[table] = {row[0]: row[1] for row in self.tuples(sql, [table])}
        return known

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """See `Connection`."""
        result = self._run(sql, parameters)
        names = tuple((result.fname(column) or b"").decode() for column in range(result.nfields))
        return self._rows(result, _row_class(names))

    def tuples(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """See `Connection`."""
        return self._rows(self._run(sql, parameters), tuple)

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """See `Connection`."""
        rows = self.all(sql, parameters)
        return rows[0] if rows else None

    def _rows(self, result: PGresult, row: Callable[[Sequence[Any]], Any]) -> list[Any]:
        self._values.set_pgresult(result)
        rows = self._values.load_rows(0, result.ntuples, row)
        self._values.set_pgresult(None)  # which may be large
        return rows

    def _run(self, sql: str, parameters: Parameters) -> PGresult:
        if self.limit is not None:
            self.limit.check()
        try:
            return self._sent(sql, parameters)
        except psycopg.OperationalError as exc:
            self._close_if_lost(exc)
            if self.limit is None or not isinstance(exc, psycopg.errors.QueryCanceled):
                raise
            # What is left to do with a search that was stopped is done in the same state of the database.
            self.command("ROLLBACK TO limited; SET LOCAL statement_timeout = 0")
            raise ReadStopped from exc

    def _sent(self, sql: str, parameters: Parameters) -> PGresult:
        statement, server, adapted = numbered(sql), self._server, self._values
        values = statement.values(parameters)
        dumped = adapted.dump_sequence(values, [PyFormat.AUTO] * len(values))
        types = adapted.types or ()
        name = self._prepared.name(statement.text, types)
        if name is None:
            result = server.exec_params(statement.text, dumped, types, adapted.formats, _BINARY)
        else:
            # A value may be NULL here too, whatever the declared type says.
            result = server.exec_prepared(name, dumped, adapted.formats, _BINARY)  # type: ignore[arg-type]
        return checked(result)

    def command(self, sql: str) -> None:
        """See `Connection`; also several at once, in one message: the ways to the server and back count."""
        self.answer(sql.encode())

    def answer(self, commands: bytes) -> bytes | None:
        """Run commands in one message; what the server says to the last one: its name, mostly."""
        try:
            return checked(self._server.exec_(commands)).command_status
        except psycopg.OperationalError as exc:
            self._close_if_lost(exc)
            raise

    def _close_if_lost(self, error: psycopg.OperationalError) -> None:
        """Close a connection that the server cannot be asked on: libpq itself may find out only at the next attempt."""
        if error.sqlstate is None:
            self.raw.close()

    @property
    def in_transaction(self) -> bool:
        """See `Connection`."""
        return self._server.transaction_status in _OPEN

    @property
    def has_failed(self) -> bool:
        """See `Connection`."""
        return self._server.transaction_status == pq.TransactionStatus.INERROR

    @property
    def is_lost(self) -> bool:
        """Is this connection of no use any more?"""
        return self.raw.closed

    def close(self) -> None:
        """End it."""
        self.raw.close()
