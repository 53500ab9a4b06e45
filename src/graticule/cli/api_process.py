"""An API process of `graticule serve`: the application's event loop under granian."""

from __future__ import annotations

import asyncio
import gc
from typing import Final
from urllib.parse import urlsplit

from granian.constants import Interfaces, SSLProtocols
from granian.server.embed import Server

import graticule.catalog.sql.searching  # noqa: F401 - numpy and shapely take their time now, not at the first search
from graticule.access import prepare_tls
from graticule.app import create_app
from graticule.cli.address import address_of, write_address
from graticule.cli.supervision import on_stop
from graticule.services import open_services
from graticule.settings import Settings

#: Containers that Python makes before it looks for cycles among them, and how often it looks among older ones. Requests
#: make tens of thousands and hardly a cycle; to look through what libraries made at the start takes 50 ms each time.
_BETWEEN_COLLECTIONS: Final = (20_000, 20, 100)


async def serve_api(settings: Settings, host: str, port: int, *, tls: bool, announce: str | None) -> None:
    """Answer HTTP requests until SIGTERM or SIGINT.

    Args:
        settings: of the catalog.
        host: address to listen at.
        port: port to listen at; several processes may share it.
        tls: serve https.
        announce: printed when requests can be served, with ``{url}`` filled in.
    """
    async with open_services(settings) as services:
        await services.collection_assets.recover()
        address = str(address_of(host, port)[1][0])  # granian takes numbers only
        files = prepare_tls(settings.data_dir, _names(settings, host)) if tls else None
        application = create_app(services)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_BETWEEN_COLLECTIONS)
        server = Server(
            application,
            address=address,
            port=port,
            interface=Interfaces.ASGINL,
            websockets=False,
            log_enabled=False,
            ssl_protocol_min=SSLProtocols.tls12,
            ssl_cert=files.certificate if files else None,
            ssl_key=files.key if files else None,
        )
        url = settings.public_url or f"{'https' if tls else 'http'}://{_authority(host, port)}"
        if announce is not None:
            write_address(settings.data_dir, url)  # before the first answer: who waits for /healthz may read it then
        serving = asyncio.create_task(server.serve())
        on_stop(server.stop)
        await _listening(address, port, serving)
        if announce is not None:
            print(announce.format(url=url), flush=True)
        await serving


def _names(settings: Settings, host: str) -> list[str]:
    """What clients call this server: the certificate has to hold all of it."""
    public = urlsplit(settings.public_url or "").hostname
    return [host, public] if public else [host]


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


def _authority(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - a name for people to open
    return f"{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}"
