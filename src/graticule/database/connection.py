"""What rooms see of a database, and the writer that commits in groups.

Rooms write plain functions of a `Connection` and hand them to `Database.write` or `Database.read`; the functions run
on a thread of the database, so the event loop never waits for a disk. Everything that one function writes is one
transaction. Functions that arrive while another commits share its commit (one fsync for all), all but the first under
a savepoint: one that fails takes back only what it did itself.

SQL texts name their parameters ``:name`` and keep to what SQLite and PostgreSQL both know; what differs between them
is asked of the connection (`Connection.dialect`).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from graticule import crashpoints
from graticule.errors import ReadStopped, Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Any]

#: Which SQL a database speaks.
Dialect = Literal["sqlite", "postgresql"]

_CLOSED: Final = "The database is closed: the catalog is stopping."
#: A group of writes is closed after this long, so that other processes get their turn, seconds.
_GROUP_SECONDS: Final = 0.03

_BEFORE_COMMIT = crashpoints.crash_point("database.commit.before")
_AFTER_COMMIT = crashpoints.crash_point("database.commit.after")


class Row(Protocol):
    """One row of an answer: its values in order, also by column name."""

    def __getitem__(self, key: Any, /) -> Any:
        """The value of a column: its position or its name; a slice gives a tuple."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The values."""
        ...

    def __len__(self) -> int:
        """How many columns."""
        ...

    def keys(self) -> Iterable[str]:
        """The names."""
        ...


class ReadLimit:
    """When a read is to stop: after some seconds, or when nobody waits for it any more."""

    def __init__(self, seconds: float) -> None:
        """The time runs from when the read begins, not while it waits for a thread."""
        self.seconds = seconds
        self._deadline: float | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self._interrupt: Callable[[], None] | None = None

    def begin(self, interrupt: Callable[[], None] | None = None) -> None:
        """The read begins; `interrupt` is called from another thread to end the statement that runs."""
        with self._lock:
            self._deadline = time.monotonic() + self.seconds
            self._interrupt = interrupt

    def end(self) -> None:
        """The read has ended; `interrupt` is not called any more when this returns."""
        with self._lock:
            self._interrupt = None

    def stop(self) -> None:
        """End the read now. From any thread."""
        with self._lock:
            self._stopped = True
            if self._interrupt is not None:
                self._interrupt()

    def extend(self) -> None:
        """Time is no matter any more: for the little that is left to do."""
        self._deadline = None

    def is_over(self) -> bool:
        """Is the read to stop?"""
        return self._stopped or (self._deadline is not None and time.monotonic() > self._deadline)

    def check(self) -> None:
        """Raises ReadStopped."""
        if self.is_over():
            raise ReadStopped


