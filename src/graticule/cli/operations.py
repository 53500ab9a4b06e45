"""``graticule operations``: what a catalog is doing and has done, item by item."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graticule.cli.options import DataDir, Json

if TYPE_CHECKING:
    from graticule.services import Services

Operation = Annotated[str, typer.Argument(metavar="OPERATION", show_default=False, help="Its id.")]
Collection = Annotated[
    str | None, typer.Option("--collection", "-c", metavar="ID", show_default=False, help="Only of this collection.")
]

#: Entries that are read at a time.
_BLOCK = 500


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Show and cancel operations. The server may be running or not.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("items")(items)
    group.command("cancel")(cancel)
    group.command("rerun")(rerun)
    app.add_typer(group, name="operations")


def list_(
    data_dir: DataDir = None,
    collection: Collection = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", show_default=False, help="Only in this one, e.g. Running.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest.")] = 20,
    *,
    as_json: Json = False,
) -> None:
    """List operations, newest first."""
    from graticule.api import wire  # noqa: PLC0415 - not needed for `--help`
    from graticule.errors import InvalidParameter  # noqa: PLC0415
    from graticule.workflows.journal import STATUSES  # noqa: PLC0415

    named = next((each for each in STATUSES if status is not None and each.lower() == status.lower()), None)
    if status is not None and named is None:
        raise InvalidParameter(f"--status must be one of {', '.join(STATUSES)}.")

    async def work(services: Services) -> None:
        found = await services.ingestion.operations(top=top, skip=0, collection_id=collection, status=named)
        for operation in found:
            shown = wire.operation(operation)
            if as_json:
                print(json.dumps(shown))
                continue
            counts = "" if operation.total is None else f"  {operation.succeeded + operation.failed}/{operation.total}"
            print(
                f"{operation.id}  {operation.status:<9}  {shown['creationTime'][:19]}  {operation.type}"
                f"  {operation.collection_id or ''}{counts}"
            )

    _run(data_dir, work)


def show(operation: Operation, data_dir: DataDir = None) -> None:
    """Print one operation as JSON, as the API shows it."""
    from graticule.api import wire  # noqa: PLC0415 - not needed for `--help`

    async def work(services: Services) -> None:
        print(json.dumps(wire.operation(await services.ingestion.operation(operation)), indent=2))

    _run(data_dir, work)


def items(
    operation: Operation,
    data_dir: DataDir = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            show_default=False,
            help="Only these: pending, running, succeeded, skipped, failed, canceled.",
        ),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Tell what became of each item."""
    from graticule.api.reports import shown_item  # noqa: PLC0415 - not needed for `--help`
    from graticule.errors import InvalidParameter  # noqa: PLC0415
    from graticule.workflows.item_entries import STATES as ITEM_STATES  # noqa: PLC0415

    if state is not None and state not in ITEM_STATES:
        raise InvalidParameter(f"--state must be one of {', '.join(ITEM_STATES)}.")

    async def work(services: Services) -> None:
        after = -1
        while found := await services.bulk.report(operation, state=state, after=after, limit=_BLOCK):
            for entry, assets in found:
                if as_json:
                    print(json.dumps(shown_item(entry, assets)))
                else:
                    why = f"  {entry.code}: {entry.message}" if entry.code else ""
                    print(f"{entry.state:<9}  {entry.item_id or entry.source or entry.seq}{why}")
                    for warning in entry.warnings:
                        place = warning["path"] or "the Item"
                        print(f"{'':<9}  warning: {place}: {warning['message']} ({warning['rule']})")
            after = found[-1][0].seq

    _run(data_dir, work)


def cancel(operation: Operation, data_dir: DataDir = None) -> None:
    """Cancel an operation; one that has ended stays as it is."""

    async def work(services: Services) -> None:
        await services.ingestion.cancel(operation)
        print(f"{operation}: {(await services.ingestion.operation(operation)).status}", file=sys.stderr)

    _run(data_dir, work)


def rerun(operation: Operation, data_dir: DataDir = None, *, as_json: Json = False) -> int:
    """Run the items that failed in a bulk run once more, and watch."""
    from graticule.cli.ingest import watch  # noqa: PLC0415 - not needed for `--help`
    from graticule.cli.progress import Display  # noqa: PLC0415

    async def work(services: Services) -> int:
        with Display("Ingesting", as_json=as_json, total=0) as display:
            run = await services.bulk.rerun(operation)
            display.note("started", f"Run {run.operation.id}", operation=run.operation.id)
            return 0 if (await watch(services, display, run.operation.id)).status == "Succeeded" else 1

    return int(_run(data_dir, work))


def _run(data_dir: Path | None, work: Callable[[Services], Awaitable[Any]]) -> Any:
    from graticule.cli.logs import set_up_logging  # noqa: PLC0415 - not needed for `--help`
    from graticule.services import open_services  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415

    settings = load_settings(data_dir=data_dir)
    set_up_logging("warning")

    async def opened() -> Any:
        async with open_services(settings) as services:
            return await work(services)

    return asyncio.run(opened())
