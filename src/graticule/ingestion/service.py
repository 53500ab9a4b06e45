"""What clients may ask of the catalog's contents: every change is recorded as an operation before it is answered.

Work that needs no source (collections, deletions, items without assets) is done within the request, in the transaction
that records its operation. Everything else is handed to the job engine in that same transaction, so that an answer of
202 is a promise that survives a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import orjson

from graticule.catalog import Catalog, CollectionRecord, OnConflict, check_searchable
from graticule.database import Connection, Database
from graticule.errors import (
    Conflict,
    GraticuleError,
    InvalidInputData,
    InvalidRequestBody,
    ItemAlreadyExists,
    NoRecordsToDelete,
    NotFound,
    PostItemCollectionSizeExceeded,
    TooManyRequests,
)
from graticule.ingestion.burying import bury_unnamed, defer_sweep
from graticule.ingestion.publishing import item_document
from graticule.ingestion.validation import check_collection, check_contents, check_shape
from graticule.sealing import Sealer
from graticule.settings import Settings
from graticule.stac.datetimes import now_us, rfc3339
from graticule.stac.documents import Collection, Item
from graticule.stac.links import stored_form
from graticule.storage import ManagedHrefs, ledger
from graticule.workflows import Engine, journal
from graticule.workflows.journal import Operation

T = TypeVar("T")

#: The tasks that are handed over here and run in a worker (`ingestion.workflows`).
TASKS = ("ingest_item", "delete_collection", "sweep")
#: The purpose that submitted documents are sealed for.
SUBMISSION = "submission"
#: Items that one write transaction takes, so that others get their turn.
SLICE = 200


@dataclass(frozen=True)
class _Sent:
    """A feature of a request: its place in the body, and either an item or what is wrong with it."""

    seq: int
    item_id: str | None
    item: Item | None
    error: GraticuleError | None


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
    ) -> None:
        """Take the parts this room works with."""
        self._settings = settings
        self._database = database
        self._catalog = catalog
        self._engine = engine
        self._sealer = sealer
        self._hrefs = hrefs

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
        """Replace a collection's document; its items, assets and configuration stay.

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
            form = self._collection_form(collection, bases, existing)
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
            for status in ("Pending", "Running"):
                for running in journal.listing(tx, top=-1, skip=0, collection_id=collection_id, status=status):
                    self._cancel(tx, running)
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
        await self._catalog.collection(collection_id)
        sent = self._features(document, collection_id)
        for entry in sent:
            if entry.item is not None:
                self._fold(entry.item, bases)
        waiting = await self._database.read(journal.unfinished_items)
        if waiting + len(sent) > self._settings.max_pending_items:
            raise TooManyRequests(
                f"{waiting} items wait already (GRATICULE_MAX_PENDING_ITEMS): try again when some are done."
            )
        if len(sent) == 1:
            return await self._database.write(partial(self._accept_one, collection_id=collection_id, entry=sent[0]))
        return await self._accept_many(collection_id, sent)

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
        await self._database.write(lambda tx: self._cancel(tx, journal.get(tx, operation_id)))

    async def cancel_all(self) -> None:
        """Cancel every pending and running operation of the catalog."""

        def cancel(tx: Connection) -> None:
            for status in ("Pending", "Running"):
                for operation in journal.listing(tx, top=-1, skip=0, status=status):
                    self._cancel(tx, operation)

        await self._database.write(cancel)

    # --- inside

    def _cancel(self, tx: Connection, operation: Operation) -> None:
        # Deletions are not stopped: half a collection would be worse than either none or all of it.
        if operation.total is not None:
            journal.cancel(tx, operation)

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
        self._fold(document, bases)
        # As it was first told, not as the row has it: the row is written some microseconds later.
        document["msft:_created"] = orjson.loads(existing.doc)["msft:_created"] if existing else now
        document["msft:_updated"] = now
        return orjson.dumps(stored_form(document))

    def _fold(self, document: Mapping[str, Any], bases: Sequence[str]) -> None:
        """Managed hrefs under any base URL of this catalog become their stored form."""
        for asset in (document.get("assets") or {}).values():
            asset["href"] = self._hrefs.fold(asset["href"], bases)

    def _features(self, document: Any, collection_id: str) -> list[_Sent]:
        kind = document.get("type") if isinstance(document, dict) else None
        if kind == "Feature":
            item = check_shape(document, collection_id)
            return [_Sent(0, item["id"], item, None)]
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
        return [self._feature(seq, feature, collection_id, seen) for seq, feature in enumerate(features)]

    @staticmethod
    def _feature(seq: int, feature: Any, collection_id: str, seen: set[str]) -> _Sent:
        identity = feature.get("id") if isinstance(feature, dict) else None
        item_id = identity if isinstance(identity, str) else None
        try:
            item = check_shape(feature, collection_id)
        except InvalidInputData as exc:
            named = InvalidInputData(f"Feature {seq} of the body: {exc.message}", target=exc.target)
            return _Sent(seq, item_id, None, named)
        if item["id"] in seen:
            error = ItemAlreadyExists(
                f"Item '{item_id}' already exists in collection '{collection_id}':"
                f" feature {seq} repeats an id of the same body."
            )
            return _Sent(seq, item_id, None, error)
        seen.add(item["id"])
        return _Sent(seq, item_id, item, None)

    def _accept_one(self, tx: Connection, *, collection_id: str, entry: _Sent) -> Operation:
        """Operation, item and job (or the published item itself) in one transaction."""
        operation = journal.create(tx, "AddItem", collection_id, total=1)
        self._write_down(tx, operation, [entry])
        if self._settle(tx, operation, collection_id, entry):
            return journal.get(tx, operation.id)
        self._engine.defer(tx, "ingest_item", [{"operation": operation.pk, "seq": entry.seq}], priority=10)
        return journal.get(tx, operation.id)

    async def _accept_many(self, collection_id: str, sent: list[_Sent]) -> Operation:
        """As `_accept_one`, in slices; the operation counts as promised with the last of them."""
        operation = await self._database.write(
            lambda tx: journal.create(tx, "AddItem", collection_id, total=len(sent), accepted=False)
        )

        def take(tx: Connection, part: list[_Sent]) -> list[int]:
            self._write_down(tx, operation, part)
            return [entry.seq for entry in part if not self._settle(tx, operation, collection_id, entry)]

        waiting: list[int] = []
        for start in range(0, len(sent), SLICE):
            waiting += await self._database.write(partial(take, part=sent[start : start + SLICE]))

        def accept(tx: Connection) -> Operation:
            journal.accept(tx, operation.pk)
            self._engine.defer(tx, "ingest_item", [{"operation": operation.pk, "seq": seq} for seq in waiting])
            return journal.get(tx, operation.id)

        return await self._database.write(accept)

    def _write_down(self, tx: Connection, operation: Operation, entries: list[_Sent]) -> None:
        def sealed(entry: _Sent) -> bytes | None:
            if entry.item is None or not entry.item.get("assets"):
                return None
            return self._sealer.seal(orjson.dumps(entry.item), SUBMISSION)

        journal.add_items(tx, operation.pk, ((entry.seq, entry.item_id, sealed(entry)) for entry in entries))

    def _settle(self, tx: Connection, operation: Operation, collection_id: str, entry: _Sent) -> bool:
        """End an item that needs no worker: it is wrong, or has nothing to fetch."""
        error = entry.error
        if entry.item is not None:
            if entry.item.get("assets"):
                return False
            error = _outcome(lambda: self._publish(tx, collection_id, entry.item or {}))
        journal.end_item(tx, operation.pk, entry.seq, error)
        return True

    def _publish(self, tx: Connection, collection_id: str, item: Item) -> None:
        check_contents(item, self._settings)
        check_searchable(item)
        document = item_document(item, collection_id, {})
        with tx.savepoint():
            self._catalog.put_items(tx, collection_id, [document], on_conflict=OnConflict.ERROR)


def _taken(existing: CollectionRecord) -> str:
    if existing.deleting:
        return f"Collection '{existing.id}' is still being deleted: try again in a moment."
    return f"Collection '{existing.id}' exists already: replace it with PUT, or choose another id."


def _outcome(work: Callable[[], None]) -> GraticuleError | None:
    try:
        work()
    except GraticuleError as exc:
        return exc
    return None
