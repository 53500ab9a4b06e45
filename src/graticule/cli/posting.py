"""``graticule forge --post``: Items and their files into the catalog of this data folder, watched to the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from graticule.cli.offering import FileServer

if TYPE_CHECKING:
    from graticule.cli.progress import Display
    from graticule.forge import Forged
    from graticule.services import Services
    from graticule.workflows.journal import Operation

#: Items in one operation.
_BATCH: Final = 100
#: Between two looks at the operations, seconds.
_POLL: Final = 0.5
#: Work that nobody has begun after this long wants a word, seconds.
_IDLE: Final = 10.0
#: Failed items that are told of one by one, of each operation.
_TOLD: Final = 20


def post_items(
    data_dir: Path | None,
    collection: Mapping[str, Any],
    forged: Sequence[Forged],
    display: Display,
    *,
    skip_existing: bool,
) -> bool:
    """Create the collection if it is missing, and ingest the Items; the files are served from here meanwhile.

    Returns:
        Has every Item been published?

    Raises:
        GraticuleError: the catalog cannot be opened, or takes no Item of this collection.
    """
    from graticule.services import open_services  # noqa: PLC0415 - not needed to describe files
    from graticule.settings import load_settings  # noqa: PLC0415
    from graticule.sources import offer  # noqa: PLC0415

    settings = load_settings(data_dir=data_dir)

    async def run() -> bool:
        async with open_services(settings) as services:
            await _ensure_collection(services, collection, display)
            with FileServer() as server, offer(settings.data_dir, server.url):
                return await _Posting(services, server, collection["id"], display).post(
                    forged, skip_existing=skip_existing
                )

    return asyncio.run(run())


async def _ensure_collection(services: Services, collection: Mapping[str, Any], display: Display) -> None:
    from graticule.cli.address import base_urls  # noqa: PLC0415
    from graticule.errors import NotFound  # noqa: PLC0415

    try:
        await services.catalog.collection(collection["id"])
    except NotFound:
        await services.ingestion.create_collection(dict(collection), base_urls(services.settings))
        display.note(
            "collection", f"Collection '{collection['id']}' created", collection=collection["id"], created=True
        )
    else:
        message = f"Collection '{collection['id']}' is there and keeps its document"
        display.note("collection", message, collection=collection["id"], created=False)


class _Posting:
    """Items on their way into a catalog."""

    def __init__(self, services: Services, server: FileServer, collection_id: str, display: Display) -> None:
        self._services = services
        self._server = server
        self._collection_id = collection_id
        self._display = display
        self._open: dict[str, Operation] = {}
        self._ended: list[Operation] = []

    async def post(self, forged: Sequence[Forged], *, skip_existing: bool) -> bool:
        chosen = [each for each in forged if not (skip_existing and await self._exists(each.item["id"]))]
        skipped = len(forged) - len(chosen)
        size = min(_BATCH, self._services.settings.max_items_per_post)
        try:
            for start in range(0, len(chosen), size):
                await self._submit(chosen[start : start + size])
            await self._watch(len(chosen))
        except BaseException:
            # Their files are served no longer: what has not been fetched cannot be.
            for operation_id in self._open:
                await self._services.ingestion.cancel(operation_id)
            raise
        succeeded = sum(operation.succeeded for operation in self._ended)
        failed = sum(operation.failed for operation in self._ended)
        text = f"{succeeded:,} of {len(forged):,} items are in the catalog" + (
            f", {skipped:,} were there" if skipped else ""
        )
        self._display.note("posted", text, succeeded=succeeded, failed=failed, skipped=skipped)
        return succeeded == len(chosen)

    async def _exists(self, item_id: str) -> bool:
        from graticule.errors import NotFound  # noqa: PLC0415

        try:
            await self._services.catalog.item(self._collection_id, item_id)
        except NotFound:
            return False
        return True

    async def _submit(self, batch: Sequence[Forged]) -> None:
        from graticule.cli.address import base_urls  # noqa: PLC0415
        from graticule.errors import TooManyRequests  # noqa: PLC0415

        features = [self._served(each) for each in batch]
        document = {"type": "FeatureCollection", "features": features}
        while True:
            try:
                operation = await self._services.ingestion.submit_items(
                    self._collection_id, document, base_urls(self._services.settings)
                )
            except TooManyRequests:
                await asyncio.sleep(_POLL)
            else:
                self._open[operation.id] = operation
                return

    def _served(self, forged: Forged) -> dict[str, Any]:
        """The Item with hrefs that the worker fetches; of what becomes a COG on the way, size and checksum change."""
        from graticule.forge import is_converted, with_hrefs  # noqa: PLC0415

        hrefs = {key: self._server.href(path) for key, path in forged.files.items()}
        item: dict[str, Any] = {**with_hrefs(forged.item, forged.files, hrefs)}
        item["assets"] = {
            key: {
                name: value for name, value in asset.items() if not (name.startswith("file:") and is_converted(asset))
            }
            for key, asset in item["assets"].items()
        }
        return item

    async def _watch(self, total: int) -> None:
        begun, warned = time.monotonic(), False
        while self._open:
            for operation_id in list(self._open):
                operation = self._open[operation_id] = await self._services.ingestion.operation(operation_id)
                if operation.is_terminal:
                    del self._open[operation_id]
                    self._ended.append(operation)
                    await self._tell_failures(operation)
            known = [*self._open.values(), *self._ended]
            failed = sum(operation.failed for operation in known)
            done = sum(operation.succeeded for operation in known) + failed
            told = f"{done:,} of {total:,} items ingested" + (f", {failed:,} failed" if failed else "")
            self._display.update(done, told, total=total, items=total, ingested=done - failed, failed=failed)
            if (
                not warned
                and not done
                and time.monotonic() > begun + _IDLE
                and all(o.status == "Pending" for o in known)
            ):
                warned = True
                self._display.note("idle", "Nobody has begun yet: does `graticule serve` or `graticule worker` run?")
            if self._open:
                await asyncio.sleep(_POLL)

    async def _tell_failures(self, operation: Operation) -> None:
        failed = await self._services.bulk.report(operation.id, state="failed", after=-1, limit=_TOLD)
        for entry, _ in failed:
            name = entry.item_id or str(entry.seq)
            self._display.note("failed", f"{name}: {entry.code}: {entry.message}", item=name, code=entry.code)
        if operation.failed > len(failed):
            more = operation.failed - len(failed)
            self._display.note("more", f"and {more:,} more: graticule operations items {operation.id}")
