"""``graticule demo``: see it work, with nothing prepared and nothing left behind."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="End after the play; exit code 0 only if all of it worked.")] = (
        False
    ),
    live: Annotated[bool, typer.Option("--live", help="Fetch from the open Planetary Computer.")] = False,
    source_only: Annotated[
        bool, typer.Option("--source-only", help="Serve the demo's data alone, as the tutorials need it.")
    ] = False,
    source_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Where --source-only listens; 0 takes a free port.")
    ] = 8090,
) -> int:
    """Play the published quickstart against a catalog in a temporary folder."""
    from graticule.demo import run_demo, run_source  # noqa: PLC0415 - `--help` need not wait for rasterio

    if source_only:
        if once or live:
            raise typer.BadParameter("--source-only goes with neither --once nor --live.")
        return run_source(port=source_port)
    return run_demo(once=once, live=live)
