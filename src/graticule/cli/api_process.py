"""An API process of `graticule serve`: the application and its HTTP server in one event loop."""

from __future__ import annotations

import gc
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import graticule.catalog.sql.searching  # noqa: F401 - numpy and shapely take their time now, not at the first search
from graticule.access import prepare_tls
from graticule.app import create_app
from graticule.cli.address import bound_socket, write_address
from graticule.cli.http_server import HttpServer
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
        files = prepare_tls(settings.data_dir, _names(settings, host)) if tls else None
        application = create_app(services)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_BETWEEN_COLLECTIONS)
        url = settings.public_url or f"{'https' if tls else 'http'}://{_authority(host, port)}"
        if announce is not None:
            write_address(settings.data_dir, url)  # before the first answer: who waits for /healthz may read it then
        server = HttpServer(
            application,
            certificate=files.certificate if files else None,
            key=files.key if files else None,
            on_listening=partial(_tell, announce, url),
        )
        on_stop(server.stop)
        await server.serve([bound_socket(host, port, shared=True)])


def _tell(announce: str | None, url: str) -> None:
    if announce is not None:
        print(announce.format(url=url), flush=True)


def _names(settings: Settings, host: str) -> list[str]:
    """What clients call this server: the certificate has to hold all of it."""
    public = urlsplit(settings.public_url or "").hostname
    return [host, public] if public else [host]


def _authority(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - a name for people to open
    return f"{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}"
