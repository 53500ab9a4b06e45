"""The durable work: ingest an item, delete a collection, sweep bytes that nobody names any more.

The engine runs each at least once; here each has its effect exactly once. What was done is in the journal, publishing
is one transaction, and every transaction first asks the engine whether this attempt still owns the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import orjson

from graticule import crashpoints
from graticule.catalog import Catalog, CollectionRecord, OnConflict, PreparedItem, check_searchable, prepare_item
from graticule.database import Connection, Database, passing_fault
from graticule.errors import (
    CollectionDoesNotExist,
    IngestionError,
    InternalError,
    InternalIntermittentError,
    ItemAlreadyExists,
)
from graticule.ingestion.burying import defer_sweep
from graticule.ingestion.collection_rules import CollectionRules
from graticule.ingestion.copying import MAX_CRASHES, Copier, ItemWork, staging_folder
from graticule.ingestion.publishing import described
from graticule.ingestion.remarks import Remark, shown
from graticule.ingestion.service import SUBMISSION
from graticule.ingestion.updating import Change, Stored, Updater
from graticule.ingestion.validation import check_contents
from graticule.sealing import Sealer
from graticule.settings import Settings
from graticule.stac.documents import Item
from graticule.storage import AssetStore, ledger, sweep
from graticule.workflows import Attempt, Engine, LeaseLost, cancelling, item_entries, journal
from graticule.workflows.journal import Operation

log = logging.getLogger(__name__)

#: How often a running item looks whether its operation was cancelled, seconds.
CANCEL_POLL = 0.5
#: How often a deletion looks whether its collection's items have ended, before it goes on regardless.
CANCEL_POLLS = 20
#: After which a deletion that failed again and again is tried anew.
DELETE_AGAIN = timedelta(minutes=1)
#: Items removed in one transaction when a collection is deleted.
DELETE_SLICE = 200
SWEEP_SLICE = 200

_AFTER_BEGIN = crashpoints.crash_point("ingestion.begin.after")
_BEFORE_PUBLISH = crashpoints.crash_point("ingestion.publish.before")
_AFTER_PUBLISH = crashpoints.crash_point("ingestion.publish.after")
_BEFORE_UPDATE = crashpoints.crash_point("ingestion.update.before")
_AFTER_UPDATE = crashpoints.crash_point("ingestion.update.after")
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
    updater: Updater
    forget_collection: Callable[[Connection, str], None]  #: clears what other rooms keep for a collection

    def register(self) -> None:
        """Tell the engine which function runs which task."""
        self.engine.task("ingest_item", on_give_up=self.give_up_item)(self.ingest_item)
        self.engine.task("update_item", on_give_up=self.give_up_item)(self.update_item)
        self.engine.task("delete_collection", on_give_up=self.delete_later)(self.delete_collection)
        self.engine.task("sweep")(self.sweep)

    # --- an item

    async def ingest_item(self, attempt: Attempt, operation: int, seq: int) -> None:
        """Validate, copy, convert, publish one item of an operation."""
        await self._ending(attempt, operation, seq, self._ingest)

    async def update_item(self, attempt: Attempt, operation: int, seq: int) -> None:
        """Copy and convert what a change brings, and publish the changed item."""
        await self._ending(attempt, operation, seq, self._update)

    async def _ending(
        self, attempt: Attempt, operation: int, seq: int, steps: Callable[[Attempt, int, int], Awaitable[None]]
    ) -> None:
        """Run the steps of an item; it ends with the error that they end with."""
        try:
            try:
                await steps(attempt, operation, seq)
            except InternalIntermittentError:
                raise  # a full disk may have room in a moment: the engine tries again, and gives up in the end
            except IngestionError as exc:
                await self.database.write(partial(self._fail, attempt=attempt, pk=operation, seq=seq, error=exc))
                crashpoints.reach(_AFTER_FAIL)
        except LeaseLost:
            log.warning(
                "another worker has the item", extra={"action": "lease_lost", "operation": operation, "seq": seq}
            )

    async def _ingest(self, attempt: Attempt, operation: int, seq: int) -> None:
        text = await self._submitted(operation, seq)
        item: Item | None = None if text is None else orjson.loads(text)
        work = await self.database.write(lambda tx: self._begin(tx, attempt, operation, seq, item))
        crashpoints.reach(_AFTER_BEGIN)
        if work is None:
            return
        remarks = check_contents(work.item, self.settings)
        check_searchable(work.item)
        async with staging_folder(work.folder):
            hrefs = await self._unless_canceled(work, self.copier.copy_assets(work))
            document, more = self._described(work, hrefs)
            crashpoints.reach(_BEFORE_PUBLISH)
            await self.database.write(lambda tx: self._publish(tx, work, document, [*remarks, *more]))
            crashpoints.reach(_AFTER_PUBLISH)

    def _described(self, work: ItemWork, hrefs: Stored) -> tuple[PreparedItem, list[Remark]]:
        """The item as it is published, and what is to be told of it."""
        fills_in = self.settings.fill_in if work.rules.fills_in is None else work.rules.fills_in
        document, remarks = described(
            work.item, work.collection_id, hrefs, strictness=self.settings.validate_rasters, fills_in=fills_in
        )
        return prepare_item(document), remarks

    async def _update(self, attempt: Attempt, operation: int, seq: int) -> None:
        text = await self._submitted(operation, seq)
        change = None if text is None else Change.read(text)
        work = await self.database.write(lambda tx: self._begin_update(tx, attempt, operation, seq, change))
        crashpoints.reach(_AFTER_BEGIN)
        if work is None or change is None:
            return
        async with staging_folder(work.folder):
            fetched = await self._unless_canceled(work, self.copier.copy_assets(work))
        crashpoints.reach(_BEFORE_UPDATE)
        await self.database.write(lambda tx: self._publish_update(tx, work, change, fetched))
        crashpoints.reach(_AFTER_UPDATE)

    async def _submitted(self, pk: int, seq: int) -> bytes | None:
        """What was sent for the item; None where it has ended."""
        sealed = await self.database.read(lambda tx: item_entries.document(tx, pk, seq))
        return None if sealed is None else self.sealer.open(sealed, SUBMISSION)

    def _begin(self, tx: Connection, attempt: Attempt, pk: int, seq: int, item: Item | None) -> ItemWork | None:
        """Take a new item in hand; None when there is nothing left to do."""
        taken = self._take(tx, attempt, pk, seq, item)
        if taken is None or item is None:
            return None
        work = self._work(attempt, *taken, seq, item)
        if self.catalog.item_in(tx, work.collection_id, work.item_id) is not None:  # before anything is fetched
            raise ItemAlreadyExists(
                f"Item '{work.item_id}' already exists in collection '{work.collection_id}':"
                " use another id, or delete that item first."
            )
        return work

    def _begin_update(
        self, tx: Connection, attempt: Attempt, pk: int, seq: int, change: Change | None
    ) -> ItemWork | None:
        """Take a changed item in hand; None when there is nothing left to do."""
        taken = self._take(tx, attempt, pk, seq, change)
        if taken is None or change is None:
            return None
        draft = self.updater.draft(tx, change)
        return self._work(attempt, *taken, seq, draft.item, kept=frozenset(draft.kept))

    def _take(
        self, tx: Connection, attempt: Attempt, pk: int, seq: int, sent: object
    ) -> tuple[Operation, CollectionRecord] | None:
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        entry = item_entries.get(tx, pk, seq)
        if operation is None or entry is None or entry.state not in {"pending", "running"}:
            item_entries.erase_document(tx, pk, seq)
            return None
        journal.check_not_canceled(operation)
        if entry.crashes >= MAX_CRASHES:
            raise InternalError(
                f"Item '{entry.item_id}' is set aside: the process that had it in hand died {entry.crashes} times."
                " Check its assets with GDAL, or report this operation's id."
            )
        if sent is None:
            raise InternalError(f"The document of item '{entry.item_id}' is missing.")
        collection_id = operation.collection_id or ""
        record = self.catalog.collection_in(tx, collection_id)
        if record is None or record.deleting:
            raise CollectionDoesNotExist(f"Collection '{collection_id}' does not exist (any more): create it first.")
        journal.start(tx, operation)
        item_entries.start(tx, pk, seq)
        return operation, record

    def _work(
        self,
        attempt: Attempt,
        operation: Operation,
        record: CollectionRecord,
        seq: int,
        item: Item,
        kept: Collection[str] = (),
    ) -> ItemWork:
        return ItemWork(
            attempt=attempt,
            operation=operation,
            seq=seq,
            collection_id=record.id,
            container=record.container,
            item=item,
            rules=CollectionRules.of(record.doc),
            folder=self.settings.staging_dir / f"{operation.pk}-{seq}-{attempt.job_id}-{attempt.attempts}",
            kept=kept,
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

    def _publish(self, tx: Connection, work: ItemWork, document: PreparedItem, remarks: Sequence[Remark] = ()) -> None:
        """The one moment in which readers come to see the item."""
        if not self._may_publish(tx, work):
            return
        self.catalog.put_items(tx, work.collection_id, [document], on_conflict=OnConflict.ERROR)
        ledger.publish(tx, work.operation.id, work.item_id)
        item_entries.end(tx, work.operation.pk, work.seq, warnings=shown(remarks))

    def _publish_update(self, tx: Connection, work: ItemWork, change: Change, fetched: Stored) -> None:
        """The one moment in which readers come to see the changed item."""
        if not self._may_publish(tx, work):
            return
        draft = self.updater.draft(tx, change)
        buried, remarks = self.updater.publish(tx, change, draft, work.operation.id, fetched)
        if buried:
            defer_sweep(self.engine, tx)
        item_entries.end(tx, work.operation.pk, work.seq, warnings=shown(remarks))

    def _may_publish(self, tx: Connection, work: ItemWork) -> bool:
        """Is the item still this attempt's, and neither ended nor cancelled?"""
        work.attempt.still_ours(tx)
        entry = item_entries.get(tx, work.operation.pk, work.seq)
        if entry is None or entry.state != "running":
            return False
        journal.check_not_canceled(journal.get(tx, work.operation.id))
        return True

    def _fail(self, tx: Connection, *, attempt: Attempt, pk: int, seq: int, error: IngestionError) -> None:
        """End the item with its error; what was stored for it is removed."""
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        entry = item_entries.get(tx, pk, seq)
        if operation is None or entry is None or entry.state not in {"pending", "running"}:
            return
        item_entries.end(tx, pk, seq, error)
        ledger.bury_operation(tx, operation.id, entry.item_id)
        defer_sweep(self.engine, tx)

    async def give_up_item(self, attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        """The engine has tried often enough: the item fails, the log has the cause."""
        await self.database.write(
            partial(self._fail, attempt=attempt, pk=ids["operation"], seq=ids["seq"], error=last_word(error))
        )

    # --- a collection

    async def delete_collection(self, attempt: Attempt, operation: int) -> None:
        """Remove a hidden collection: items in slices, then its bytes, configuration and name."""
        record = await self.database.read(lambda tx: journal.by_pk(tx, operation))
        if record is None or record.is_terminal or record.collection_id is None:
            return
        collection_id = record.collection_id
        await self.database.write(lambda tx: journal.start(tx, record))
        await self._cancel_before(attempt, record, collection_id)

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

    async def _cancel_before(self, attempt: Attempt, deletion: Operation, collection_id: str) -> None:
        """Stop the work that a collection had when its deletion was asked for, and wait a little for it to end.

        Nothing depends on the waiting: no item is published into a collection that is being deleted, and bytes that
        come late are swept. It keeps the tidy order. Longer would be wrong, for the work may wait for this worker.
        """

        def cancel(tx: Connection, below: int) -> int | None:
            attempt.still_ours(tx)
            return cancelling.cancel_some(tx, collection_id=collection_id, below=below)

        below: int | None = deletion.pk
        while below is not None:
            below = await self.database.write(partial(cancel, below=below))
        for _ in range(CANCEL_POLLS):
            if not await self.database.read(lambda tx: item_entries.in_hand(tx, collection_id)):
                return
            await asyncio.sleep(CANCEL_POLL)

    async def delete_later(self, attempt: Attempt, ids: Mapping[str, Any], _error: Exception) -> None:
        """A deletion is never given up: half of it would keep the collection's id taken for ever."""

        def again(tx: Connection) -> None:
            attempt.still_ours(tx)
            self.engine.defer(tx, "delete_collection", [ids], schedule_in=DELETE_AGAIN)

        await self.database.write(again)

    # --- bytes

    async def sweep(self, _attempt: Attempt) -> None:
        """Remove the bytes of everything buried."""
        while (await sweep(self.database, self.store, SWEEP_SLICE)).count:
            pass


def last_word(error: Exception) -> IngestionError:
    """What an item that was given up says of the last failure."""
    if isinstance(error, IngestionError):
        return error
    if (fault := passing_fault(error)) is not None:
        return InternalIntermittentError(
            f"The catalog could not take the item: {fault}. Post it again after some minutes."
        )
    return InternalError(
        f"The catalog failed on this item ({type(error).__name__}); its log tells more under this operation's id."
    )
