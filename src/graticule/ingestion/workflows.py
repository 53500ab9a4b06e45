"""The durable work: ingest an item, delete a collection, sweep bytes that nobody names any more.

The engine runs each at least once; here each has its effect exactly once. What was done is in the journal, publishing
is one transaction, and every transaction first asks the engine whether this attempt still owns the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from graticule import crashpoints
from graticule.catalog import Catalog, OnConflict, check_searchable
from graticule.database import Connection, Database
from graticule.errors import (
    CollectionDoesNotExist,
    IngestionError,
    InternalError,
    ItemAlreadyExists,
)
from graticule.ingestion.burying import defer_sweep
from graticule.ingestion.copying import Copier, ItemWork, staging_folder
from graticule.ingestion.publishing import item_document
from graticule.ingestion.service import SUBMISSION
from graticule.ingestion.validation import check_contents
from graticule.sealing import Sealer
from graticule.settings import Settings
from graticule.stac.documents import Item
from graticule.storage import AssetStore, ledger, sweep
from graticule.workflows import Attempt, Engine, LeaseLost, journal

log = logging.getLogger(__name__)

#: How often a running item looks whether its operation was cancelled, seconds.
CANCEL_POLL = 0.5
#: Items removed in one transaction when a collection is deleted.
DELETE_SLICE = 200
SWEEP_SLICE = 200

_AFTER_BEGIN = crashpoints.crash_point("ingestion.begin.after")
_BEFORE_PUBLISH = crashpoints.crash_point("ingestion.publish.before")
_AFTER_PUBLISH = crashpoints.crash_point("ingestion.publish.after")
_AFTER_FAIL = crashpoints.crash_point("ingestion.fail.after")
_DELETE_SLICE = crashpoints.crash_point("ingestion.delete.slice")


@dataclass(frozen=True)
class Workflows:
    """The steps of durable work and the parts they need."""

    settings: Settings
    database: Database
    catalog: Catalog
    engine: Engine
    sealer: Sealer
    store: AssetStore
    copier: Copier
    forget_collection: Callable[[Connection, str], None]  #: clears what other rooms keep for a collection

    def register(self) -> None:
        """Tell the engine which function runs which task."""
        self.engine.task("ingest_item", on_give_up=self.give_up_item)(self.ingest_item)
        self.engine.task("delete_collection")(self.delete_collection)
        self.engine.task("sweep")(self.sweep)

    # --- an item

    async def ingest_item(self, attempt: Attempt, operation: int, seq: int) -> None:
        """Validate, copy, convert, publish one item of an operation."""
        try:
            try:
                await self._ingest(attempt, operation, seq)
            except IngestionError as exc:
                await self.database.write(partial(self._fail, attempt=attempt, pk=operation, seq=seq, error=exc))
                crashpoints.reach(_AFTER_FAIL)
        except LeaseLost:
            log.warning(
                "another worker has the item", extra={"action": "lease_lost", "operation": operation, "seq": seq}
            )

    async def _ingest(self, attempt: Attempt, operation: int, seq: int) -> None:
        work = await self.database.write(lambda tx: self._begin(tx, attempt, operation, seq))
        crashpoints.reach(_AFTER_BEGIN)
        if work is None:
            return
        check_contents(work.item, self.settings)
        check_searchable(work.item)
        async with staging_folder(work.folder):
            hrefs = await self._unless_canceled(work, self.copier.copy_assets(work))
        document = item_document(work.item, work.collection_id, hrefs)
        crashpoints.reach(_BEFORE_PUBLISH)
        await self.database.write(lambda tx: self._publish(tx, work, document))
        crashpoints.reach(_AFTER_PUBLISH)

    def _begin(self, tx: Connection, attempt: Attempt, pk: int, seq: int) -> ItemWork | None:
        """Take the item in hand; None when there is nothing left to do."""
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        entry = journal.item(tx, pk, seq)
        sealed = journal.document(tx, pk, seq)
        if operation is None or entry is None or entry.state not in {"pending", "running"}:
            return None
        journal.check_not_canceled(operation)
        if sealed is None:
            raise InternalError(f"The document of item '{entry.item_id}' is missing.")
        item: Item = orjson.loads(self.sealer.open(sealed, SUBMISSION))
        collection_id = operation.collection_id or ""
        record = self.catalog.collection_in(tx, collection_id)
        if record is None or record.deleting:
            raise CollectionDoesNotExist(f"Collection '{collection_id}' does not exist (any more): create it first.")
        if self.catalog.item_in(tx, collection_id, item["id"]) is not None:  # before anything is fetched
            raise ItemAlreadyExists(
                f"Item '{item['id']}' already exists in collection '{collection_id}':"
                " use another id, or delete that item first."
            )
        journal.start(tx, operation)
        journal.start_item(tx, pk, seq)
        return ItemWork(
            attempt=attempt,
            operation=operation,
            seq=seq,
            collection_id=collection_id,
            container=record.container,
            item=item,
            folder=self.settings.staging_dir / f"{pk}-{seq}-{attempt.job_id}-{attempt.attempts}",
        )

    async def _unless_canceled(self, work: ItemWork, coroutine: Any) -> Any:
        """Wait for the work, and stop it when its operation is cancelled."""
        task = asyncio.create_task(coroutine)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=CANCEL_POLL)
                if done:
                    return task.result()
                journal.check_not_canceled(await self.database.read(lambda tx: journal.get(tx, work.operation.id)))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _publish(self, tx: Connection, work: ItemWork, document: Item) -> None:
        """The one moment in which readers come to see the item."""
        work.attempt.still_ours(tx)
        entry = journal.item(tx, work.operation.pk, work.seq)
        if entry is None or entry.state != "running":
            return
        journal.check_not_canceled(journal.get(tx, work.operation.id))
        self.catalog.put_items(tx, work.collection_id, [document], on_conflict=OnConflict.ERROR)
        ledger.publish(tx, work.operation.id, work.item_id)
        journal.end_item(tx, work.operation.pk, work.seq)

    def _fail(self, tx: Connection, *, attempt: Attempt, pk: int, seq: int, error: IngestionError) -> None:
        """End the item with its error; what was stored for it is removed."""
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        entry = journal.item(tx, pk, seq)
        if operation is None or entry is None or entry.state not in {"pending", "running"}:
            return
        journal.end_item(tx, pk, seq, error)
        ledger.bury_operation(tx, operation.id, entry.item_id)
        defer_sweep(self.engine, tx)

    async def give_up_item(self, attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        """The engine has tried often enough: the item fails, the log has the cause."""
        failure = InternalError(
            f"The catalog failed on this item ({type(error).__name__}); its log tells more under this operation's id."
        )
        await self.database.write(
            partial(self._fail, attempt=attempt, pk=ids["operation"], seq=ids["seq"], error=failure)
        )

    # --- a collection

    async def delete_collection(self, attempt: Attempt, operation: int) -> None:
        """Remove a hidden collection: items in slices, then its bytes, configuration and name."""
        record = await self.database.read(lambda tx: journal.by_pk(tx, operation))
        if record is None or record.is_terminal or record.collection_id is None:
            return
        collection_id = record.collection_id
        await self.database.write(lambda tx: journal.start(tx, record))
        while await self.database.read(lambda tx: journal.items_in_hand(tx, collection_id)):  # noqa: ASYNC110 - other processes' work
            await asyncio.sleep(CANCEL_POLL)  # cancelled items may still be writing

        def remove(tx: Connection) -> int:
            attempt.still_ours(tx)
            return len(self.catalog.remove_items(tx, collection_id, DELETE_SLICE))

        while await self.database.write(remove):
            crashpoints.reach(_DELETE_SLICE)

        def finish(tx: Connection) -> None:
            attempt.still_ours(tx)
            ledger.bury_collection(tx, collection_id)
            self.forget_collection(tx, collection_id)
            self.catalog.forget_collection(tx, collection_id)
            journal.succeed(tx, journal.get(tx, record.id))
            defer_sweep(self.engine, tx)

        await self.database.write(finish)

    # --- bytes

    async def sweep(self, _attempt: Attempt) -> None:
        """Remove the bytes of everything buried."""
        while (await sweep(self.database, self.store, SWEEP_SLICE)).count:
            pass
