"""``graticule worker``: runs the durable work of a catalog, beside others or alone."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from graticule.cli.options import DataDir


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker")(worker)


def worker(
    data_dir: DataDir = None,
    *,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing at the start.")] = False,
) -> None:
    """Ingest, delete and sweep until Ctrl-C or SIGTERM; several may work on one data folder of this host.

    With GRATICULE_DATABASE_URL they may run on many hosts.
    """
    from graticule.cli.logs import set_up_logging  # noqa: PLC0415
    from graticule.cli.supervision import adopt  # noqa: PLC0415 - not needed for `--help`
    from graticule.cli.worker_process import run_worker  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415

    after_crash = adopt()
    settings = load_settings(data_dir=data_dir)
    set_up_logging(settings.log_level)
    if not quiet:
        where = f"{settings.data_dir} (database: {settings.database_place})"
        print(f"A worker runs on {where}; stop it with Ctrl-C.", flush=True)
    asyncio.run(run_worker(settings, after_crash=after_crash))
