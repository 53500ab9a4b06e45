"""Owns: a demonstration of everything at once.

It draws land-cover scenes, serves them from a small source that demands a SAS token, starts a catalog in a temporary
folder and plays the published quickstart against it as a client would. Refuses: to reach into the catalog; what it
starts are the commands, and what it calls is HTTP.

Entry points: `run_demo`, and `run_source` for the source alone, which the tutorials use.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.table import Table

from graticule.demo.catalog import CatalogFailed, RunningCatalog, running_catalog
from graticule.demo.quickstart import (
    SIGNED_MINUTES,
    Ingested,
    Quickstart,
    QuickstartFailed,
    SourceUnreachable,
    read_collection,
)
from graticule.demo.scenes import make_scenes, make_thumbnail
from graticule.demo.source import Source, serve_source

__all__ = ["LIVE_SOURCE", "run_demo", "run_source"]

#: The open Planetary Computer.
LIVE_SOURCE = "https://planetarycomputer.microsoft.com"

#: What the source holds: the four scenes of the quickstart, each a tile and a year.
SCENES = (("23M", 2023), ("23L", 2023), ("24M", 2023), ("24L", 2023))

# A reader may stall, a large file may take its time.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=120)


def run_demo(*, once: bool, live: bool, live_source: str = LIVE_SOURCE) -> int:
    """Play the quickstart, then keep everything up until Ctrl-C.

    Args:
        once: delete what was made and end after the play.
        live: fetch from the open Planetary Computer instead of the demo's own source.
        live_source: where that is.

    Returns:
        The exit code: 0 all of it worked, 1 a step did not, 3 the live source cannot be reached, 130 interrupted
        before the end of the play.
    """
    console = Console(highlight=False)

    async def demonstrate() -> int:
        try:
            return await _demonstrate(console, once=once, live_source=live_source if live else None)
        except SourceUnreachable as exc:
            console.print(f"[red]{exc.message}[/red]", soft_wrap=True)
            return 3
        except (QuickstartFailed, CatalogFailed) as exc:
            console.print("[red]The demonstration failed.[/red]")
            console.print(exc.message, style="red", markup=False, soft_wrap=True)
            return 1

    return _until_signal(demonstrate, interrupted=130)


def run_source(*, port: int) -> int:
    """Serve the demo's source alone, until Ctrl-C; the exit code."""
    console = Console(highlight=False)

    async def serve() -> int:
        with tempfile.TemporaryDirectory(prefix="graticule-demo-") as folder:
            try:
                _require_free(port)
                async with _local_source(Path(folder), port=port) as url:
                    console.print(f"The source listens at {url}", soft_wrap=True)
                    console.print(
                        f"A catalog may fetch from it with GRATICULE_FETCH_ALLOW={_authority(url)}", soft_wrap=True
                    )
                    await asyncio.Event().wait()
            except OSError as exc:
                console.print(f"[red]Port {port} cannot be used: {exc.strerror}.[/red]")
                return 1
        return 0

    return _until_signal(serve, interrupted=0)


async def _demonstrate(console: Console, *, once: bool, live_source: str | None) -> int:
    with tempfile.TemporaryDirectory(prefix="graticule-demo-") as name:
        folder = Path(name)
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            if live_source is not None:
                await read_collection(session, live_source)
                await _play(console, session, folder, live_source, fetch_allow=(), once=once)
            else:
                console.print("Drawing land-cover scenes.")
                async with _local_source(folder / "source", port=0) as url:
                    await _play(console, session, folder, url, fetch_allow=(_authority(url),), once=once)
    return 0


async def _play(
    console: Console,
    session: aiohttp.ClientSession,
    folder: Path,
    source_url: str,
    *,
    fetch_allow: Sequence[str],
    once: bool,
) -> None:
    console.print(f"Source   {source_url}", soft_wrap=True)
    async with running_catalog(folder, fetch_allow=fetch_allow) as catalog:
        console.print(f"Catalog  {catalog.url}\n", soft_wrap=True)
        quickstart = Quickstart(
            session, console, catalog_url=catalog.url, source_url=source_url, token=await catalog.token()
        )
        outcome = await quickstart.play(clean_up=once)
        console.print()
        console.print(_table(outcome.items))
        if outcome.signed_url is not None:
            _invite(console, catalog, outcome.signed_url)
            with suppress(asyncio.CancelledError):  # Ctrl-C is how this ends well
                await asyncio.Event().wait()


def _table(items: Sequence[Ingested]) -> Table:
    table = Table("Item", show_footer=True)
    table.columns[0].footer = f"{len(items)} items"
    for heading, total in (
        ("Assets", f"{sum(item.assets for item in items)}"),
        ("Bytes in", f"{sum(item.bytes_in for item in items):,}"),
        ("Bytes out", f"{sum(item.bytes_out for item in items):,}"),
        ("Seconds", f"{max((item.seconds for item in items), default=0):.1f}"),
    ):
        table.add_column(heading, total, justify="right")
    for item in items:
        table.add_row(
            item.item_id, str(item.assets), f"{item.bytes_in:,}", f"{item.bytes_out:,}", f"{item.seconds:.1f}"
        )
    return table


def _invite(console: Console, catalog: RunningCatalog, signed_url: str) -> None:
    console.print(f"\nA signed URL, good for {SIGNED_MINUTES} minutes; it opens in a browser, GDAL or QGIS:")
    console.print(signed_url, soft_wrap=True, markup=False)
    console.print("\nTo look around:")
    console.print(f'  TOKEN=$(graticule token --data-dir "{catalog.data_dir}")', soft_wrap=True, markup=False)
    console.print(
        f'  curl -H "Authorization: Bearer $TOKEN" {catalog.url}/stac/collections', soft_wrap=True, markup=False
    )
    console.print("\nEverything stays up until Ctrl-C, and is removed then.")


@asynccontextmanager
async def _local_source(folder: Path, *, port: int) -> AsyncIterator[str]:
    """Draw the scenes into a folder and serve them."""
    scenes = await asyncio.to_thread(make_scenes, folder, SCENES)
    thumbnail = folder / "thumbnail.png"
    await asyncio.to_thread(make_thumbnail, thumbnail, scenes)
    async with serve_source(Source(scenes, thumbnail), port=port) as url:
        yield url


def _require_free(port: int) -> None:
    """Tell of a taken port at once, rather than after the scenes were drawn.

    Raises:
        OSError: it is taken, or not ours to take.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _authority(url: str) -> str:
    return urlsplit(url).netloc


def _until_signal(work: Callable[[], Awaitable[int]], *, interrupted: int) -> int:
    """Run ``work`` until it ends, or until SIGINT or SIGTERM cancels it: then everything it opened is closed again."""

    async def main() -> int:
        task = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return interrupted

    return asyncio.run(main())
