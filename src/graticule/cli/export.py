"""``graticule export``: collections and items into files or a pgstac database, metadata only."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graticule.cli.options import DataDir, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graticule.catalog import Catalog, CollectionRecord
    from graticule.cli.progress import Display
    from graticule.ingestion.exchange import Exporter, NotTaken, PgstacServer, Written
    from graticule.settings import Settings
    from graticule.stac.search import Search


class Format(Enum):
    """How files are written."""

    NDJSON = "ndjson"
    GEOPARQUET = "geoparquet"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    destination: Annotated[
        Path | None,
        typer.Argument(
            show_default=False,
            help="A folder, which gets one of its own per collection; a file NAME.ndjson or NAME.parquet;"
            " or - for stdout.",
        ),
    ] = None,
    to_pgstac: Annotated[
        str | None,
        typer.Option(
            metavar="DSN",
            show_default=False,
            help="Write into this pgstac database instead: postgresql://USER@HOST:PORT/DATABASE. The password is better"
            " in PGPASSWORD or ~/.pgpass.",
        ),
    ] = None,
    data_dir: DataDir = None,
    file_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            show_default=False,
            help="Of files: ndjson, or geoparquet (stac-geoparquet). Default: what the file's name says, else ndjson.",
        ),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", show_default=False, help="Export this collection only; may be repeated."),
    ] = None,
    bbox: Annotated[
        str | None, typer.Option(metavar="W,S,E,N", show_default=False, help="Only items that meet this box.")
    ] = None,
    datetime: Annotated[
        str | None,
        typer.Option(metavar="TIME", show_default=False, help="Only items of this instant, or interval START/END."),
    ] = None,
    item_filter: Annotated[
        str | None,
        typer.Option("--filter", metavar="CQL2", show_default=False, help="Only items for which this CQL2 text holds."),
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
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace what an earlier export has left, or documents of the pgstac."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an export that was interrupted; keep what is complete.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Write Collections and Items, without their assets. The server may be running or not.

    Into a pgstac, what is there already, exactly so, is passed over: after an interruption, run it again. Exit code 1
    says that documents were refused.
    """
    from graticule.cli.logs import set_up_logging  # noqa: PLC0415 - not needed for `--help`
    from graticule.errors import SettingsError  # noqa: PLC0415
    from graticule.ingestion.exchange import PgstacServer  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415
    from graticule.stac.search import parse_search  # noqa: PLC0415

    if overwrite and resume:
        raise typer.BadParameter("--overwrite and --resume: give one of them, not both.")
    if (destination is None) == (to_pgstac is None):
        raise typer.BadParameter("Where to? Name a folder or file, or give --to-pgstac.")
    if destination is not None:
        _check_format(destination, file_format)
    settings = load_settings(data_dir=data_dir)
    set_up_logging("warning")
    select = parse_search({"bbox": bbox, "datetime": datetime, "filter": item_filter, "filter-lang": "cql2-text"})
    if settings.database_url is None and not settings.database_path.exists():
        raise SettingsError(f"{settings.data_dir} holds no catalog: name its folder with --data-dir.")
    target: Path | PgstacServer
    if to_pgstac is not None:
        target = PgstacServer(to_pgstac)
        name = target.name
    else:
        assert destination is not None
        target, name = destination, str(destination)
    job = _Job(settings, target, name, collection or [], base_url, select, file_format, overwrite, resume)
    return asyncio.run(job.run(as_json=as_json))


def _check_format(destination: Path, file_format: Format | None) -> None:
    """Refuse a name that says another format than the option."""
    said = {".ndjson": Format.NDJSON, ".parquet": Format.GEOPARQUET}.get(destination.suffix, file_format)
    if file_format is not None and said is not file_format:
        raise typer.BadParameter(f"--format {file_format.value}: {destination} is named as a file of another format.")
    if str(destination) == "-" and file_format is Format.GEOPARQUET:
        raise typer.BadParameter("--format geoparquet: a table cannot go to stdout: name a file or folder.")


