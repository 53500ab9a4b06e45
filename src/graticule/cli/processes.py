"""The two long-running processes of a catalog: the API's event loop under granian, and the worker's."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from granian.constants import Interfaces, SSLProtocols
from granian.server.embed import Server

from graticule.access import prepare_tls
from graticule.app import create_app
from graticule.cli.address import write_address
from graticule.services import Services, open_services
from graticule.settings import Settings
from graticule.workflows import journal, release_all

log = logging.getLogger(__name__)

#: A large post that is still unaccepted after this long was cut off by a crash, seconds.
_ABANDONED_AFTER = 600.0


async def serve_api(settings: Settings, host: str, port: int, *, tls: bool, announce: str | None) -> None:
    """Answer HTTP requests until SIGTERM or SIGINT.

    Args:
        settings: of the catalog.
        host: address to listen at.
        port: port to listen at; several processes may share it.
        tls: serve https.
        announce: printed when requests can be served, with ``{url}`` filled in.
    """
    async with open_services(settings, works=False) as services:
        files = prepare_tls(settings.data_dir, [host]) if tls else None
        server = Server(
            create_app(services),
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            websockets=False,
            log_enabled=False,
            ssl_protocol_min=SSLProtocols.tls12,
            ssl_cert=files.certificate if files else None,
            ssl_key=files.key if files else None,
        )
        url = settings.public_url or f"{'https' if tls else 'http'}://{_authority(host, port)}"
        serving = asyncio.create_task(server.serve())
        _on_stop(server.stop)
        await _listening(host, port, serving)
        if announce is not None:
            write_address(settings.data_dir, url)
            print(announce.format(url=url), flush=True)
        await serving


async def run_worker(settings: Settings) -> None:
    """Do the durable work until SIGTERM or SIGINT."""
    async with open_services(settings, works=True) as services:
        stop = asyncio.Event()
        _on_stop(stop.set)
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


async def _listening(host: str, port: int, serving: asyncio.Task[None]) -> None:
    """Wait until connections are taken; a server that cannot start raises here."""
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(host, port)
        except ConnectionError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    await serving


def _on_stop(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _authority(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - a name for people to open
    return f"{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}"
