"""A worker process: runs the durable work of a catalog, alone or beside others of this host and of other ones."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import platform
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from graticule.cli.supervision import on_stop
from graticule.database import Connection, database_errors
from graticule.errors import GraticuleError
from graticule.services import Services, open_services, open_work
from graticule.settings import Settings
from graticule.storage import orphans
from graticule.workflows import Released, describe, item_entries, journal, release_all, release_place

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
        recover = partial(_recover, services, after_crash=after_crash)
        async with _among_workers(settings, recover) as place:
            maintenance = asyncio.create_task(_maintain(services))
            try:
                await services.engine.run_worker(settings.worker_concurrency, stop, place=place)
            finally:
                maintenance.cancel()
                await asyncio.gather(maintenance, return_exceptions=True)


async def _recover(services: Services, place: str, *, after_crash: bool) -> None:
    """No other worker lives on this data folder (and host): what the dead ones held is free at once.

    On a database server there may be workers elsewhere; those of this place alone are known to be dead.
    """

    def release(tx: Connection) -> list[Released]:
        released = release_all(tx) if services.settings.database_url is None else release_place(tx, place)
        # Alone, and no other job beside it: then it may be what killed the worker.
        if after_crash and len(released) == 1 and (item := _in_hand(tx, released[0])) is not None:
            item_entries.count_crash(tx, *item)
        return released

    released = await services.database.write(release)
    shutil.rmtree(services.settings.staging_dir, ignore_errors=True)
    if released:
        log.info("took over %d items of a worker that ended", len(released), extra={"action": "recovered"})
    await services.ingestion.sweep_soon()


def _in_hand(tx: Connection, job: Released) -> tuple[int, int] | None:
    """The item that a job had in hand, as (operation, sequence number)."""
    if {"operation", "first"} <= job.ids.keys():  # a chunk of a bulk run: it has one item in hand at a time
        return item_entries.in_hand_from(tx, job.ids["operation"], job.ids["first"])
    if not {"operation", "seq"} <= job.ids.keys():
        return None
    name = (job.ids["operation"], job.ids["seq"])
    entry = item_entries.get(tx, *name)
    return name if entry is not None and entry.state == "running" else None


async def _maintain(services: Services) -> None:
    """What keeps a catalog tidy beside its jobs: now, and every ten minutes from then on."""
    first = True
    while True:
        try:
            await _tidy(services)
            if first:
                await _report_orphans(services)
            first = False
        except database_errors(GraticuleError, OSError) as exc:
            log.warning("housekeeping failed: %s", describe(exc), extra={"action": "housekeeping_failed"})
        await asyncio.sleep(_BETWEEN_TIDYINGS)


async def _tidy(services: Services) -> None:
    database = services.database
    await database.write(lambda tx: journal.discard_unaccepted(tx, older_than=_ABANDONED_AFTER))
    kept = services.settings.journal_retention_days * 86_400.0
    while await database.write(lambda tx: item_entries.fold(tx, older_than=kept, limit=_FOLD_SLICE)):
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
async def _among_workers(settings: Settings, recover: Callable[[str], Awaitable[None]]) -> AsyncIterator[str]:
    """Hold a share of the workers' lock. Who gets it whole knows that all earlier workers are dead, and recovers.

    The kernel frees a lock with its process, so a killed worker's jobs are free as soon as the next one starts; a
    worker that only hangs keeps its share, and its jobs until its heartbeat is missed. Yields what the file holds: the
    name of this place, which no other host or data folder has.
    """
    # Where hosts share a folder, each has a lock of its own: not every network file system has locks between hosts.
    name = "workers.lock" if settings.database_url is None else f"workers-{platform.node()}.lock"
    descriptor = os.open(settings.data_dir / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("other workers are there", extra={"action": "worker_joined"})
        else:
            if not os.pread(descriptor, 64, 0):
                os.pwrite(descriptor, str(uuid.uuid4()).encode(), 0)
                os.fsync(descriptor)
            await recover(os.pread(descriptor, 64, 0).decode())
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_SH)  # waits while another one recovers
        yield os.pread(descriptor, 64, 0).decode()
    finally:
        os.close(descriptor)
