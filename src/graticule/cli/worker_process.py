"""A worker process: runs the durable work of one data folder, alone or beside others."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from graticule.cli.supervision import on_stop
from graticule.database import Connection
from graticule.errors import GraticuleError
from graticule.services import Services, open_services, open_work
from graticule.settings import Settings
from graticule.storage import orphans
from graticule.workflows import describe, journal, release_all

log = logging.getLogger(__name__)

#: A large post that is still unaccepted after this long was cut off by a crash, seconds.
_ABANDONED_AFTER = 600.0
_BETWEEN_TIDYINGS = 600.0
#: Operations whose detail one transaction forgets.
_FOLD_SLICE = 20


async def run_worker(settings: Settings, *, after_crash: bool = False) -> None:
    """Do the durable work until SIGTERM or SIGINT.

    Args:
        settings: of the catalog.
        after_crash: the worker before this one was ended by a signal, while the service went on.
    """
    async with open_services(settings) as services, open_work(services):
        stop = asyncio.Event()
        on_stop(stop.set)
        async with _among_workers(settings.data_dir, partial(_recover, services, after_crash=after_crash)):
            maintenance = asyncio.create_task(_maintain(services))
            try:
                await services.engine.run_worker(settings.worker_concurrency, stop)
            finally:
                maintenance.cancel()
                await asyncio.gather(maintenance, return_exceptions=True)


async def _recover(services: Services, *, after_crash: bool) -> None:
    """No other worker lives on this data folder: what the dead ones held is free at once."""

    def release(tx: Connection) -> int:
        in_hand = journal.running_items(tx, limit=2)
        released = release_all(tx)
        # Alone, and no other job beside it: then it may be what killed the worker.
        if after_crash and released == 1 and len(in_hand) == 1:
            journal.count_crash(tx, *in_hand[0])
        return released

    released = await services.database.write(release)
    shutil.rmtree(services.settings.staging_dir, ignore_errors=True)
    if released:
        log.info("took over %d items of a worker that ended", released, extra={"action": "recovered"})
    await services.ingestion.sweep_soon()


async def _maintain(services: Services) -> None:
    """What keeps a catalog tidy beside its jobs: now, and every ten minutes from then on."""
    first = True
    while True:
        try:
            await _tidy(services)
            if first:
                await _report_orphans(services)
            first = False
        except (GraticuleError, sqlite3.Error, OSError) as exc:
            log.warning("housekeeping failed: %s", describe(exc), extra={"action": "housekeeping_failed"})
        await asyncio.sleep(_BETWEEN_TIDYINGS)


async def _tidy(services: Services) -> None:
    database = services.database
    await database.write(lambda tx: journal.discard_unaccepted(tx, older_than=_ABANDONED_AFTER))
    kept = services.settings.journal_retention_days * 86_400.0
    while await database.write(lambda tx: journal.fold(tx, older_than=kept, limit=_FOLD_SLICE)):
        pass
    await services.ingestion.sweep_soon()  # also of bytes that came after their item was given up


async def _report_orphans(services: Services) -> None:
    """Tell of bytes that no record names. They are left: the database may be an older one, put back from a backup."""
    count = size = 0
    async for _container, _key, bytes_ in orphans(services.database, services.store):
        count, size = count + 1, size + bytes_
    if count:
        extra = {"action": "orphans_found", "count": count, "bytes": size}
        log.warning("managed storage holds files that the database does not know", extra=extra)


@asynccontextmanager
async def _among_workers(folder: Path, recover: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Hold a share of the workers' lock. Who gets it whole knows that all earlier workers are dead, and recovers.

    The kernel frees a lock with its process, so a killed worker's jobs are free as soon as the next one starts; a
    worker that only hangs keeps its share, and its jobs until its heartbeat is missed.
    """
    descriptor = os.open(folder / "workers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("other workers are there", extra={"action": "worker_joined"})
        else:
            await recover()
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_SH)  # waits while another one recovers
        yield
    finally:
        os.close(descriptor)
