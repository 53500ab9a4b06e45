"""Waking up on commits, so that a new job is taken within milliseconds by whichever process is free.

On SQLite ``PRAGMA data_version`` of a connection changes when any other connection, of this process or another one,
commits: a thread asks it every 20 ms on a connection of its own (some microseconds each) and looks into the tables only
after a change, no more often than it was told. On PostgreSQL whoever makes a job ready says so with NOTIFY
(`announce`), which is heard when he commits, and a connection of its own listens. A notice that was missed costs a
second at most.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

from graticule.database import Connection, Database, database_errors, said
from graticule.database.sqlite import SqliteConnection

logger = logging.getLogger(__name__)

#: After an error the connection is made anew, but not at once, seconds.
_PAUSE_AFTER_ERROR: Final = 1.0
#: How often a database file is asked whether there was a commit, seconds.
_ASK: Final = 0.02
_CHANNEL: Final = "graticule_jobs"
#: Look also unasked so often: a notice may be lost with its connection, or kept back by a pooler, seconds.
_UNASKED: Final = 1.0


def announce(tx: Connection) -> None:
    """Tell the workers of all processes, once this transaction has committed, that there is something to do."""
    if tx.dialect == "postgresql":
        tx.command(f"NOTIFY {_CHANNEL}")


@dataclass(frozen=True, slots=True)
class Due:
    """What a commit left to do."""

    #: A job that can be claimed.
    claimable: int | None = None
    #: Running jobs that are to be aborted.
    aborts: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.claimable is not None or bool(self.aborts)


class Watch(Protocol):
    """What tells an event loop that a commit left something to do."""

    async def next(self) -> Due:
        """Wait until a commit leaves something to do."""
        ...


def watch(
    database: Database, due: Callable[[Connection], Due], *, interval: float
) -> AbstractAsyncContextManager[Watch]:
    """The watch for a kind of database; it runs within ``async with``.

    Args:
        database: what is watched.
        due: looks what there is to do.
        interval: seconds between two looks, at least.
    """
    if database.dialect == "postgresql":
        return NoticeWatch(database, due, interval=interval)
    return CommitWatch(database, due, interval=interval)


class NoticeWatch:
    """The watch on PostgreSQL: listens on a connection of its own, and makes a new one when that is lost."""

    def __init__(self, database: Database, due: Callable[[Connection], Due], *, interval: float) -> None:
        """As `watch`."""
        self._database = database
        self._due = due
        self._interval = interval
        self._raw: Any = None
        self._looked = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._hang_up()

    async def next(self) -> Due:
        """Wait until a commit leaves something to do."""
        while True:
            try:
                await self._notice()
                await asyncio.sleep(max(0.0, self._looked + self._interval - time.monotonic()))
                self._looked = time.monotonic()
                found = await self._database.read(self._due)
            except database_errors() as exc:
                extra = {"action": "watch_failed"}
                logger.warning("Listening for jobs failed, trying again: %s", said(exc), extra=extra)
                await self._hang_up()
                await asyncio.sleep(_PAUSE_AFTER_ERROR)
                continue
            if found:
                return found

    async def _notice(self) -> None:
        """Wait for a notice, or until it is time to look unasked."""
        if self._raw is None:
            self._raw = await self._listen()  # what was said before was not heard, so there is nothing to wait for
            return
        async for _ in self._raw.notifies(timeout=_UNASKED, stop_after=1):
            pass

    async def _listen(self) -> Any:
        import psycopg  # noqa: PLC0415 - only where it is used

        from graticule.database.postgres import PATIENCE, PostgresDatabase  # noqa: PLC0415

        assert isinstance(self._database, PostgresDatabase)
        raw = await psycopg.AsyncConnection.connect(self._database.url, autocommit=True, **PATIENCE)
        try:
            await raw.execute(f"LISTEN {_CHANNEL}".encode())
        except BaseException:
            await raw.close()
            raise
        return raw

    async def _hang_up(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            await raw.close()


class CommitWatch:
    """The watch on SQLite."""

    def __init__(self, database: Database, due: Callable[[Connection], Due], *, interval: float) -> None:
        """As `watch`; ``due`` is called on the watch's own connection and thread."""
        self._database = database
        self._due = due
        self._interval = interval
        self._stopped = threading.Event()
        self._found: asyncio.Queue[Due] = asyncio.Queue()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        if self._database.path is not None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._watch, args=(loop,), name="commit-watch", daemon=True)
            self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=0.5)  # it is asleep or in a read of microseconds

    async def next(self) -> Due:
        """Wait until a commit leaves something to do."""
        if self._thread is None:
            return await self._next_in_memory()
        found = await self._found.get()
        while not self._found.empty():  # only the newest look counts
            found = self._found.get_nowait()
        return found

    async def _next_in_memory(self) -> Due:
        """In memory there is one connection: ask it how many rows it has changed so far."""
        seen = -1
        while True:
            changes, due = await self._database.read(lambda tx: (tx.raw.total_changes, self._due(tx)))
            if changes != seen and due:
                await asyncio.sleep(self._interval)  # the worker needs a moment to take what it was told of
                return due
            seen = changes
            await asyncio.sleep(self._interval)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        raw: sqlite3.Connection | None = None
        version, looked = -1, 0.0
        pause = usual = min(self._interval, _ASK)
        while not self._stopped.wait(pause):
            pause = usual
            try:
                if raw is None:
                    raw = self._open()
                seen = raw.execute("PRAGMA data_version").fetchone()[0]
                if seen == version or time.monotonic() < looked + self._interval:
                    continue
                version, looked = seen, time.monotonic()
                found = self._due(SqliteConnection(raw))
            except sqlite3.Error as exc:
                logger.warning("Watching commits failed, trying again: %s", exc, extra={"action": "watch_failed"})
                if raw is not None:
                    raw.close()
                raw, version, pause = None, -1, _PAUSE_AFTER_ERROR
                continue
            if found:
                with suppress(RuntimeError):  # the loop is closed: `__aexit__` was never reached, this thread ends soon
                    loop.call_soon_threadsafe(self._found.put_nowait, found)
        if raw is not None:
            raw.close()

    def _open(self) -> sqlite3.Connection:
        assert self._database.path is not None
        uri = f"{self._database.path.absolute().as_uri()}?mode=ro"
        raw = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5)
        raw.row_factory = sqlite3.Row
        return raw
