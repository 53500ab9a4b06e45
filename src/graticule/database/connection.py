"""The database: one writer that commits in groups, readers beside it.

Rooms write plain functions of a `Connection` and hand them to `Database.write` or `Database.read`; the functions run
on a thread of the database, so the event loop never waits for a disk. Everything that one function writes is one
transaction. Functions that arrive while another commits share its commit (one fsync for all), each under a savepoint
of its own: one that fails takes back only what it did itself.

SQL texts name their parameters ``:name`` and keep to what SQLite and PostgreSQL both know; what differs is in the
dialect of the connection.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from graticule import crashpoints
from graticule.errors import SettingsError, Unavailable

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Any]
Row = sqlite3.Row

#: Other processes write too: wait this long for their transactions, milliseconds.
BUSY_TIMEOUT_MS: Final = 30_000
#: How often the writer tries while it waits, seconds. SQLite's own waiting ends at ten tries a second; a process that
#: writes without pause leaves the lock free for some microseconds at a time, and would shut this one out.
_BUSY_PAUSE_SECONDS: Final = 0.0001
#: A group of writes is closed after this long, so that other processes get their turn, seconds.
_GROUP_SECONDS: Final = 0.03

_BEFORE_COMMIT = crashpoints.crash_point("database.commit.before")
_AFTER_COMMIT = crashpoints.crash_point("database.commit.after")

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


class Connection:
    """What a unit of work sees of the database. Not thread-safe; used only inside `read` and `write`."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        """Wrap an open driver connection."""
        self.raw = raw

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run a statement; answers the number of rows it changed."""
        return self.raw.execute(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """Run a statement once per row of parameters."""
        self.raw.executemany(sql, rows)

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Every row of the answer; also for ``RETURNING``."""
        return self.raw.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row, or None."""
        cursor = self.raw.execute(sql, parameters)
        row: Row | None = cursor.fetchone()
        cursor.close()
        return row

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Take back what is written inside, and only that, when it raises."""
        self.raw.execute("SAVEPOINT inner_unit")
        try:
            yield
        except BaseException:
            if self.raw.in_transaction:
                self.raw.execute("ROLLBACK TO inner_unit")
                self.raw.execute("RELEASE inner_unit")
            raise
        self.raw.execute("RELEASE inner_unit")

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.one(sql, parameters)
        return None if row is None else row[0]


class _Work:
    """A function that waits for the writer, and where its outcome goes."""

    __slots__ = ("function", "future")

    def __init__(self, function: Callable[[Connection], Any]) -> None:
        self.function = function
        self.future: Future[Any] = Future()


class Database:
    """One SQLite database, shared by the threads of this process and by other processes of the same host."""

    def __init__(self, path: Path | None, *, readers: int = 4) -> None:
        """Open the file (None: in memory, for tests), bring its schema up to date and start the writer.

        Raises:
            SettingsError: the file lies on a network file system, was written by a newer version, or cannot be opened.
        """
        self.path = path
        if path is not None:
            _refuse_network_file_system(path.parent)
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writer_raw = self._open()
        self._writer_raw.execute("PRAGMA busy_timeout=0")  # `_begin` waits instead
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = False
        self._writer = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._writer.start()
        self._readers = None if path is None else ThreadPoolExecutor(readers, thread_name_prefix="database-reader")

    # --- used by rooms

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Run a function in a write transaction; returns after the commit is durable."""
        return await asyncio.wrap_future(self.submit(function))

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run a function in a read transaction: it sees one state of the database."""
        if self._readers is None:  # in memory there is one connection, so reads queue with the writes
            return await self.write(function)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    def submit(self, function: Callable[[Connection], T]) -> Future[T]:
        """As `write`, for callers without an event loop."""
        work = _Work(function)
        with self._lock:  # nothing comes behind the end of the queue, where nobody would take it
            if self._closed:
                raise Unavailable("The database is closed: the catalog is stopping.")
            self._queue.put(work)
        return work.future

    def write_now(self, function: Callable[[Connection], T]) -> T:
        """As `write`, and wait: for commands and tests."""
        return self.submit(function).result()

    def read_now(self, function: Callable[[Connection], T]) -> T:
        """As `read`, and wait: for commands and tests."""
        if self._readers is None:
            return self.write_now(function)
        return self._readers.submit(self._read, function).result()

    def close(self) -> None:
        """Finish what was submitted and close every connection."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._writer.join()
        if self._readers is not None:
            self._readers.shutdown(wait=True)
        for raw in self._reader_connections:
            raw.close()
        self._writer_raw.close()

    # --- threads

    def _connect(self) -> sqlite3.Connection:
        raw = sqlite3.connect(
            ":memory:" if self.path is None else self.path,
            isolation_level=None,  # transactions are ours
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
            cached_statements=512,
        )
        raw.row_factory = sqlite3.Row
        _patiently(raw, "PRAGMA journal_mode=WAL")  # the first one changes the file, and SQLite itself does not wait
        raw.execute("PRAGMA synchronous=FULL")  # an answer of 202 survives a power cut
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute("PRAGMA cache_size=-16000")
        raw.execute("PRAGMA mmap_size=2147483648")
        raw.execute("PRAGMA temp_store=MEMORY")
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

    def _read(self, function: Callable[[Connection], T]) -> T:
        raw: sqlite3.Connection | None = getattr(self._local, "raw", None)
        if raw is None:
            raw = self._local.raw = self._connect()
            with self._lock:
                self._reader_connections.append(raw)
        raw.execute("BEGIN")
        try:
            return function(Connection(raw))
        finally:
            raw.execute("ROLLBACK")

    def _write_loop(self) -> None:
        connection = Connection(self._writer_raw)
        stopping = False
        while not stopping:
            work = self._queue.get()
            if work is None:
                break
            stopping = self._write_group(connection, work)

    def _write_group(self, connection: Connection, first: _Work) -> bool:
        """Run one group in one transaction; True when the end of the queue was met."""
        raw = connection.raw
        done: list[tuple[_Work, Any]] = []
        stopping = False
        work: _Work | None = first
        try:
            self._roll_back(raw)  # of a group before this one, should that have failed
            self._begin(raw)
            until = time.monotonic() + _GROUP_SECONDS
            while work is not None:
                self._run_in_savepoint(connection, work, done)
                if time.monotonic() > until:
                    break
                try:
                    work = self._queue.get_nowait()
                except queue.Empty:
                    break
                stopping = work is None
            crashpoints.reach(_BEFORE_COMMIT)
            raw.execute("COMMIT")
            crashpoints.reach(_AFTER_COMMIT)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait for it
            self._roll_back(raw)
            waiting = [item for item, _ in done]
            if work is not None and work not in waiting:
                waiting.append(work)
            for item in waiting:
                if not item.future.done():
                    item.future.set_exception(exc)
            return stopping
        for item, result in done:
            item.future.set_result(result)
        return stopping

    @staticmethod
    def _roll_back(raw: sqlite3.Connection) -> None:
        """End a transaction that failed; SQLite may have done so itself. The writer outlives a failure of this too."""
        with suppress(sqlite3.Error):
            if raw.in_transaction:
                raw.execute("ROLLBACK")

    @staticmethod
    def _begin(raw: sqlite3.Connection) -> None:
        """Take the write lock, waiting for other processes' transactions."""
        _patiently(raw, "BEGIN IMMEDIATE")

    @staticmethod
    def _run_in_savepoint(connection: Connection, work: _Work, done: list[tuple[_Work, Any]]) -> None:
        if not work.future.set_running_or_notify_cancel():
            return
        raw = connection.raw
        raw.execute("SAVEPOINT unit")
        try:
            result = work.function(connection)
        except BaseException as exc:
            if not raw.in_transaction:  # the whole transaction is lost (disk full, I/O error)
                raise
            raw.execute("ROLLBACK TO unit")
            raw.execute("RELEASE unit")
            work.future.set_exception(exc)
            return
        raw.execute("RELEASE unit")
        done.append((work, result))


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


# --- schema ----------------------------------------------------------------------------------------------------------


def migrate(raw: sqlite3.Connection) -> None:
    """Apply the numbered files of ``migrations`` that this database has not seen, each in one transaction.

    Raises:
        SettingsError: the database was written by a newer version of Graticule.
    """
    files = sorted(
        (entry for entry in resources.files("graticule.database.migrations").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    known = len(files)
    if raw.execute("PRAGMA user_version").fetchone()[0] == known:
        return
    for number, file in enumerate(files, start=1):
        raw.execute("BEGIN IMMEDIATE")  # looked at again under the lock: another process may be migrating too
        try:
            version = raw.execute("PRAGMA user_version").fetchone()[0]
            if version > known:
                raise SettingsError(  # noqa: TRY301 - the rollback below is for it too
                    f"The database has schema {version}, this version of Graticule knows {known}: upgrade it."
                )
            if version < number:
                for statement in _statements(file.read_text("utf-8")):
                    raw.execute(statement)
                raw.execute(f"PRAGMA user_version={number}")
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise


def _statements(script: str) -> Iterable[str]:
    """Split a script; `executescript` would commit, and triggers hold semicolons."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending


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