class Connection(ABC):
    """What a unit of work sees of the database. Not thread-safe; used only inside `read` and `write`."""

    dialect: Dialect
    #: The driver's own connection, for what only one kind of database has.
    raw: Any
    #: When this read is to stop; statements then raise ReadStopped.
    limit: ReadLimit | None = None

    @abstractmethod
    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run a statement; answers the number of rows it changed."""

    @abstractmethod
    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """Run a statement once per row of parameters."""

    @abstractmethod
    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add rows, values in the order of the columns, in the fastest way that this database has.

        The types must be the columns' own: an int for a float column is an error on one database. Where it raises, some
        rows may have been added: the transaction, or what it did since its last savepoint, must be taken back.
        """

    @abstractmethod
    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Every row of the answer; also for ``RETURNING``."""

    @abstractmethod
    def tuples(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """As `all`, without the names of the columns: for answers of many rows, and for many small answers."""

    @abstractmethod
    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row, or None."""

    @abstractmethod
    def command(self, sql: str) -> None:
        """Run one of the statements that steer transactions."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """False once the database has given up the whole transaction."""

    @property
    def has_failed(self) -> bool:
        """Has a statement failed, so that the transaction can only be taken back? On PostgreSQL alone."""
        return False

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Take back what is written inside, and only that, when it raises."""
        self.command("SAVEPOINT inner_unit")
        try:
            yield
        except BaseException:
            if self.in_transaction:
                self.command("ROLLBACK TO inner_unit")
                self.command("RELEASE inner_unit")
            raise
        self.command("RELEASE inner_unit")

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row, or None."""
        rows = self.tuples(sql, parameters)
        return rows[0][0] if rows else None


class _Work:
    """A function that waits for the writer, and where its outcome goes."""

    __slots__ = ("function", "future")

    def __init__(self, function: Callable[[Connection], Any]) -> None:
        self.function = function
        self.future: Future[Any] = Future()


class _Outcome(Generic[T]):
    """What a read on another thread came to, for a coroutine that waits for it."""

    __slots__ = ("_loop", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    def is_wanted(self) -> bool:
        return not self.future.done()

    def tell(self, result: T | None, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():  # cancelled
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Database(ABC):
    """One database, shared by the threads of this process and by other processes."""

    dialect: Dialect
    #: SQLite's file; None in memory, and where a server keeps the data.
    path: Path | None = None
    #: Are rows that are sought by key found in this process's memory, or at worst in a page or two of a local file?
    _is_near: bool = False

    def __init__(self, *, readers: int) -> None:
        """Start the writer; the subclass has opened what it needs. Without readers, reads queue with the writes."""
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = False
        #: The driver's connections of readers that are free; the last one used is the next one, so that few are in use.
        self._idle: list[Any] = []
        self._writer = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._writer.start()
        # Not an executor's: its threads, locks and futures cost a small read a tenth of its time.
        self._reads: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._readers: list[threading.Thread] = []
        self._most_readers = readers
        #: Reads that were submitted and have not ended.
        self._reading_now = 0

    # --- used by rooms

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Run a function in a write transaction; returns after the commit is durable."""
        return await asyncio.wrap_future(self.submit(function))

    async def read(self, function: Callable[[Connection], T], limit: ReadLimit | None = None) -> T:
        """Run a function in a read transaction: it sees one state of the database.

        With a limit its statements raise ReadStopped when the time is over, or when the caller is cancelled: the thread
        is free again soon. In memory, where reads queue with the writes, there is no limit.
        """
        if not self._most_readers:
            return await self.write(function)
        outcome = _Outcome[T]()
        self._submit_read(partial(self._read, function, limit, outcome.is_wanted, outcome.tell))
        try:
            return await outcome.future
        except asyncio.CancelledError:
            if limit is not None:  # not here: PostgreSQL is told over a connection of its own
                asyncio.get_running_loop().run_in_executor(None, limit.stop)
            raise

    async def look_up(self, function: Callable[[Connection], T]) -> T:
        """Run a function of one statement that finds a few rows by their keys; there is no transaction around it.

        It costs less than a way to another thread and back, or to a server and back, so these are spared where they
        can be.
        """
        if not self._most_readers:
            return await self.write(function)
        if self._closed:
            raise Unavailable(_CLOSED)
        if self._is_near:
            return self._look_up(function)
        outcome = _Outcome[T]()
        self._submit_read(partial(self._look_up_for, function, outcome.tell))
        return await outcome.future

    def submit(self, function: Callable[[Connection], T]) -> Future[T]:
        """As `write`, for callers without an event loop."""
        work = _Work(function)
        with self._lock:  # nothing comes behind the end of the queue, where nobody would take it
            if self._closed:
                raise Unavailable(_CLOSED)
            self._queue.put(work)
        return work.future

    def write_now(self, function: Callable[[Connection], T]) -> T:
        """As `write`, and wait: for commands and tests."""
        return self.submit(function).result()

    def read_now(self, function: Callable[[Connection], T]) -> T:
        """As `read`, and wait: for commands and tests."""
        if not self._most_readers:
            return self.write_now(function)
        outcome: Future[Any] = Future()

        def tell(result: T | None, error: BaseException | None) -> None:
            if error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(error)

        self._submit_read(partial(self._read, function, None, lambda: True, tell))
        answer: T = outcome.result()
        return answer

    def tidy_now(self, tables: Sequence[str]) -> None:  # noqa: B027 - nothing to do, where plans need no statistics
        """After much was written to these tables: what the database would do about it sooner or later."""

    @property
    def in_memory(self) -> bool:
        """Has this process alone the database?"""
        return False

    def begin_bulk(self) -> None:  # noqa: B027 - nothing to do, where the server decides
        """Much will be written: what costs more the more often it is done is done less often. Durable as ever."""

    def relieve_now(self) -> None:  # noqa: B027 - nothing to do, where the server does it
        """During a bulk load, beside its writes: do what one of them would have to do sooner or later."""

    def end_bulk(self) -> None:  # noqa: B027 - as above
        """After `begin_bulk`: as it was before."""

    def close(self) -> None:
        """Finish what was submitted and close every connection."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
            for _ in self._readers:
                self._reads.put(None)
        for thread in (self._writer, *self._readers):
            thread.join()
        self._close()

    # --- what a kind of database does its own way

    @abstractmethod
    def _connect(self) -> Any:
        """A new connection of the driver's."""

    @abstractmethod
    def _begin(self) -> Connection:
        """Begin a write transaction, once no other process is in one."""

    @abstractmethod
    def _commit(self) -> None:
        """Make it durable."""

    @abstractmethod
    def _roll_back(self) -> None:
        """End a transaction that failed, if there is one. The writer outlives a failure of this too."""

    @abstractmethod
    def _reading(self, limit: ReadLimit | None) -> AbstractContextManager[Connection]:
        """A read transaction; see `read` for the limit. From any thread."""

    @abstractmethod
    def _look_up(self, function: Callable[[Connection], T]) -> T:
        """Run a function that reads by one statement; see `look_up`. From any thread."""

    @abstractmethod
    def _close(self) -> None:
        """Close every connection; the threads have ended."""

    # --- the readers' threads

    def _free(self) -> Any:
        """A connection of the driver's that nobody uses; who takes it gives it back to `_idle`."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _submit_read(self, read: Callable[[], None]) -> None:
        """Have a thread call `read`, which raises nothing."""
        with self._lock:  # as in `submit`
            if self._closed:
                raise Unavailable(_CLOSED)
            self._reading_now += 1
            self._reads.put(read)
            if len(self._readers) < min(self._reading_now, self._most_readers):
                name = f"database-reader_{len(self._readers)}"
                reader = threading.Thread(target=self._read_loop, name=name, daemon=True)
                reader.start()
                self._readers.append(reader)

    def _read_loop(self) -> None:
        while (read := self._reads.get()) is not None:
            read()
            del read  # what it holds is not kept until the next one comes
            with self._lock:
                self._reading_now -= 1

    def _read(
        self,
        function: Callable[[Connection], T],
        limit: ReadLimit | None,
        is_wanted: Callable[[], bool],
        tell: Callable[[T | None, BaseException | None], None],
    ) -> None:
        """Run a function in a read transaction. What it answers is told before that ends: nobody waits for the end."""
        if not is_wanted():
            return
        told = False
        try:
            with self._reading(limit) as connection:
                answer = function(connection)
                told = True
                tell(answer, None)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait for it
            if told:  # the function has ended well, and the transaction has not
                _log.warning("A read transaction did not end as it should: %s", type(exc).__name__)
            else:
                tell(None, exc)

    def _look_up_for(
        self, function: Callable[[Connection], T], tell: Callable[[T | None, BaseException | None], None]
    ) -> None:
        try:
            answer = self._look_up(function)
        except BaseException as exc:  # noqa: BLE001 - as in `_read`
            tell(None, exc)
        else:
            tell(answer, None)

    # --- the writer's thread

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            work = self._queue.get()
            if work is None:
                break
            stopping = self._write_group(work)
            del work  # and what its function holds, now and not when the next one waits

    def _write_group(self, first: _Work) -> bool:
        """Run one group in one transaction; True when the end of the queue was met."""
        done: list[tuple[_Work, Any]] = []
        stopping = False
        work: _Work | None = first
        try:
            self._roll_back()  # of a group before this one, should that have failed
            connection = self._begin()
            until = time.monotonic() + _GROUP_SECONDS
            while work is not None:
                if done:
                    self._run_in_savepoint(connection, work, done)
                elif not self._run_first(connection, work, done):
                    self._roll_back()
                    connection = self._begin()
                if time.monotonic() > until:
                    break
                try:
                    work = self._queue.get_nowait()
                except queue.Empty:
                    break
                stopping = work is None
            crashpoints.reach(_BEFORE_COMMIT)
            self._commit()
            crashpoints.reach(_AFTER_COMMIT)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait for it
            self._roll_back()
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
    def _run_first(connection: Connection, work: _Work, done: list[tuple[_Work, Any]]) -> bool:
        """As `_run_in_savepoint` where no other's work could be lost; False: the transaction has to be taken back.

        Most groups are of one, and under a savepoint SQLite copies every page before it changes it.
        """
        if not work.future.set_running_or_notify_cancel():
            return True
        try:
            result = work.function(connection)
            if connection.has_failed:
                connection.command("SAVEPOINT unit")  # refused, for the reason that is told below
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait for it
            work.future.set_exception(exc)
            return False
        done.append((work, result))
        return True

    @staticmethod
    def _run_in_savepoint(connection: Connection, work: _Work, done: list[tuple[_Work, Any]]) -> None:
        if not work.future.set_running_or_notify_cancel():
            return
        connection.command("SAVEPOINT unit")
        try:
            result = work.function(connection)
            # Refused by PostgreSQL when the function has swallowed a failed statement: then nothing of it counts.
            connection.command("RELEASE unit")
        except BaseException as exc:
            if not connection.in_transaction:  # the whole transaction is lost (disk full, server gone)
                raise
            connection.command("ROLLBACK TO unit")
            connection.command("RELEASE unit")
            work.future.set_exception(exc)
            return
        done.append((work, result))
