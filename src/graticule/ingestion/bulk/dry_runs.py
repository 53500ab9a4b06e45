"""What a dry run finds out of an item: how large its assets are, and what would become of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from graticule.database import Connection
from graticule.errors import AssetTooLarge, IngestionError
from graticule.ingestion.bulk import store
from graticule.ingestion.bulk.models import Run
from graticule.ingestion.conversion import wants_conversion
from graticule.settings import Settings
from graticule.sources import Fetcher, redact
from graticule.stac.documents import Item
from graticule.workflows import asset_entries


@dataclass(frozen=True, slots=True)
class PlannedAsset:
    """An asset that was asked for, and not brought."""

    key: str
    #: Bytes; None: its source does not say.
    size: int | None = None
    media_type: str | None = None
    #: Why it would fail.
    error: IngestionError | None = None


async def measured(item: Item, fetcher: Fetcher, settings: Settings) -> list[PlannedAsset]:
    """Ask the sources of all assets, some at a time."""
    slots = asyncio.Semaphore(settings.fetch_concurrency)

    async def one(key: str, href: str) -> PlannedAsset:
        subject, limit = f"Item '{item['id']}', asset '{key}'", settings.max_asset_bytes
        async with slots:
            try:
                measure = await fetcher.measure(href)
            except IngestionError as exc:
                return PlannedAsset(key, error=type(exc)(f"{subject}: {exc.message}"))
        if measure.bytes is not None and measure.bytes > limit:
            message = f"{subject} has {measure.bytes} bytes; at most {limit} are taken. (GRATICULE_MAX_ASSET_BYTES)"
            return PlannedAsset(key, measure.bytes, error=AssetTooLarge(message))
        return PlannedAsset(key, measure.bytes, measure.content_type)

    return list(await asyncio.gather(*(one(key, asset["href"]) for key, asset in item.get("assets", {}).items())))


def note_plan(tx: Connection, run: Run, seq: int, item: Item, found: Sequence[PlannedAsset]) -> None:
    """Write down what would become of an item's assets."""
    for planned in found:
        asset = item["assets"][planned.key]
        source = redact(asset["href"])
        if planned.error is not None:
            asset_entries.write_failed(tx, run.pk, seq, planned.key, source, planned.error)
            continue
        outcome = "convert" if wants_conversion(planned.key, asset, asset["href"]) else "fetch"
        store.planned_asset(
            tx,
            run.pk,
            seq,
            planned.key,
            outcome=outcome,
            source=source,
            size=planned.size,
            media_type=planned.media_type,
        )
