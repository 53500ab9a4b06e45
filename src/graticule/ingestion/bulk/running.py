"""The items of a run: chunk by chunk, each item as a posted one is, or only looked at in a dry run."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from graticule import crashpoints
from graticule.catalog import OnConflict, PreparedItem, prepare_item
from graticule.database import Connection
from graticule.errors import (
    IngestionError,
    InternalError,
    InternalIntermittentError,
    ItemAlreadyExists,
)
from graticule.ingestion.bulk import store
from graticule.ingestion.bulk.documents import Documents, Loaded
from graticule.ingestion.bulk.dry_runs import measured, note_plan
from graticule.ingestion.bulk.jobs import AWAKENING, CHUNK, cancel_some, defer_awakening, defer_chunk, hand_out
from graticule.ingestion.bulk.models import Run
from graticule.ingestion.bulk.retries import retry_delay
from graticule.ingestion.bulk.store import Chunk
from graticule.ingestion.bulk.walking import SLICE, TURN_SECONDS, Walking
from graticule.ingestion.burying import defer_sweep
from graticule.ingestion.copying import ItemWork, staging_folder
from graticule.ingestion.publishing import item_document
from graticule.ingestion.remarks import Remark, shown
from graticule.ingestion.workflows import Workflows, last_word
from graticule.sources import Fetcher
from graticule.stac.datetimes import now_us
from graticule.stac.documents import Item
from graticule.storage import ledger
from graticule.workflows import Attempt, item_entries, journal

#: Numbers of items that a chunk asks for at once.
_GLANCE: Final = 20

_ITEM_DONE = crashpoints.crash_point("bulk.item.after")
_CHUNK_DONE = crashpoints.crash_point("bulk.chunk.done")


@dataclass(frozen=True)
class BulkWork(Workflows):
    """The tasks of runs, and the parts they need beside those of single items."""

    fetcher: Fetcher
    documents: Documents

    def register(self) -> None:
        """Tell the engine which function runs which task."""
        self.engine.task(CHUNK, on_give_up=self.give_up_chunk)(self.ingest_chunk)
        self.engine.task(AWAKENING)(self.awaken_chunk)
        Walking(
            settings=self.settings,
            database=self.database,
            engine=self.engine,
            sealer=self.sealer,
            fetcher=self.fetcher,
        ).register()

    # --- a chunk

    async def ingest_chunk(self, attempt: Attempt, operation: int, first: int, turn: int) -> None:
        """Work on the items of a chunk for a while."""
        until = time.monotonic() + TURN_SECONDS
        await asyncio.to_thread((self.settings.staging_dir / "items").mkdir, parents=True, exist_ok=True)
        while True:
            run, chunk, waiting = await self.database.read(partial(self._look, pk=operation, first=first))
            if run is None or chunk is None or chunk.turn != turn:
                return
            if run.operation.status in {"Canceling", "Canceled"}:
                if not await self.database.write(partial(self._cancel, attempt=attempt, pk=operation)):
                    continue
                waiting = []
            if not waiting:
                crashpoints.reach(_CHUNK_DONE)
                await self.database.write(partial(self._finish, attempt=attempt, pk=operation, chunk=chunk))
                return
            if not await self._some(attempt, run, waiting, until):
                await self.database.write(partial(self._turn, attempt=attempt, pk=operation, chunk=chunk))
                return

    async def _some(self, attempt: Attempt, run: Run, waiting: Sequence[int], until: float) -> bool:
        """Work on items one after the other, while documents of the next ones are fetched; False: time is over."""
        loading: dict[int, asyncio.Task[Loaded]] = {}
        try:
            for number, seq in enumerate(waiting):
                # Not more ahead: what was fetched when the time is over was fetched for nothing.
                for near in waiting[number : number + 1 + self.settings.fetch_concurrency]:
                    if near not in loading:
                        loading[near] = asyncio.create_task(self.documents.load(run, near))
                await self._one(attempt, run, seq, loading[seq])
                crashpoints.reach(_ITEM_DONE)
                if time.monotonic() > until:
                    return False
            return True
        finally:
            for task in loading.values():
                task.cancel()
            await asyncio.gather(*loading.values(), return_exceptions=True)

    @staticmethod
    def _look(tx: Connection, *, pk: int, first: int) -> tuple[Run | None, Chunk | None, list[int]]:
        chunk = store.chunk(tx, pk, first)
        waiting = [] if chunk is None else store.open_items(tx, pk, chunk, _GLANCE, due=now_us())
        return store.run(tx, pk), chunk, waiting

    def _cancel(self, tx: Connection, *, attempt: Attempt, pk: int) -> bool:
        attempt.still_ours(tx)
        return cancel_some(tx, pk, SLICE)

    def _finish(self, tx: Connection, *, attempt: Attempt, pk: int, chunk: Chunk) -> None:
        """The lane is free for the next items; items that a dead worker left running in a cancelled run end here."""
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        if operation is not None and operation.status == "Canceling":
            for seq in store.open_items(tx, pk, chunk, chunk.last - chunk.first + 1):
                item_entries.end(tx, pk, seq, journal.canceled(operation))
        retry_at = store.next_retry(tx, pk, chunk)
        if retry_at is None:
            store.remove_chunk(tx, pk, chunk.first)
        else:
            after = timedelta(microseconds=max(0, retry_at - now_us()))
            defer_awakening(self.engine, tx, pk, store.park_chunk(tx, pk, chunk), after)
        hand_out(self.engine, tx, pk, self.settings.bulk_lanes)
        if (operation := journal.by_pk(tx, pk)) is not None:
            item_entries.end_operation_if_complete(tx, operation)

    async def awaken_chunk(self, attempt: Attempt, operation: int, first: int, turn: int) -> None:
        """Items of a parked chunk are due: it stands in its lane's queue again, with the others."""

        def awaken(tx: Connection) -> None:
            attempt.still_ours(tx)
            chunk = store.chunk(tx, operation, first)
            if chunk is not None and chunk.turn == turn:
                defer_chunk(self.engine, tx, operation, store.turn_chunk(tx, operation, chunk))

        await self.database.write(awaken)

    def _turn(self, tx: Connection, *, attempt: Attempt, pk: int, chunk: Chunk) -> None:
        """Stand in the queue again, behind what clients wait for and other runs of the lane."""
        attempt.still_ours(tx)
        defer_chunk(self.engine, tx, pk, store.turn_chunk(tx, pk, chunk))

    async def give_up_chunk(self, attempt: Attempt, ids: Mapping[str, Any], error: Exception) -> None:
        """The engine has tried often enough: the item in hand fails, the others go on."""

        def give_up(tx: Connection) -> None:
            attempt.still_ours(tx)
            pk = ids["operation"]
            chunk = store.chunk(tx, pk, ids["first"])
            if chunk is None or chunk.turn != ids["turn"]:
                return
            waiting = store.open_items(tx, pk, chunk, SLICE)
            entries = [entry for seq in waiting if (entry := item_entries.get(tx, pk, seq)) is not None]
            in_hand = [entry.seq for entry in entries if entry.state == "running"] or waiting[:1]
            for seq in in_hand:
                self._fail(tx, attempt=attempt, pk=pk, seq=seq, error=last_word(error))
            self._turn(tx, attempt=attempt, pk=pk, chunk=chunk)

        await self.database.write(give_up)

    # --- an item

    async def _one(self, attempt: Attempt, run: Run, seq: int, loading: asyncio.Task[Loaded]) -> None:
        try:
            loaded = await loading
            if loaded.error is not None:
                await self.database.write(partial(self._touch, attempt=attempt, run=run, seq=seq, loaded=loaded))
                raise loaded.error
            if loaded.item is None:  # cancelled meanwhile, or a row that lost its document
                raise InternalError(f"The document of item {seq} of the run is missing.")
            await self._steps(attempt, run, seq, loaded.item, loaded.remarks)
        except InternalIntermittentError:
            raise  # as of a posted item: the engine tries the chunk again
        except IngestionError as exc:
            if (
                run.dry
                or not exc.retriable
                or not await self.database.write(
                    partial(self._postpone, attempt=attempt, pk=run.pk, seq=seq, error=exc)
                )
            ):
                await self.database.write(partial(self._fail, attempt=attempt, pk=run.pk, seq=seq, error=exc))

    async def _steps(self, attempt: Attempt, run: Run, seq: int, item: Item, remarks: Sequence[Remark]) -> None:
        if run.dry:
            if await self.database.write(partial(self._take_up, attempt=attempt, run=run, seq=seq, item=item)):
                await self._plan(attempt, run, seq, item, remarks)
            return
        if not item.get("assets"):
            document = prepare_item(item_document(item, run.operation.collection_id or "", {}))
            await self.database.write(
                partial(
                    self._straight, attempt=attempt, run=run, seq=seq, item=item, document=document, remarks=remarks
                )
            )
            return
        work = await self.database.write(partial(self._take_up, attempt=attempt, run=run, seq=seq, item=item))
        if work is None:
            return
        async with staging_folder(work.folder):
            hrefs = await self._unless_canceled(work, self.copier.copy_assets(work))
        ready, more = self._described(work, hrefs)
        await self.database.write(
            partial(self._publish_bulk, run=run, work=work, document=ready, remarks=[*remarks, *more])
        )

    def _touch(self, tx: Connection, *, attempt: Attempt, run: Run, seq: int, loaded: Loaded) -> None:
        """Count an attempt at an item that cannot be read, and name it if it has a name."""
        attempt.still_ours(tx)
        item_entries.start(tx, run.pk, seq)
        if loaded.item_id is not None:
            store.name_item(tx, run.pk, seq, loaded.item_id)

    def _take_up(self, tx: Connection, *, attempt: Attempt, run: Run, seq: int, item: Item) -> ItemWork | None:
        """Take an item in hand; None: there is nothing left to do."""
        taken = self._take(tx, attempt, run.pk, seq, item)
        if taken is None:
            return None
        work = dataclasses.replace(self._work(attempt, *taken, seq, item), keep_originals=run.keep_originals)
        repeated = store.is_repeated(tx, run.pk, seq, work.item_id)
        store.name_item(tx, run.pk, seq, work.item_id)
        if not repeated and self.catalog.item_in(tx, work.collection_id, work.item_id) is None:
            return work
        self._is_there(tx, run, work, repeated=repeated)
        return None

    @staticmethod
    def _is_there(tx: Connection, run: Run, work: ItemWork, *, repeated: bool = False) -> None:
        """The end of an item whose id is taken."""
        if run.skip_existing:
            item_entries.end(tx, run.pk, work.seq, skipped=True)
            return
        why = "another item of this run has the same id" if repeated else "set skipExistingItems to pass over it"
        error = ItemAlreadyExists(f"Item '{work.item_id}' already exists in collection '{work.collection_id}': {why}.")
        item_entries.end(tx, run.pk, work.seq, error, keep_failed=True)

    def _straight(
        self,
        tx: Connection,
        *,
        attempt: Attempt,
        run: Run,
        seq: int,
        item: Item,
        document: PreparedItem,
        remarks: Sequence[Remark],
    ) -> None:
        """Publish an item that needs nothing fetched, in one go."""
        work = self._take_up(tx, attempt=attempt, run=run, seq=seq, item=item)
        if work is not None:
            self.catalog.put_items(tx, work.collection_id, [document], on_conflict=OnConflict.ERROR)
            item_entries.end(tx, run.pk, seq, warnings=shown(remarks))

    def _publish_bulk(
        self, tx: Connection, *, run: Run, work: ItemWork, document: PreparedItem, remarks: Sequence[Remark]
    ) -> None:
        """The one moment in which readers come to see the item, unless its id was taken meanwhile."""
        if not self._may_publish(tx, work):
            return
        if self.catalog.item_in(tx, work.collection_id, work.item_id) is not None:
            ledger.bury_operation(tx, work.operation.id, work.item_id)
            defer_sweep(self.engine, tx)
            self._is_there(tx, run, work)
            return
        self.catalog.put_items(tx, work.collection_id, [document], on_conflict=OnConflict.ERROR)
        ledger.publish(tx, work.operation.id, work.item_id)
        item_entries.end(tx, work.operation.pk, work.seq, warnings=shown(remarks))

    def _postpone(self, tx: Connection, *, attempt: Attempt, pk: int, seq: int, error: IngestionError) -> bool:
        """Put an item back whose source may work later; False: it was tried often or long enough."""
        attempt.still_ours(tx)
        operation, entry = journal.by_pk(tx, pk), item_entries.get(tx, pk, seq)
        if operation is None or operation.status not in {"Pending", "Running"} or entry is None or not entry.is_open:
            return False
        now = now_us()
        delay = retry_delay(entry.attempts, self.settings.bulk_retry_seconds, getattr(error, "retry_after", None))
        if delay is None or now + delay - (entry.started or now) > self.settings.bulk_retry_seconds * 1_000_000:
            return False
        item_entries.postpone(tx, pk, seq, now + delay)
        return True

    def _fail(self, tx: Connection, *, attempt: Attempt, pk: int, seq: int, error: IngestionError) -> None:
        """End the item with its error; its document is kept, so that another run can try it again."""
        attempt.still_ours(tx)
        operation = journal.by_pk(tx, pk)
        entry = item_entries.get(tx, pk, seq)
        if operation is None or entry is None or not entry.is_open:
            return
        item_entries.end(tx, pk, seq, error, keep_failed=True)
        if entry.item_id is not None and ledger.bury_operation(tx, operation.id, entry.item_id):
            defer_sweep(self.engine, tx)

    async def _plan(self, attempt: Attempt, run: Run, seq: int, item: Item, remarks: Sequence[Remark]) -> None:
        """In a dry run: ask how large every asset is; the item ends as it would, as far as that can be told."""
        found = await measured(item, self.fetcher, self.settings)

        def note(tx: Connection) -> None:
            attempt.still_ours(tx)
            note_plan(tx, run, seq, item, found)
            refused = next((asset.error for asset in found if asset.error is not None), None)
            item_entries.end(tx, run.pk, seq, refused, keep_failed=True, warnings=shown(remarks))

        await self.database.write(note)
