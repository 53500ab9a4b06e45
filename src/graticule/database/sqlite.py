"""The database in one SQLite file, or in memory: the embedded kind."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar

from graticule.database import schema
from graticule.database.connection import Connection, Database, Dialect, Parameters, ReadLimit, Row
from graticule.database.packing import plain
from graticule.errors import ReadStopped, SettingsError

T = TypeVar("T")

#: Other processes write too: wait this long for their transactions, milliseconds.
BUSY_TIMEOUT_MS: Final = 30_000
#: How often the writer tries while it waits, seconds. SQLite's own waiting ends at ten tries a second; a process that
#: writes without pause leaves the lock free for some microseconds at a time, and would shut this one out.
_BUSY_PAUSE_SECONDS: Final = 0.0001
#: So many steps of SQLite's machine between two looks whether a read is to stop: about a millisecond.
_PROGRESS_STEPS: Final = 50_000
#: Bytes of a page, in new files: packed documents of 2 or 3 kB leave much of SQLite's own 4 kB empty.
_PAGE_SIZE: Final = 8_192
#: Pages in the log after which a commit copies them to the database (32 MB), and for bulk loads. A post of 100 items
#: touches some 400, most of them pages of indexes that the next one touches again: by SQLite's own number every other
#: commit would copy them, and sync the database's file beside the log.
_PAGES: Final = 4_000
_PAGES_IN_BULK: Final = 16_000
#: Pages that a connection keeps in memory, kB. One that writes more of them in a transaction writes some twice.
_CACHE_KB: Final = 16_000
_CACHE_KB_IN_BULK: Final = 64_000
#: What SQLite says of a file that no later try will open.
_UNUSABLE: Final = frozenset(
    {
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    }
)

#: File systems on which SQLite's locks cannot be relied on.
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"}
)


#: Rows that one statement adds: few sizes, so that prepared statements are used again, and large ones, because the
#: driver takes Python's lock again after every row of `executemany`, and waits for busy threads each time.
_ROWS_AT_ONCE: Final = (64, 8, 1)


@functools.lru_cache(maxsize=256)
def _insert_statement(table: str, columns: tuple[str, ...], rows: int) -> str:
    # FAIL: a statement of many rows that meets a constraint leaves those before it, and the caller takes all back. To
    # take them back by itself, SQLite would copy every page before the statement changes it.
    row = f"({','.join('?' * len(columns))})"
    return f"INSERT OR FAIL INTO {table}({', '.join(columns)}) VALUES {','.join([row] * rows)}"


class SqliteConnection(Connection):
    """A `Connection` to SQLite."""

    dialect: Dialect = "sqlite"
    raw: sqlite3.Connection

    def __init__(self, raw: sqlite3.Connection) -> None:
        """Wrap an open driver connection."""
        self.raw = raw

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """See `Connection`."""
        return self.raw.execute(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """See `Connection`."""
        self.raw.executemany(sql, rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Connection`."""
        start = 0
        for size in _ROWS_AT_ONCE:
            while len(rows) - start >= size:
                statement = _insert_statement(table, tuple(columns), size)
                self.raw.execute(statement, list(chain.from_iterable(rows[start : start + size])))
                start += size

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """See `Connection`."""
        return self._fetched(self.raw.cursor(), sql, parameters)

    def tuples(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """See `Connection`."""
        cursor = self.raw.cursor()
        cursor.row_factory = None
        return self._fetched(cursor, sql, parameters)

    def _fetched(self, cursor: sqlite3.Cursor, sql: str, parameters: Parameters) -> list[Any]:
        if self.limit is not None:
            self.limit.check()
        try:
            return cursor.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as exc:
            self._raise_if_stopped(exc)
            raise
        finally:
            # Here and now: a cursor in the traceback of a failure would be closed by whichever thread finds it as
            # garbage, and that one waits until the connection's next statement has ended.
            cursor.close()

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """See `Connection`."""
        if self.limit is not None:
            self.limit.check()
        cursor = self.raw.cursor()
        try:
            row: Row | None = cursor.execute(sql, parameters).fetchone()
        except sqlite3.OperationalError as exc:
            self._raise_if_stopped(exc)
            raise
        finally:
            cursor.close()  # see `_fetched`
        return row

    def _raise_if_stopped(self, exc: sqlite3.OperationalError) -> None:
        if self.limit is not None and exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_INTERRUPT:
            raise ReadStopped from exc

    def command(self, sql: str) -> None:
        """See `Connection`."""
        self.raw.execute(sql)

    @property
    def in_transaction(self) -> bool:
        """See `Connection`."""
        return self.raw.in_transaction


class SqliteDatabase(Database):
    """One SQLite database, shared by the threads of this process and by other processes of the same host."""

    dialect: Dialect = "sqlite"
    _is_near = True

    def __init__(self, path: Path | None, *, readers: int = 4) -> None:
        """Open the file (None: in memory, for tests), bring its schema up to date and start the writer.

        Raises:
            SettingsError: the file lies on a network file system, was written by a newer version, or cannot be opened.
        """
        self.path = path
        if path is not None:
            _refuse_network_file_system(path.parent)
        self._raw = self._open()
        self._raw.execute("PRAGMA busy_timeout=0")  # `_begin` waits instead
        self._connection = SqliteConnection(self._raw)
        # In memory there is one connection, so reads queue with the writes.
        super().__init__(readers=0 if path is None else readers)

    def _connect(self) -> sqlite3.Connection:
        raw = sqlite3.connect(
            ":memory:" if self.path is None else self.path,
            isolation_level=None,  # transactions are ours
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
            cached_statements=512,
        )
        raw.row_factory = sqlite3.Row
        raw.execute(f"PRAGMA page_size={_PAGE_SIZE}")
        _patiently(raw, "PRAGMA journal_mode=WAL")  # the first one changes the file, and SQLite itself does not wait
        raw.execute("PRAGMA synchronous=FULL")  # an answer of 202 survives a power cut
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute(f"PRAGMA wal_autocheckpoint={_PAGES}")
        raw.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
        raw.execute("PRAGMA mmap_size=2147483648")
        raw.execute("PRAGMA temp_store=MEMORY")
        raw.create_function("plain", 1, plain, deterministic=True)
        return raw

    def _open(self) -> sqlite3.Connection:
        try:
            raw = self._connect()
            try:
                migrate(raw)
            except BaseException:
                raw.close()
                raise
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorcode & 0xFF not in _UNUSABLE:
                raise
            raise SettingsError(
                f"The database {self.path} cannot be used: {exc}. Check the file and its folder's permissions, restore"
                " it from a backup, or name another folder with --data-dir."
            ) from exc
        return raw

    def _begin(self) -> Connection:
        """Take the write lock, waiting for other processes' transactions."""
        _patiently(self._raw, "BEGIN IMMEDIATE")
        return self._connection

    def _commit(self) -> None:
        self._raw.execute("COMMIT")

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._raw.in_transaction:  # SQLite may have ended it itself
                self._raw.execute("ROLLBACK")

    def _look_up(self, function: Callable[[Connection], T]) -> T:
        raw = self._free()
        try:
            return function(SqliteConnection(raw))
        finally:
            self._idle.append(raw)

    @contextmanager
    def _reading(self, limit: ReadLimit | None) -> Iterator[Connection]:
        raw = self._free()
        connection = SqliteConnection(raw)
        raw.execute("BEGIN")
        try:
            if limit is not None:
                connection.limit = limit
                limit.begin()
                raw.set_progress_handler(limit.is_over, _PROGRESS_STEPS)
            yield connection
        finally:
            if limit is not None:
                raw.set_progress_handler(None, 0)
            raw.execute("ROLLBACK")
            self._idle.append(raw)

    @property
    def in_memory(self) -> bool:
        """See `Database`."""
        return self.path is None

    def begin_bulk(self) -> None:
        """See `Database`. Pages that are written again and again reach the database's file less often.

        The log may grow to 130 MB meanwhile; the loader copies it as it goes (`relieve_now`).
        """

        def begin(tx: Connection) -> None:
            tx.command(f"PRAGMA wal_autocheckpoint={_PAGES_IN_BULK}")
            tx.command(f"PRAGMA cache_size=-{_CACHE_KB_IN_BULK}")

        self.write_now(begin)

    def end_bulk(self) -> None:
        """See `Database`."""

        def end(tx: Connection) -> None:
            tx.command(f"PRAGMA wal_autocheckpoint={_PAGES}")
            tx.command(f"PRAGMA cache_size=-{_CACHE_KB}")

        self.write_now(end)
        self.relieve_now()  # lest the next request of a server has to do it

    def relieve_now(self) -> None:
        """See `Database`. Copies what is in the log; others may write meanwhile, so the log only grows by it.

        The commit that finds it too long has little left to copy, and the log begins anew.
        """
        if self.path is not None:
            with closing(self._connect()) as raw:
                raw.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _close(self) -> None:
        for raw in (*self._idle, self._raw):
            raw.close()


def _patiently(raw: sqlite3.Connection, statement: str) -> None:
    """Run a statement, again and again while another process is in its way."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            raw.execute(statement)
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(_BUSY_PAUSE_SECONDS)
        else:
            return


def migrate(raw: sqlite3.Connection) -> None:
    """Apply the numbered files of ``migrations`` that this database has not seen, each in one transaction.

    Raises:
        SettingsError: the database was written by a newer version of Graticule.
    """
    files = schema.migrations()
    known = len(files)
    if raw.execute("PRAGMA user_version").fetchone()[0] == known:
        return
    for number, file in enumerate(files, start=1):
        raw.execute("BEGIN IMMEDIATE")  # looked at again under the lock: another process may be migrating too
        try:
            version = raw.execute("PRAGMA user_version").fetchone()[0]
            if version > known:
                raise schema.too_new(version, known)  # noqa: TRY301 - the rollback below is for it too
            if version < number:
                for statement in schema.statements(file):
                    raw.execute(statement)
                raw.execute(f"PRAGMA user_version={number}")
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise


def _refuse_network_file_system(folder: Path) -> None:
    try:
        mounts = Path("/proc/mounts").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return
    best, kind = "", ""
    for line in mounts:
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, fields[2]
    if kind in _NETWORK_FILE_SYSTEMS:
        raise SettingsError(
            f"The data folder {folder} lies on a network file system ({kind}), where SQLite's locks cannot be relied"
            " on: name a local folder with --data-dir."
        )
