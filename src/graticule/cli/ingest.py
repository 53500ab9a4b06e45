"""``graticule ingest``: a bulk run of a static catalog or a table, watched until it ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from graticule.cli.options import DataDir, Json

if TYPE_CHECKING:
    from graticule.cli.progress import Display
    from graticule.ingestion.bulk import Plan
    from graticule.services import Services
    from graticule.workflows.journal import Operation

#: Between two looks at the run, seconds.
_POLL: Final = 0.5
#: A run that nobody has begun after this long wants a word, seconds.
_IDLE: Final = 10.0
#: Failed items that are told of one by one.
_TOLD: Final = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest")(ingest)


def ingest(
    url: Annotated[
        str,
        typer.Argument(
            show_default=False,
            help="A STAC Catalog or Collection (JSON), or a stac-geoparquet file (NAME.parquet), over http(s).",
        ),
    ],
    collection: Annotated[
        str, typer.Option("--collection", "-c", metavar="ID", show_default=False, help="The collection to fill.")
    ],
    data_dir: DataDir = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", show_default=False, help="A name for it.")] = None,
    *,
    geoparquet: Annotated[
        bool, typer.Option("--geoparquet", help="It is stac-geoparquet, whatever the URL ends with.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Pass over ids that the collection has.")
    ] = False,
    keep_originals: Annotated[
        bool, typer.Option("--keep-originals", help="Keep the source file of every converted asset too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only find out what would be fetched, converted, skipped and refused.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start the run and leave it to the server.")] = False,
    as_json: Json = False,
) -> int:
    """Ingest every item of a static catalog or of a stac-geoparquet file. A server or worker has to run.

    Ctrl-C leaves the run going: `graticule operations` shows it and cancels it. Exit code 1 says that items failed.
    """
    from graticule.cli.logs import set_up_logging  # noqa: PLC0415 - not needed for `--help`
    from graticule.cli.progress import Display  # noqa: PLC0415
    from graticule.services import open_services  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415

    settings = load_settings(data_dir=data_dir)
    set_up_logging("warning")
    is_table = geoparquet or url.partition("?")[0].endswith(".parquet")
    definition: dict[str, Any] = {
        "importType": "StacGeoparquet" if is_table else "StaticCatalog",
        "stacGeoparquetUrl" if is_table else "sourceCatalogUrl": url,
        "displayName": name,
        "skipExistingItems": skip_existing,
        "keepOriginalAssets": keep_originals,
    }

    async def run(display: Display) -> int:
        async with open_services(settings) as services:
            ingestion = await services.bulk.create(collection, definition)
            started = await services.bulk.start(collection, ingestion.id, dry=dry_run)
            display.note(
                "started", f"Run {started.operation.id}", ingestion=ingestion.id, operation=started.operation.id
            )
            if no_wait:
                return 0
            operation = await watch(services, display, started.operation.id)
            if dry_run:
                _tell_plan(display, await services.bulk.plan(started))
            return 0 if operation.status == "Succeeded" else 1

    with Display("Ingesting", as_json=as_json, total=0) as display:
        return asyncio.run(run(display))


async def watch(services: Services, display: Display, operation_id: str) -> Operation:
    """Show an operation until it has ended, and what failed in it."""
    begun, warned = time.monotonic(), False
    while True:
        operation = await services.ingestion.operation(operation_id)
        done = operation.succeeded + operation.failed
        display.update(done, summary(operation), total=operation.total, **counts(operation))
        if operation.is_terminal:
            break
        if operation.status == "Pending" and not warned and time.monotonic() > begun + _IDLE:
            warned = True
            display.note("idle", "Nobody has begun yet: does `graticule serve` or `graticule worker` run?")
        await asyncio.sleep(_POLL)
    failed = await services.bulk.report(operation_id, state="failed", after=-1, limit=_TOLD)
    for entry, _ in failed:
        name = entry.item_id or entry.source or str(entry.seq)
        display.note("failed", f"{name}: {entry.code}: {entry.message}", item=name, code=entry.code)
    if operation.failed > len(failed):
        display.note("more", f"and {operation.failed - len(failed):,} more: graticule operations items {operation_id}")
    if operation.failed == 0 and operation.error_message:
        display.note("error", f"{operation.error_code}: {operation.error_message}", code=operation.error_code)
    display.note("done", f"{operation.status}: {summary(operation)}", status=operation.status, **counts(operation))
    return operation


def counts(operation: Operation) -> dict[str, int]:
    """For programs."""
    return {
        "items": operation.total or 0,
        "succeeded": operation.succeeded,
        "skipped": operation.skipped,
        "failed": operation.failed,
    }


def summary(operation: Operation) -> str:
    """For people."""
    known = f"{operation.succeeded - operation.skipped:,} of {operation.total or 0:,} items"
    more = {"skipped": operation.skipped, "failed": operation.failed}
    return known + "".join(f", {count:,} {what}" for what, count in more.items() if count)


def _tell_plan(display: Display, plan: Plan) -> None:
    unknown = f", and {plan.unknown:,} assets of unknown size" if plan.unknown else ""
    display.note(
        "plan",
        f"Would fetch {plan.fetched:,} assets, {plan.bytes:,} bytes{unknown}; {plan.converted:,} of them are rasters to"
        f" convert or check; {plan.refused:,} are refused.",
        fetched=plan.fetched,
        converted=plan.converted,
        refused=plan.refused,
        unknown=plan.unknown,
        bytes=plan.bytes,
    )