@dataclasses.dataclass(frozen=True)
class _Job:
    """What was asked for."""

    settings: Settings
    target: Path | PgstacServer
    #: Of the target, for messages.
    name: str
    wanted: list[str]
    base_url: str | None
    select: Search
    file_format: Format | None
    overwrite: bool
    resume: bool

    @property
    def is_table(self) -> bool:
        return isinstance(self.target, Path) and (
            self.file_format is Format.GEOPARQUET or self.target.suffix == ".parquet"
        )

    async def run(self, *, as_json: bool) -> int:
        from graticule.cli.address import base_urls  # noqa: PLC0415 - not needed for `--help`
        from graticule.cli.progress import Display  # noqa: PLC0415
        from graticule.core import open_core  # noqa: PLC0415
        from graticule.ingestion.exchange import Exporter  # noqa: PLC0415

        to_stdout = str(self.target) == "-"
        with open_core(self.settings) as core:
            catalog = core.catalog
            records = await self._records(catalog)
            everything = sum([await catalog.item_count(record.id) for record in records])
            # How many a selection has is known at the end.
            total = everything if self.select == type(self.select)() else 0
            with Display(
                "Exporting", as_json=as_json, total=total * (2 if self.is_table else 1), to_stderr=to_stdout
            ) as display:
                progress = _Progress(display, total)
                base = (self.base_url or base_urls(self.settings)[0]).rstrip("/")
                exporter = Exporter(
                    catalog=catalog, hrefs=core.hrefs, base=base, select=self.select, on_items=progress.on_items
                )
                if not isinstance(self.target, Path):
                    return await self._to_pgstac(exporter, self.target, records, display, total)
                await self._to_files(exporter, self.target, records, progress)
                line = f"{progress.written:,} items of {len(records):,} collections written to {self.name}"
                display.note("done", line, items=progress.written, collections=len(records), destination=self.name)
        return 0

    async def _records(self, catalog: Catalog) -> Sequence[CollectionRecord]:
        return [await catalog.collection(name) for name in self.wanted] if self.wanted else await catalog.collections()

    async def _to_files(
        self, exporter: Exporter, path: Path, records: Sequence[CollectionRecord], progress: _Progress
    ) -> None:
        from graticule.ingestion.exchange import TableExporter  # noqa: PLC0415 - not needed for `--help`

        how = {"overwrite": self.overwrite, "resume": self.resume}
        if self.is_table:
            tables = TableExporter(exporter, on_rows=progress.on_rows)
            await (tables.to_file if path.suffix == ".parquet" else tables.to_folder)(path, records, **how)
        elif str(path) == "-":
            await exporter.to_stream(sys.stdout.buffer, records)
        elif path.suffix == ".ndjson":
            await exporter.to_file(path, records, **how)
        else:
            await exporter.to_folder(path, records, **how)

    async def _to_pgstac(
        self,
        exporter: Exporter,
        server: PgstacServer,
        records: Sequence[CollectionRecord],
        display: Display,
        total: int,
    ) -> int:
        from graticule.ingestion.exchange import PgstacExporter  # noqa: PLC0415 - not needed for `--help`

        def progress(collection_id: str, written: Written) -> None:
            done = written.items + written.replaced + written.unchanged + len(written.refused)
            display.update(done, _summary(written), collection=collection_id, total=total, **_counts(written))

        def refused(one: NotTaken) -> None:
            where = f"{one.collection}/{one.id}" if one.id != one.collection else one.id
            display.note("refused", f"{where}: {one.code}: {one.message}", **dataclasses.asdict(one))

        to = PgstacExporter(exporter, server, overwrite=self.overwrite, on_progress=progress, on_refusal=refused)
        written = await to.export(records)
        display.note("done", f"{_summary(written)} to {self.name}", **_counts(written), destination=self.name)
        return 1 if written.refused else 0


class _Progress:
    """Counts what goes into files."""

    def __init__(self, display: Display, total: int) -> None:
        self.written = 0
        self._rows = 0
        self._display = display
        self._total = total

    def on_items(self, collection_id: str, count: int) -> None:
        self.written += count
        self._tell(f"{self.written:,} items", collection=collection_id)

    def on_rows(self, count: int) -> None:
        self._rows += count
        self._tell(f"{self.written:,} items, {self._rows:,} of them in the table", rows=self._rows)

    def _tell(self, text: str, **members: str | int) -> None:
        self._display.update(self.written + self._rows, text, **members, items=self.written, total=self._total)


def _counts(written: Written) -> dict[str, int]:
    return {**dataclasses.asdict(written), "refused": len(written.refused)}


def _summary(written: Written) -> str:
    counts = {
        "items written": written.items,
        "replaced": written.replaced,
        "unchanged": written.unchanged,
        "collections written": written.collections,
        "refused": len(written.refused),
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what == "items written")
