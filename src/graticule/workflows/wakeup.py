"""Waking up on commits: what LISTEN and NOTIFY are on PostgreSQL.

``PRAGMA data_version`` of a connection changes when any other connection, of this process or another one, commits. A
thread asks it every few tens of milliseconds on a connection of its own (some microseconds each) and looks into the
tables only after a change.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from graticule.database import Database

logger = logging.getLogger(__name__)

#: After an error the file is opened anew, but not at once, seconds.
_PAUSE_AFTER_ERROR = 1.0


@dataclass(frozen=True, slots=True)
class Due:
    """What a commit left to do."""

    #: A job that can be claimed.
    claimable: int | None = None
    #: Running jobs that are to be aborted.
    aborts: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.claimable is not None or bool(self.aborts)


class CommitWatch:
    """Tells an event loop when a commit left something to do."""

    def __init__(self, database: Database, due: Callable[[sqlite3.Connection], Due], *, interval: float) -> None:
        """Prepare; the watch runs within ``async with``.

        Args:
            database: what is watched.
            due: looks, on the watch's own connection and thread, what there is to do.
            interval: seconds between two looks at the version.
        """
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
            changes, due = await self._database.read(lambda tx: (tx.raw.total_changes, self._due(tx.raw)))
            if changes != seen and due:
                await asyncio.sleep(self._interval)  # the worker needs a moment to take what it was told of
                return due
            seen = changes
            await asyncio.sleep(self._interval)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        raw: sqlite3.Connection | None = None
        version = -1
        pause = self._interval
        while not self._stopped.wait(pause):
            pause = self._interval
            try:
                if raw is None:
                    raw = self._open()
                seen = raw.execute("PRAGMA data_version").fetchone()[0]
                if seen == version:
                    continue
                version = seen
                found = self._due(raw)
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
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5)
