"""The catalog in SQL: `SqlCatalog`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from graticule.catalog.aggregating import Aggregation
from graticule.catalog.base import CollectionRecord, IndexProgress, ItemPage, OnConflict
from graticule.catalog.searchable import PreparedItem, PreparedItems, prepare_item
from graticule.catalog.sql import queryables, sampling
from graticule.catalog.sql.companions import COMPANIONS
from graticule.catalog.sql.dialects import dialect_of
from graticule.catalog.sql.lookups import looked_up
from graticule.catalog.sql.remembered import Remembered
from graticule.catalog.sql.wholes import declare, take_notice
from graticule.catalog.sql.writing import ItemWriter, add_new
from graticule.database import Connection, Database, ReadLimit, Row
from graticule.errors import CollectionDoesNotExist, Conflict, NotFound, ReadStopped, SearchTimedOut
from graticule.stac.aggregation import AggregationRequest
from graticule.stac.datetimes import now_us
from graticule.stac.documents import Item
from graticule.stac.search import Search

if TYPE_CHECKING:
    from graticule.catalog.picking import Wanted

#: Documents that a page of a filtered search looks into: about a second's work.
SCAN_LIMIT: Final = 10_000
#: Seconds, and bytes; see the settings ``search_timeout`` and ``max_page_bytes``.
SEARCH_TIMEOUT: Final = 10.0
PAGE_BYTES: Final = 20_000_000
#: Places that a lookup looks at: a microsecond each, or two.
_FEW_PLACES: Final = 2_000
_COUNT_SECONDS: Final = 60.0
_COLLECTION: Final = """
    SELECT c.coll, c.id, c.doc, c.container, c.created, c.updated, c.deleting,
      (SELECT f.whole FROM collection_facts f WHERE f.coll = c.coll AND f.rebuild < 2) AS whole
    FROM collections c"""
_ITEM: Final = """
    SELECT i.pk, i.cell, b.doc FROM collections c JOIN items i ON i.coll = c.coll JOIN documents b ON b.pk = i.pk
    WHERE c.id = :collection AND i.id = :id"""

_DOCUMENT: Final = """
    SELECT b.doc FROM collections c JOIN items i ON i.coll = c.coll JOIN documents b ON b.pk = i.pk
    WHERE c.id = :collection AND i.id = :id AND c.deleting = 0"""


class SqlCatalog:
    """The `Catalog` in a `Database`. Its methods are described there."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], int] = now_us,
        scan_limit: int = SCAN_LIMIT,
        strict_queryables: bool = False,
        search_timeout: float = SEARCH_TIMEOUT,
        page_bytes: int = PAGE_BYTES,
        on_stale: Callable[[Connection, str], None] = lambda _tx, _collection_id: None,
    ) -> None:
        """Over an open database; `clock` answers microseconds since 1970 UTC.

        A search whose filter needs the documents ends its page after about `scan_limit` of them; any page ends after
        `search_timeout` seconds, and before its items have more than `page_bytes`. `on_stale` is told, in the same
        transaction, of a collection whose extent or summaries should be worked out again. With `strict_queryables` a
        search that names a property which no collection declares is refused.
        """
        self._strict = strict_queryables
        self._remembered = Remembered()
        self._on_stale = on_stale
        self._database = database
        self._dialect = dialect_of(database)
        self._clock = clock
        self._scan_limit = scan_limit
        self._search_timeout = search_timeout
        self._page_bytes = page_bytes
        #: Collections at the last count, and until when that serves.
        self._count, self._count_until = 0, -1.0

    # --- reads

    async def collections(self) -> list[CollectionRecord]:
        """Every collection that is not being deleted, in the order of creation."""
        rows = await self._database.read(lambda tx: tx.all(f"{_COLLECTION} WHERE c.deleting = 0 ORDER BY c.coll"))
        return [_record(row) for row in rows]

    async def collection(self, collection_id: str) -> CollectionRecord:
        """One collection. Raises NotFound, also when it is being deleted."""
        return await self._database.look_up(lambda tx: self._visible(tx, collection_id))

    async def item(self, collection_id: str, item_id: str) -> bytes:
        """One item's document. Raises NotFound."""
        values = {"collection": collection_id, "id": item_id}
        doc: bytes | None = await self._database.look_up(lambda tx: tx.value(_DOCUMENT, values))
        if doc is None:
            await self.collection(collection_id)  # else it is the collection that does not exist
            raise NotFound(f"Item '{item_id}' does not exist in collection '{collection_id}'.", target=item_id)
        return doc

    async def item_count(self, collection_id: str) -> int:
        """How many items a collection has. Raises NotFound."""

        def read(tx: Connection) -> int:
            self._visible(tx, collection_id)
            number = self._number(tx, collection_id)
            return int(tx.value("SELECT n FROM collstat WHERE coll = :coll", {"coll": number}) or 0)

        return await self._database.read(read)

    async def tidy(self) -> None:
        """See `Catalog`."""
        await asyncio.to_thread(self._database.tidy_now, ("items", "bodies", "grid", "collstat"))

    async def search(self, search: Search) -> ItemPage:
        """A page of items; see `Catalog.search` for the errors."""
        if search.is_lookup and await self._few_places(search):
            return await self._database.look_up(lambda tx: looked_up(tx, self._dialect, search, self._page_bytes))
        # Imported here, because a worker never searches: numpy and shapely would cost it its start and 40 MB.
        from graticule.catalog.sql.searching import answer  # noqa: PLC0415

        read = partial(
            answer,
            dialect=self._dialect,
            search=search,
            scan_limit=self._scan_limit,
            page_bytes=self._page_bytes,
            strict=self._strict,
            remembered=self._remembered,
        )
        try:
            return await self._database.read(read, ReadLimit(self._search_timeout))
        except ReadStopped as exc:
            raise SearchTimedOut(
                f"The search takes longer than {self._search_timeout:g} seconds (GRATICULE_SEARCH_TIMEOUT): narrow it"
                " by collections, datetime or bbox, or filter by properties that are indexed."
            ) from exc

    async def pick(self, search: Search, wanted: Wanted) -> list[bytes]:
        """The items of a picture; see `Catalog.pick`."""
        from graticule.catalog.sql.picking import pick  # noqa: PLC0415 - as above

        read = partial(
            pick,
            dialect=self._dialect,
            search=search,
            wanted=wanted,
            scan_limit=self._scan_limit,
            page_bytes=self._page_bytes,
            strict=self._strict,
        )
        try:
            return await self._database.read(read, ReadLimit(min(self._search_timeout, wanted.seconds)))
        except ReadStopped as exc:
            raise SearchTimedOut(
                f"Finding the items takes longer than {wanted.seconds:g} seconds (time_limit): narrow the search, or"
                " filter by properties that are indexed."
            ) from exc

    async def property_types(self, collection_id: str | None = None) -> dict[str, set[str]]:
        """Properties that occur, and the JSON types of their values. Raises NotFound."""

        def read(tx: Connection) -> dict[str, set[str]]:
            if collection_id is not None:
                self._visible(tx, collection_id)
            return sampling.property_types(tx, None if collection_id is None else self._number(tx, collection_id))

        return await self._database.read(read)

    async def aggregate(self, request: AggregationRequest) -> list[Aggregation]:
        """Counts of what a search finds; see `Catalog.aggregate` for the errors."""
        from graticule.catalog.sql.aggregation import aggregate  # noqa: PLC0415 - as above

        return await self._database.read(
            partial(aggregate, dialect=self._dialect, request=request, strict=self._strict)
        )

    # --- writes: collections

    def add_collection(self, tx: Connection, collection_id: str, doc: bytes, container: str) -> None:
        """Add a collection. Raises Conflict."""
        present = self.collection_in(tx, collection_id)
        if present is not None and present.deleting:
            raise Conflict(
                f"Collection '{collection_id}' is being deleted: create it when its deletion has ended.",
                target=collection_id,
            )
        if present is not None:
            raise Conflict(f"Collection '{collection_id}' already exists.", target=collection_id)
        if tx.one("SELECT 1 FROM collections WHERE container = :container", {"container": container}):
            raise Conflict(f"Container '{container}' belongs to another collection.", target=collection_id)
        now = self._clock()
        tx.execute(
            "INSERT INTO collections(id, container, doc, created, updated) VALUES (:id, :container, :doc, :now, :now)",
            {"id": collection_id, "container": container, "doc": doc, "now": now},
        )

    def replace_collection(self, tx: Connection, collection_id: str, doc: bytes) -> None:
        """Replace the document. Raises NotFound."""
        changed = tx.execute(
            "UPDATE collections SET doc = :doc, updated = :now WHERE id = :id AND deleting = 0",
            {"id": collection_id, "doc": doc, "now": self._clock()},
        )
        if not changed:
            raise _no_collection(collection_id)
        if (coll := self._number(tx, collection_id)) is not None:
            declare(tx, coll, doc)
            self._tell(tx, coll, collection_id)

    def mark_deleting(self, tx: Connection, collection_id: str) -> bool:
        """Hide a collection and its items from readers. False: it was hidden already. Raises NotFound."""
        if self.collection_in(tx, collection_id) is None:
            raise _no_collection(collection_id)
        sql = "UPDATE collections SET deleting = 1 WHERE id = :id AND deleting = 0"
        return tx.execute(sql, {"id": collection_id}) > 0

    def forget_collection(self, tx: Connection, collection_id: str) -> None:
        """Free the id. Raises Conflict while it has items."""
        coll = self._number(tx, collection_id)
        if coll is None:
            return
        if tx.one("SELECT 1 FROM items WHERE coll = :coll LIMIT 1", {"coll": coll}):
            raise Conflict(f"Collection '{collection_id}' still has items: remove them first.", target=collection_id)
        for table in ("grid", "collstat", "word_backfills", "collections"):
            tx.execute(f"DELETE FROM {table} WHERE coll = :coll", {"coll": coll})
        for companion in COMPANIONS:
            companion.forgotten(tx, coll)

    def collection_in(self, tx: Connection, collection_id: str) -> CollectionRecord | None:
        """The record as this transaction sees it, also while the collection is being deleted."""
        row = tx.one(f"{_COLLECTION} WHERE c.id = :id", {"id": collection_id})
        return None if row is None else _record(row)

    # --- writes: queryables

    def declare_queryable(self, tx: Connection, collection_id: str, name: str, *, indexed: bool) -> bool:
        """See `Catalog.declare_queryable`; nothing happens where there is no such collection."""
        coll = self._number(tx, collection_id)
        return coll is not None and queryables.declare(tx, coll, name, indexed=indexed)

    def has_indexes(self, tx: Connection, collection_id: str) -> bool:
        """Are there indexes of declared queryables, or are some being built?"""
        coll = self._number(tx, collection_id)
        return coll is not None and bool(queryables.indexed_names(tx, coll))

    def withdraw_queryable(self, tx: Connection, collection_id: str, name: str) -> bool:
        """See `Catalog.withdraw_queryable`."""
        coll = self._number(tx, collection_id)
        return coll is not None and queryables.withdraw(tx, coll, name)

    def work_on_queryable(self, tx: Connection, collection_id: str, name: str, limit: int) -> IndexProgress:
        """See `Catalog.work_on_queryable`."""
        coll = self._number(tx, collection_id)
        if coll is None:
            return IndexProgress(0, 0, ended=True)
        return queryables.work_on(tx, self._dialect, coll, name, limit)

    # --- writes: items

    def put_items(
        self, tx: Connection, collection_id: str, items: Sequence[Item | PreparedItem], *, on_conflict: OnConflict
    ) -> None:
        """Add items, or replace those of equal ids; see `Catalog.put_items` for the errors."""
        coll = self._writable(tx, collection_id)
        prepared = [item if isinstance(item, PreparedItem) else prepare_item(item) for item in items]
        ItemWriter(tx, self._dialect, coll, collection_id).put(prepared, on_conflict)
        self._tell(tx, coll, collection_id)

    def add_new_items(self, tx: Connection, items: Mapping[str, PreparedItems]) -> None:
        """Add items of several collections whose ids are probably free; see `Catalog.add_new_items`."""
        colls = {collection_id: self._writable(tx, collection_id) for collection_id in items}
        add_new(tx, self._dialect, [(colls[collection_id], group) for collection_id, group in items.items()])
        for collection_id, coll in colls.items():
            self._tell(tx, coll, collection_id)

    def item_in(self, tx: Connection, collection_id: str, item_id: str) -> bytes | None:
        """An item's document as this transaction sees it, also while its collection is being deleted."""
        row = tx.one(_ITEM, {"collection": collection_id, "id": item_id})
        return None if row is None else row["doc"]

    def remove_item(self, tx: Connection, collection_id: str, item_id: str) -> bytes | None:
        """Remove an item; answers the document that was there."""
        row = tx.one(_ITEM, {"collection": collection_id, "id": item_id})
        coll = self._number(tx, collection_id)
        if row is None or coll is None:
            return None
        ItemWriter(tx, self._dialect, coll, collection_id).remove([(row["pk"], row["cell"])])
        self._tell(tx, coll, collection_id)
        doc: bytes = row["doc"]
        return doc

    def remove_items(self, tx: Connection, collection_id: str, limit: int) -> list[str]:
        """Remove some items, at most `limit`; answers their ids."""
        coll = self._number(tx, collection_id)
        if coll is None:
            return []
        # In the order of cells, so that a slice touches few of them.
        rows = tx.all(
            "SELECT pk, id, cell FROM items WHERE coll = :coll ORDER BY cell LIMIT :limit",
            {"coll": coll, "limit": limit},
        )
        ItemWriter(tx, self._dialect, coll, collection_id).remove([(row["pk"], row["cell"]) for row in rows])
        return [row["id"] for row in rows]

    # --- inside

    async def _few_places(self, search: Search) -> bool:
        """Are there few places to look for these ids: collections, times ids?

        A lookup has no time limit, and others may wait for it. Collections that are not named are counted now and then.
        """
        if search.collections is not None:
            collections = len(search.collections)
        else:
            if time.monotonic() > self._count_until:
                self._count = await self._database.read(lambda tx: int(tx.value("SELECT count(*) FROM collections")))
                self._count_until = time.monotonic() + _COUNT_SECONDS
            collections = self._count
        return collections * len(search.ids or ()) <= _FEW_PLACES

    def _visible(self, tx: Connection, collection_id: str) -> CollectionRecord:
        record = self.collection_in(tx, collection_id)
        if record is None or record.deleting:
            raise _no_collection(collection_id)
        return record

    def _writable(self, tx: Connection, collection_id: str) -> int:
        """The number of a collection that takes items. Raises CollectionDoesNotExist."""
        row = tx.one("SELECT coll, deleting FROM collections WHERE id = :id", {"id": collection_id})
        if row is None:
            raise CollectionDoesNotExist(
                f"Collection '{collection_id}' does not exist: create it first.", target=collection_id
            )
        if row["deleting"]:
            raise CollectionDoesNotExist(
                f"Collection '{collection_id}' is being deleted: create it again when that has ended.",
                target=collection_id,
            )
        number: int = row["coll"]
        return number

    def _tell(self, tx: Connection, coll: int, collection_id: str) -> None:
        if take_notice(tx, coll):
            self._on_stale(tx, collection_id)

    def _number(self, tx: Connection, collection_id: str) -> int | None:
        number: int | None = tx.value("SELECT coll FROM collections WHERE id = :id", {"id": collection_id})
        return number


def _record(row: Row) -> CollectionRecord:
    return CollectionRecord(
        row["id"], row["doc"], row["container"], row["created"], row["updated"], bool(row["deleting"]), row["whole"]
    )


def _no_collection(collection_id: str) -> NotFound:
    return NotFound(f"Collection '{collection_id}' does not exist.", target=collection_id)
