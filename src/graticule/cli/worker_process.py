"""A worker process: runs the durable work of one data folder, alone or beside others."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from graticule.cli.supervision import on_stop
from graticule.services import Services, open_services, open_work
from graticule.settings import Settings
from graticule.workflows import journal, release_all

log = logging.getLogger(__name__)

#: A large post that is still unaccepted after this long was cut off by a crash, seconds.
_ABANDONED_AFTER = 600.0


async def run_worker(settings: Settings) -> None:
    """Do the durable work until SIGTERM or SIGINT."""
    async with open_services(settings) as services, open_work(services):
        stop = asyncio.Event()
        on_stop(stop.set)
        async with _among_workers(settings.data_dir, partial(_recover, services)):
            maintenance = asyncio.create_task(_maintain(services))
            await services.engine.run_worker(settings.worker_concurrency, stop)
            maintenance.cancel()


async def _recover(services: Services) -> None:
    """No other worker lives on this data folder: what the dead ones held is free at once."""
    released = await services.database.write(release_all)
    shutil.rmtree(services.settings.staging_dir, ignore_errors=True)
    if released:
        log.info("took over %d items of a worker that ended", released, extra={"action": "recovered"})
    await services.ingestion.sweep_soon()


async def _maintain(services: Services) -> None:
    while True:
        await services.database.write(lambda tx: journal.discard_unaccepted(tx, older_than=_ABANDONED_AFTER))
        await asyncio.sleep(_ABANDONED_AFTER)


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
