"""``graticule export``: collections and items into files, metadata only."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graticule.cli.options import DataDir, Json

if TYPE_CHECKING:
    from graticule.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    destination: Annotated[
        Path,
        typer.Argument(help="A folder, which gets one of its own per collection; a file NAME.ndjson; or - for stdout."),
    ],
    data_dir: DataDir = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", show_default=False, help="Export this collection only; may be repeated."),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="Base URL of managed assets in the files. Default: where the catalog is or was served.",
        ),
    ] = None,
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier export has left.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an export that was interrupted; keep what is complete.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write Collections and Items as JSON lines, without their assets. The server may be running or not."""
    from graticule.cli.logs import set_up_logging  # noqa: PLC0415 - not needed for `--help`
    from graticule.errors import SettingsError  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415

    if overwrite and resume:
        raise typer.BadParameter("--overwrite and --resume: give one of them, not both.")
    settings = load_settings(data_dir=data_dir)
    set_up_logging("warning")
    if settings.database_url is None and not settings.database_path.exists():
        raise SettingsError(f"{settings.data_dir} holds no catalog: name its folder with --data-dir.")
    asyncio.run(
        _export(
            settings,
            destination,
            collection or [],
            base_url,
            overwrite=overwrite,
            resume=resume,
            as_json=as_json,
        )
    )


async def _export(
    settings: Settings,
    destination: Path,
    wanted: list[str],
    base_url: str | None,
    *,
    overwrite: bool,
    resume: bool,
    as_json: bool,
) -> None:
    from graticule.cli.address import base_urls  # noqa: PLC0415 - not needed for `--help`
    from graticule.cli.progress import Display  # noqa: PLC0415
    from graticule.ingestion.exchange import Exporter  # noqa: PLC0415
    from graticule.services import open_services  # noqa: PLC0415

    to_stdout = str(destination) == "-"
    async with open_services(settings) as services:
        catalog = services.catalog
        records = [await catalog.collection(name) for name in wanted] if wanted else await catalog.collections()
        total = sum([await catalog.item_count(record.id) for record in records])
        written = 0
        with Display("Exporting", as_json=as_json, total=total, to_stderr=to_stdout) as display:

            def tell(collection_id: str, count: int) -> None:
                nonlocal written
                written += count
                display.update(written, f"{written:,} items", collection=collection_id, items=written, total=total)

            base = (base_url or base_urls(settings)[0]).rstrip("/")
            exporter = Exporter(catalog=catalog, hrefs=services.hrefs, base=base, on_items=tell)
            if to_stdout:
                await exporter.to_stream(sys.stdout.buffer, records)
            elif destination.suffix == ".ndjson":
                await exporter.to_file(destination, records, overwrite=overwrite, resume=resume)
            else:
                await exporter.to_folder(destination, records, overwrite=overwrite, resume=resume)
            line = f"{written:,} items of {len(records):,} collections written to {destination}"
            display.note("done", line, items=written, collections=len(records), destination=str(destination))
