"""What clients may ask of the catalog's contents: every change is recorded as an operation before it is answered.

Work that needs no source (collections, deletions, items without assets) is done within the request, in the transaction
that records its operation. Everything else is handed to the job engine in that same transaction, so that an answer of
202 is a promise that survives a crash.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson

from graticule.catalog import (
    Catalog,
    CollectionRecord,
    OnConflict,
    PreparedItem,
    check_searchable,
    prepare_item,
    undescribed,
)
from graticule.database import Connection, Database
from graticule.errors import (
    Conflict,
    GraticuleError,
    IngestionError,
    InvalidInputData,
    InvalidRequestBody,
    ItemAlreadyExists,
    NoRecordsToDelete,
    NotFound,
    PostItemCollectionSizeExceeded,
    StateError,
    TooManyRequests,
    ValidityError,
)
from graticule.ingestion.burying import bury_unnamed, defer_sweep
from graticule.ingestion.publishing import item_document
from graticule.ingestion.refreshing import REFRESH
from graticule.ingestion.remarks import Remark, shown
from graticule.ingestion.updating import Change, Updater
from graticule.ingestion.validation import MAX_ITEM_ID, check_collection, check_contents, check_shape
from graticule.sealing import Sealer
from graticule.settings import Settings
from graticule.stac.datetimes import now_us, rfc3339
from graticule.stac.documents import Collection, Item
from graticule.stac.links import stored_form
from graticule.storage import ManagedHrefs, ledger
from graticule.workflows import Engine, cancelling, item_entries, journal
from graticule.workflows.journal import Operation

#: The tasks that are handed over here and run in a worker (`ingestion.workflows`).
TASKS = ("ingest_item", "update_item", "delete_collection", "sweep", REFRESH)
#: The purpose that submitted documents are sealed for.
SUBMISSION = "submission"
#: Items and bytes that one write transaction takes, so that others get their turn.
SLICE = 100
SLICE_BYTES = 2_000_000
#: Between two counts of the items that wait, seconds.
COUNT_SECONDS = 1.0


class _Sent(NamedTuple):
    """A feature of a request: its place in the body, and one of three: it is wrong, ready, or waits for a worker."""

    seq: int
    item_id: str | None
    error: GraticuleError | None = None
    ready: PreparedItem | None = None
    sealed: bytes | None = None
    remarks: Sequence[Remark] = ()  #: of one that is ready; a worker finds those of others itself

    @property
    def size(self) -> int:
        """Of its document, bytes."""
        return len(self.sealed or b"") + (0 if self.ready is None else len(self.ready.doc))


class Ingestion:
    """Submits, lists and cancels work on the catalog."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        catalog: Catalog,
        engine: Engine,
        sealer: Sealer,
        hrefs: ManagedHrefs,
        updater: Updater,
    ) -> None:
        """Take the parts this room works with."""
        self._updater = updater
        self._settings = settings
        self._database = database
        self._catalog = catalog
        self._engine = engine
        self._sealer = sealer
        self._hrefs = hrefs
        self._waiting = 0
        self._counted_at = -COUNT_SECONDS

    # --- collections

    async def create_collection(self, document: Any, bases: Sequence[str]) -> Operation:
        """Create a collection within the request; its operation has ended when this returns.

        Raises:
            InvalidInputData: the document is no Collection.
            Conflict: the id exists, or its deletion is still running.
        """
        collection = check_collection(document)
        collection_id = collection["id"]

        def create(tx: Connection) -> Operation:
            form = self._collection_form(collection, bases, None)
            if (existing := self._catalog.collection_in(tx, collection_id)) is not None:
                raise Conflict(_taken(existing), target="id")
            self._catalog.add_collection(tx, collection_id, form, ledger.open_container(tx, collection_id))
            operation = journal.create(tx, "AddCollection", collection_id)
            journal.succeed(tx, operation)
            return journal.get(tx, operation.id)

        return await self._database.write(create)

    async def replace_collection(self, collection_id: str, document: Any, bases: Sequence[str]) -> CollectionRecord:
        """Replace a collection's document; its items and configuration stay, and its assets unless it brings some.

        Raises:
            InvalidInputData: the document is no Collection, or names another id.
            NotFound: there is no such collection.
        """
        collection = check_collection(document)
        if collection["id"] != collection_id:
            raise InvalidInputData(
                f"The Collection's id is '{collection['id']}' but the URL names '{collection_id}'.", target="id"
            )

        def replace(tx: Connection) -> CollectionRecord:
            existing = self._existing_collection(tx, collection_id)
            form = self._collection_form(undescribed(collection, existing), bases, existing)
            self._catalog.replace_collection(tx, collection_id, form)
            record = self._existing_collection(tx, collection_id)
            if bury_unnamed(tx, self._hrefs, record):
                defer_sweep(self._engine, tx)
            return record

        return await self._database.write(replace)

    async def delete_collection(self, collection_id: str) -> Operation:
        """Hide a collection at once; a worker removes its items, assets and configuration.

        Raises:
            NotFound: there is no such collection.
        """

        def delete(tx: Connection) -> Operation:
            self._existing_collection(tx, collection_id)
            self._catalog.mark_deleting(tx, collection_id)
            # Should there be more, the worker goes on with them.
            cancelling.cancel_some(tx, collection_id=collection_id)
            operation = journal.create(tx, "DeleteCollection", collection_id)
            self._engine.defer(tx, "delete_collection", [{"operation": operation.pk}], priority=5)
            return operation

        return await self._database.write(delete)

    # --- items

    async def submit_items(self, collection_id: str, document: Any, bases: Sequence[str]) -> Operation:
        """Take an Item or an ItemCollection for ingestion.

        A feature of an ItemCollection that is no Item of this collection, or repeats an id, fails in the operation;
        the others go on.

        Raises:
            NotFound: there is no such collection.
            InvalidRequestBody: neither Feature nor FeatureCollection, or an empty one.
            InvalidInputData: a single Item of wrong shape.
            PostItemCollectionSizeExceeded: too many items.
            TooManyRequests: too many items wait already.
        """
        sent = await asyncio.to_thread(self._read, document, collection_id, bases)
        await self._check_room(sum(entry.sealed is not None for entry in sent))
        if len(sent) == 1:
            return await self._database.write(partial(self._accept_one, collection_id=collection_id, entry=sent[0]))
        return await self._accept_many(collection_id, sent)

    async def replace_item(self, collection_id: str, item_id: str, document: Any, bases: Sequence[str]) -> Operation:
        """Replace an item; assets whose hrefs name files of the item's own are left in place.

        Raises:
            NotFound: there is no such collection.
            InvalidInputData: the document is no Item, or of another id or collection.
            TooManyRequests: it has something to fetch, and too many items wait already.
        """
        return await self._change(Change.replacement(collection_id, item_id, document), bases)

    async def patch_item(self, collection_id: str, item_id: str, document: Any, bases: Sequence[str]) -> Operation:
        """Merge a patch (RFC 7396) into an item; only hrefs that it brings are fetched.

        Raises:
            NotFound: there is no such collection.
            PatchValidation: the document is no merge patch, or would change what identifies the item.
            TooManyRequests: it has something to fetch, and too many items wait already.
        """
        return await self._change(Change.patch(collection_id, item_id, document), bases)

    async def _change(self, change: Change, bases: Sequence[str]) -> Operation:
        """Publish a change that needs nothing fetched within the request; any other waits sealed for a worker."""
        brought = [asset for asset in change.assets.values() if "href" in asset]
        for asset in brought:
            asset["href"] = self._hrefs.fold(asset["href"], bases)
        if not all(self._hrefs.is_managed(asset["href"], ()) for asset in brought):
            await self._check_room(1)

        def accept(tx: Connection) -> Operation:
            self._existing_collection(tx, change.collection_id)
            operation = journal.create(tx, "UpdateItem", change.collection_id, total=1)
            try:
                draft = self._updater.draft(tx, change)
                remarks: list[Remark] = []
                if draft.is_complete:
                    buried, remarks = self._updater.publish(tx, change, draft, operation.id, {})
                    if buried:
                        defer_sweep(self._engine, tx)
            except IngestionError as exc:  # raised before anything was written
                item_entries.add(tx, operation.pk, [(0, change.item_id, None)])
                item_entries.end(tx, operation.pk, 0, exc)
                return journal.get(tx, operation.id)
            sealed = None if draft.is_complete else self._sealer.seal(bytes(change), SUBMISSION)
            item_entries.add(tx, operation.pk, [(0, change.item_id, sealed)])
            if draft.is_complete:
                item_entries.end(tx, operation.pk, 0, warnings=shown(remarks))
            else:
                self._engine.defer(tx, "update_item", [{"operation": operation.pk, "seq": 0}], priority=10)
            return journal.get(tx, operation.id)

        return await self._database.write(accept)

    async def delete_item(self, collection_id: str, item_id: str) -> Operation:
        """Delete an item within the request: its id is free at once; its bytes go in the background.

        Raises:
            NotFound: there is no such collection.
        """

        def delete(tx: Connection) -> Operation:
            self._existing_collection(tx, collection_id)
            operation = journal.create(tx, "DeleteItem", collection_id)
            if self._catalog.remove_item(tx, collection_id, item_id) is None:
                error = NoRecordsToDelete(f"Item '{item_id}' does not exist in collection '{collection_id}'.")
                journal.fail(tx, operation, error)
            else:
                ledger.bury_item(tx, collection_id, item_id)
                defer_sweep(self._engine, tx)
                journal.succeed(tx, operation)
            return journal.get(tx, operation.id)

        return await self._database.write(delete)

    async def sweep_soon(self) -> None:
        """Have a worker remove the bytes of everything that was buried."""
        await self._database.write(partial(defer_sweep, self._engine))

    # --- operations

    async def operation(self, operation_id: str) -> Operation:
        """One operation.

        Raises:
            NotFound: there is none of this id.
        """
        return await self._database.read(partial(journal.get, operation_id=operation_id))

    async def operations(
        self, *, top: int, skip: int, collection_id: str | None, status: str | None
    ) -> list[Operation]:
        """Operations, newest first."""
        return await self._database.read(
            partial(journal.listing, top=top, skip=skip, collection_id=collection_id, status=status)
        )

    async def cancel(self, operation_id: str) -> None:
        """Cancel an operation; one that has ended, or cannot be stopped half-way, stays as it is.

        Raises:
            NotFound: there is none of this id.
        """

        def cancel(tx: Connection) -> None:
            operation = journal.get(tx, operation_id)
            # Deletions are not stopped: half a collection would be worse than either none or all of it.
            if operation.total is not None:
                cancelling.cancel(tx, operation)

        await self._database.write(cancel)

    async def cancel_all(self, collection_id: str | None = None) -> None:
        """Cancel every pending and running operation, of one collection or of the catalog, but deletions."""
        below: int | None = None
        while True:
            some = partial(cancelling.cancel_some, collection_id=collection_id, below=below)
            below = await self._database.write(some)
            if below is None:
                return

    # --- inside

    def _existing_collection(self, tx: Connection, collection_id: str) -> CollectionRecord:
        record = self._catalog.collection_in(tx, collection_id)
        if record is None or record.deleting:
            raise NotFound(f"Collection '{collection_id}' does not exist.", target="collectionId")
        return record

    def _collection_form(
        self, collection: Collection, bases: Sequence[str], existing: CollectionRecord | None
    ) -> bytes:
        now = rfc3339(now_us())
        document: dict[str, Any] = {**collection}
        if existing is not None and "assets" not in document and (kept := orjson.loads(existing.doc).get("assets")):
            document["assets"] = kept  # they have a route of their own; an empty object takes them away
        self._fold(document, bases)
        # As it was first told, not as the row has it: the row is written some microseconds later.
        document["msft:_created"] = orjson.loads(existing.doc)["msft:_created"] if existing else now
        document["msft:_updated"] = now
        return orjson.dumps(stored_form(document))

    def _fold(self, document: Mapping[str, Any], bases: Sequence[str]) -> None:
        """Managed hrefs under any base URL of this catalog become their stored form."""
        for asset in (document.get("assets") or {}).values():
            asset["href"] = self._hrefs.fold(asset["href"], bases)

    def _read(self, document: Any, collection_id: str, bases: Sequence[str]) -> list[_Sent]:
        """What a body holds, with all the work done that needs no database; runs beside the event loop."""
        kind = document.get("type") if isinstance(document, dict) else None
        if kind == "Feature":
            return [self._prepare(0, check_shape(document, collection_id), collection_id, bases)]
        if kind != "FeatureCollection" or not isinstance(document.get("features"), list):
            raise InvalidRequestBody(
                "The body must be a STAC Item (type 'Feature') or an ItemCollection (type 'FeatureCollection' with"
                " 'features').",
                target="type",
            )
        features = document["features"]
        if not features:
            raise InvalidRequestBody("The FeatureCollection has no features.", target="features")
        if len(features) > self._settings.max_items_per_post:
            raise PostItemCollectionSizeExceeded(
                f"The body has {len(features)} items; at most {self._settings.max_items_per_post} are taken at once"
                " (GRATICULE_MAX_ITEMS_PER_POST): send fewer, or use bulk ingestion.",
                target="features",
            )
        seen: set[str] = set()
        return [self._feature(seq, feature, collection_id, bases, seen) for seq, feature in enumerate(features)]

    def _feature(self, seq: int, feature: Any, collection_id: str, bases: Sequence[str], seen: set[str]) -> _Sent:
        try:
            item = check_shape(feature, collection_id)
        except InvalidInputData as exc:
            identity = feature.get("id") if isinstance(feature, dict) else None
            item_id = identity[:MAX_ITEM_ID] if isinstance(identity, str) else None
            named = InvalidInputData(f"Feature {seq} of the body: {exc.message}", target=exc.target)
            return _Sent(seq, item_id, error=named)
        if item["id"] in seen:
            error = ItemAlreadyExists(
                f"Item '{item['id']}' already exists in collection '{collection_id}':"
                f" feature {seq} repeats an id of the same body."
            )
            return _Sent(seq, item["id"], error=error)
        seen.add(item["id"])
        return self._prepare(seq, item, collection_id, bases)

    def _prepare(self, seq: int, item: Item, collection_id: str, bases: Sequence[str]) -> _Sent:
        """An item that is wrong, or has nothing to fetch, needs no worker; any other waits sealed for one."""
        self._fold(item, bases)
        try:
            has_assets = bool(item.get("assets"))
            remarks = check_contents(item, self._settings, remarks=not has_assets)
            if not has_assets:
                ready = prepare_item(item_document(item, collection_id, {}))
                return _Sent(seq, item["id"], ready=ready, remarks=remarks)
            check_searchable(item)
        except ValidityError as exc:
            return _Sent(seq, item["id"], error=exc)
        return _Sent(seq, item["id"], sealed=self._sealer.seal(orjson.dumps(item), SUBMISSION))

    def _accept_one(self, tx: Connection, *, collection_id: str, entry: _Sent) -> Operation:
        """Operation, item and job (or the published item itself) in one transaction."""
        self._existing_collection(tx, collection_id)
        operation = journal.create(tx, "AddItem", collection_id, total=1)
        waiting = self._take(tx, operation, collection_id, [entry])
        self._hand_over(tx, operation, waiting, priority=10)
        return journal.get(tx, operation.id)

    async def _accept_many(self, collection_id: str, sent: list[_Sent]) -> Operation:
        """As `_accept_one`, in slices; the operation counts as promised with the last of them."""
        parts = list(_slices(sent))

        def create(tx: Connection) -> Operation:
            self._existing_collection(tx, collection_id)
            return journal.create(tx, "AddItem", collection_id, total=len(sent), accepted=False)

        def accept(tx: Connection, operation: Operation, waiting: Sequence[int]) -> Operation:
            journal.accept(tx, operation.pk)
            self._hand_over(tx, operation, waiting, priority=0)
            return journal.get(tx, operation.id)

        def at_once(tx: Connection) -> Operation:
            operation = create(tx)
            return accept(tx, operation, self._take(tx, operation, collection_id, sent))

        if len(parts) == 1:  # mostly: each commit waits for the disk
            return await self._database.write(at_once)
        operation = await self._database.write(create)
        waiting: list[int] = []
        for part in parts:
            waiting += await self._database.write(
                partial(self._take, operation=operation, collection_id=collection_id, part=part)
            )
        return await self._database.write(partial(accept, operation=operation, waiting=waiting))

    def _take(self, tx: Connection, operation: Operation, collection_id: str, part: Sequence[_Sent]) -> list[int]:
        """Write items down and end those that need no worker; answers the numbers of the others."""
        refused = self._publish(tx, collection_id, [entry for entry in part if entry.ready is not None])
        done = [entry for entry in part if entry.ready is not None and entry.seq not in refused]
        left = [entry for entry in part if entry.ready is None or entry.seq in refused]
        item_entries.add(tx, operation.pk, ((entry.seq, entry.item_id, entry.sealed) for entry in left))
        succeeded = [(entry.seq, entry.item_id, shown(entry.remarks)) for entry in done]
        item_entries.add_succeeded(tx, operation.pk, succeeded)
        for entry in left:
            if entry.sealed is None:
                error = entry.error or refused.get(entry.seq)
                item_entries.end(tx, operation.pk, entry.seq, error, warnings=shown(entry.remarks))
        return [entry.seq for entry in left if entry.sealed is not None]

    def _publish(self, tx: Connection, collection_id: str, entries: Sequence[_Sent]) -> dict[int, GraticuleError]:
        """Publish what is ready; answers what was refused, by number."""
        try:
            self._put(tx, collection_id, entries)  # it raises before it writes anything
        except StateError as exc:
            if len(entries) == 1:
                return {entries[0].seq: exc}
            return {seq: error for entry in entries for seq, error in self._publish(tx, collection_id, [entry]).items()}
        return {}

    def _put(self, tx: Connection, collection_id: str, entries: Sequence[_Sent]) -> None:
        ready = [entry.ready for entry in entries if entry.ready is not None]
        if ready:
            self._catalog.put_items(tx, collection_id, ready, on_conflict=OnConflict.ERROR)

    def _hand_over(self, tx: Connection, operation: Operation, waiting: Sequence[int], *, priority: int) -> None:
        jobs = [{"operation": operation.pk, "seq": seq} for seq in waiting]
        self._engine.defer(tx, "ingest_item", jobs, priority=priority)

    async def _check_room(self, wanted: int) -> None:
        """Refuse a post when too many items wait. Counting takes a while when many do, so it is done once a second."""
        now = time.monotonic()
        if now > self._counted_at + COUNT_SECONDS:
            self._counted_at = now
            self._waiting = await self._database.read(journal.unfinished_items)
        if self._waiting + wanted > self._settings.max_pending_items:
            raise TooManyRequests(
                f"{self._waiting} items wait already (GRATICULE_MAX_PENDING_ITEMS): try again when some are done."
            )
        self._waiting += wanted


def _slices(sent: Sequence[_Sent]) -> Iterator[list[_Sent]]:
    """Parts that one write transaction takes: few enough items, few enough bytes."""
    part: list[_Sent] = []
    size = 0
    for entry in sent:
        if part and (len(part) >= SLICE or size + entry.size > SLICE_BYTES):
            yield part
            part, size = [], 0
        part.append(entry)
        size += entry.size
    yield part


def _taken(existing: CollectionRecord) -> str:
    if existing.deleting:
        return f"Collection '{existing.id}' is still being deleted: try again in a moment."
    return f"Collection '{existing.id}' exists already: replace it with PUT, or choose another id."
