"""``graticule load``: collections and items from files or from a pgstac database, metadata only."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from graticule.cli.options import DataDir, Json

if TYPE_CHECKING:
    from graticule.cli.progress import Display
    from graticule.ingestion.exchange import Refusal, SourceFile, Tally

#: Containers that Python makes before it looks for cycles among them: those of about a thousand items.
_OBJECTS_BETWEEN_COLLECTIONS: Final = 200_000


class OnConflict(Enum):
    """What becomes of a document whose id is there already with other contents."""

    ERROR = "error"
    REPLACE = "replace"
    SKIP = "skip"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("load")(load)


def load(
    source: Annotated[
        Path | None,
        typer.Argument(
            show_default=False,
            help="A folder that `graticule export` wrote, or of .parquet files; a file of JSON lines, or NAME.parquet"
            " (stac-geoparquet); or - for stdin.",
        ),
    ] = None,
    from_pgstac: Annotated[
        str | None,
        typer.Option(
            metavar="DSN",
            show_default=False,
            help="Read this pgstac database instead: postgresql://USER@HOST:PORT/DATABASE. The password is better in"
            " PGPASSWORD or ~/.pgpass.",
        ),
    ] = None,
    data_dir: DataDir = None,
    collection: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Load this collection only; Items that name none belong to it.", show_default=False
        ),
    ] = None,
    on_conflict: Annotated[
        OnConflict,
        typer.Option(metavar="RULE", help="For ids that are there with other contents: error, replace, skip."),
    ] = OnConflict.ERROR,
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="Base URL under which the files name managed assets of this catalog; may be repeated."
            " Default: where it is or was served.",
        ),
    ] = None,
    *,
    create: Annotated[
        bool, typer.Option("--create", help="Make collections that Items name and no document describes.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Load Collections and Items as they are, without fetching their assets. The server may be running or not.

    What is there already, exactly so, is passed over: after an interruption, run it again. Exit code 1 says that
    lines or rows were refused.
    """
    _begin_helpers(source)
    from graticule.cli.logs import set_up_logging  # noqa: PLC0415 - not needed for `--help`
    from graticule.cli.progress import Display  # noqa: PLC0415
    from graticule.ingestion.exchange import find_files  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415

    # JSON makes no cycles: to look for them among thousands of fresh objects costs more than all else of a load.
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if (source is None) == (from_pgstac is None):
        raise typer.BadParameter("What is to be loaded? Name a file or folder, or give --from-pgstac.")
    settings = load_settings(data_dir=data_dir)
    set_up_logging("warning")
    files: Sequence[SourceFile] = []
    if source is not None:
        files = find_files(source)
    elif from_pgstac is not None:
        from graticule.ingestion.exchange import PgstacServer, PgstacSource  # noqa: PLC0415

        files = [PgstacSource(PgstacServer(from_pgstac), collection)]

    async def run(display: Display) -> Tally:
        from graticule.cli.address import base_urls  # noqa: PLC0415
        from graticule.core import open_core  # noqa: PLC0415
        from graticule.ingestion.exchange import IfPresent, Loader  # noqa: PLC0415

        with open_core(settings) as core:
            loader = Loader(
                settings=settings,
                database=core.database,
                catalog=core.catalog,
                hrefs=core.hrefs,
                bases=base_url or base_urls(settings),
                sweep=core.sweep_soon,
                if_present=IfPresent(on_conflict.value),
                only=collection,
                create=create,
                on_refusal=lambda refusal: _tell(display, refusal),
                on_progress=lambda tally: display.update(
                    tally.bytes_read, _summary(tally), **dataclasses.asdict(tally)
                ),
            )
            return await loader.load(files)

    with Display("Loading", as_json=as_json, total=sum(file.size for file in files)) as display:
        tally = asyncio.run(run(display))
        display.note("done", _summary(tally), **dataclasses.asdict(tally))
    return 1 if tally.refused else 0


def _begin_helpers(source: Path | None) -> None:
    """For a large file, have what helpers need imported beside what this process imports."""
    from graticule.ingestion.exchange.forking import LARGE, begin  # noqa: PLC0415 - not needed for `--help`

    if source is None or os.cpu_count() == 1:
        return
    files = [source, *source.glob("*"), *source.glob("*/*")] if source.is_dir() else [source]
    if any(file.is_file() and file.stat().st_size >= LARGE for file in files):
        begin()


def _tell(display: Display, refusal: Refusal) -> None:
    where = f"{refusal.file}:{refusal.line}"
    display.note("refused", f"{where}: {refusal.code}: {refusal.message}", **dataclasses.asdict(refusal))


def _summary(tally: Tally) -> str:
    counts = {
        "items loaded": tally.loaded,
        "replaced": tally.replaced,
        "unchanged": tally.unchanged,
        "skipped": tally.skipped,
        "of other collections": tally.passed_over,
        "collections written": tally.collections,
        "refused": tally.refused,
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what == "items loaded")
