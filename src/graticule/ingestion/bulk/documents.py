"""The documents of a run's items: from the journal or from their source, made ready and checked; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from graticule.catalog import check_searchable
from graticule.database import Database
from graticule.errors import AssetTooLarge, ImportFileValidationFailed, IngestionError, ItemSizeExceeded
from graticule.ingestion.bulk.models import BULK, Run
from graticule.ingestion.bulk.reading import check_originals, ready_item
from graticule.ingestion.remarks import Remark
from graticule.ingestion.validation import MAX_ITEM_ID, check_contents
from graticule.sealing import Sealer
from graticule.settings import Settings
from graticule.sources import Fetcher, redact
from graticule.stac.documents import Item
from graticule.storage import ManagedHrefs
from graticule.workflows import item_entries


@dataclass(frozen=True, slots=True)
class Loaded:
    """An item that can be worked on, or why not; neither: its document is gone, for it has ended."""

    item: Item | None = None
    error: IngestionError | None = None
    #: Of an item with an error, if it has one that can be told.
    item_id: str | None = None
    remarks: Sequence[Remark] = ()


@dataclass(frozen=True, slots=True)
class Documents:
    """Loads them."""

    settings: Settings
    database: Database
    sealer: Sealer
    fetcher: Fetcher
    hrefs: ManagedHrefs

    async def load(self, run: Run, seq: int) -> Loaded:
        """The item, checked: everything that needs no database, and no turn."""
        text = await self.database.read(lambda tx: item_entries.document(tx, run.pk, seq))
        if text is None:
            return Loaded()
        envelope = orjson.loads(self.sealer.open(text, BULK))
        base, document = envelope.get("href"), envelope.get("item")
        try:
            if base is not None:
                document = await self._fetch(run, seq, base)
            item = ready_item(document, run.operation.collection_id or "", base, self.hrefs, origin=base or run.url)
            remarks = check_contents(item, self.settings)
            check_searchable(item)
            if run.keep_originals:
                check_originals(item)
        except IngestionError as exc:
            identity = document.get("id") if isinstance(document, dict) else None
            named = isinstance(identity, str) and 0 < len(identity) <= MAX_ITEM_ID
            return Loaded(error=exc, item_id=identity if named else None)
        return Loaded(item=item, remarks=remarks)

    async def _fetch(self, run: Run, seq: int, url: str) -> Any:
        """An item's document, through the guarded door."""
        limit = self.settings.max_item_bytes
        path = self.settings.staging_dir / "items" / f"{run.pk}-{seq}-{time.monotonic_ns()}.json"
        try:
            await self.fetcher.download(url, path, max_bytes=limit)
            text = path.read_bytes()  # written a moment ago, and parsed here in a longer time
        except AssetTooLarge as exc:
            raise ItemSizeExceeded(f"{redact(url)} is larger than {limit} bytes (GRATICULE_MAX_ITEM_BYTES).") from exc
        finally:
            path.unlink(missing_ok=True)
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as exc:
            raise ImportFileValidationFailed(f"{redact(url)} is no JSON: {exc}.") from None
