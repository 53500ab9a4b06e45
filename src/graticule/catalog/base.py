"""What a catalog promises: `Catalog`, and the records that go in and come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from graticule.catalog.aggregating import Aggregation
from graticule.catalog.searchable import PreparedItem, PreparedItems
from graticule.database import Connection
from graticule.stac.aggregation import AggregationRequest
from graticule.stac.documents import Item
from graticule.stac.search import Search

if TYPE_CHECKING:
    from graticule.catalog.picking import Wanted


class OnConflict(Enum):
    """What to do with an item whose id the collection has already."""

    ERROR = "error"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection: its document and what the catalog knows beside it."""

    id: str
    #: The document's JSON, as it was given.
    doc: bytes
    #: The container that holds its assets.
    container: str
    #: Microseconds since 1970 UTC.
    created_us: int
    updated_us: int
    #: Its items are being removed: readers no longer see it, its id is not free yet.
    deleting: bool
    #: What its items are as a whole: `wholes.Whole` as JSON; None where that is not known.
    whole: bytes | None = None


@dataclass(frozen=True, slots=True)
class ItemPage:
    """One page of a search."""

    #: The items' JSON, as it was given.
    items: list[bytes]
    #: Collection and id of each item.
    names: list[tuple[str, str]]
    #: Where the next page begins; None when nothing follows.
    next_token: str | None
    #: How many items the search finds in all, where that is known without counting.
    matched: int | None
    #: About how many, where only that is known; counted on the first page only.
    estimate: int | None = None


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far the index of a queryable is."""

    #: Items read so far; of an index that is being removed, rows removed just now.
    done: int
    #: Items of the collection; None where that is not the measure.
    total: int | None
    #: There is nothing left to do.
    ended: bool


class Catalog(Protocol):
    """The collections and items of one GeoCatalog. Documents go in and come out unchanged.

    Reads are coroutines and see one state of the database each. Writes take the `Connection` of the transaction they
    are part of (see `graticule.database`).
    """

    async def collections(self) -> list[CollectionRecord]:
        """Every collection that is not being deleted, in the order of creation."""
        ...

    async def collection(self, collection_id: str) -> CollectionRecord:
        """One collection. Raises NotFound, also when it is being deleted."""
        ...

    async def item(self, collection_id: str, item_id: str) -> bytes:
        """One item's document. Raises NotFound."""
        ...

    async def tidy(self) -> None:
        """To be called after many items were written: searches would be slower until the database does it by itself."""
        ...

    async def search(self, search: Search) -> ItemPage:
        """A page of items in the order of `Search.sortby`, without one newest first, then by id.

        Raises:
            InvalidParameter: a token that is none or belongs to another order, or an order that would need the
                documents of too many items.
            SearchTimedOut: the time allowed was over before anything was found; else the page ends there.
        """
        ...

    async def pick(self, search: Search, wanted: Wanted) -> list[bytes]:
        """Documents of the items that a picture of an area is made of, the topmost first; see `picking.Wanted`.

        Of the search all counts but its limit and token.

        Raises:
            SearchTimedOut: the time allowed was over before anything was found.
        """
        ...

    async def aggregate(self, request: AggregationRequest) -> list[Aggregation]:
        """Counts of what a search finds, exact, in the order of the request.

        Raises:
            InvalidParameter: it would take too much work.
        """
        ...

    async def item_count(self, collection_id: str) -> int:
        """How many items a collection has. Raises NotFound."""
        ...

    def add_collection(self, tx: Connection, collection_id: str, doc: bytes, container: str) -> None:
        """Raises Conflict if the id is taken, or being deleted, or the container belongs to another."""
        ...

    def replace_collection(self, tx: Connection, collection_id: str, doc: bytes) -> None:
        """Raises NotFound, also when it is being deleted."""
        ...

    def mark_deleting(self, tx: Connection, collection_id: str) -> bool:
        """Hide a collection and its items from readers. False: it was hidden already. Raises NotFound."""
        ...

    def forget_collection(self, tx: Connection, collection_id: str) -> None:
        """Free the id; nothing happens if it is free. Raises Conflict while it has items."""
        ...

    def collection_in(self, tx: Connection, collection_id: str) -> CollectionRecord | None:
        """The record as this transaction sees it, also while the collection is being deleted."""
        ...

    def put_items(
        self, tx: Connection, collection_id: str, items: Sequence[Item | PreparedItem], *, on_conflict: OnConflict
    ) -> None:
        """Add items, or replace those of equal ids. It raises before it writes anything.

        Items that are not prepared are prepared here; do it before the transaction where there are many.

        Raises:
            CollectionDoesNotExist: also when it is being deleted.
            ItemAlreadyExists: with `OnConflict.ERROR`; also for an id that comes twice.
            StacValidationFailed: an item fails `check_searchable`.
        """
        ...

    def add_new_items(self, tx: Connection, items: Mapping[str, PreparedItems]) -> None:
        """Add items, given by collection, whose ids are most probably free: for bulk loads, nothing is looked up.

        When it raises, some may be written: let the error leave the unit of work, which takes them back.

        Raises:
            CollectionDoesNotExist: also when it is being deleted.
            ItemAlreadyExists: an id is taken, or comes twice; the error does not say which.
        """
        ...

    def item_in(self, tx: Connection, collection_id: str, item_id: str) -> bytes | None:
        """An item's document as this transaction sees it, also while its collection is being deleted."""
        ...

    def remove_item(self, tx: Connection, collection_id: str, item_id: str) -> bytes | None:
        """Remove an item; answers the document that was there."""
        ...

    def remove_items(self, tx: Connection, collection_id: str, limit: int) -> list[str]:
        """Remove some items, at most `limit`; answers their ids. For deleting a collection in slices."""
        ...

    def declare_queryable(self, tx: Connection, collection_id: str, name: str, *, indexed: bool) -> bool:
        """Let a property be known as queryable, with an index of its values or without.

        True where there is work for `work_on_queryable`; until that has ended, searches do without the index.
        """
        ...

    def withdraw_queryable(self, tx: Connection, collection_id: str, name: str) -> bool:
        """Forget that; True where there is work for `work_on_queryable`."""
        ...

    def work_on_queryable(self, tx: Connection, collection_id: str, name: str, limit: int) -> IndexProgress:
        """One slice of building or removing an index, over at most `limit` items."""
        ...

    async def property_types(self, collection_id: str | None = None) -> dict[str, set[str]]:
        """Properties that occur in items of a collection (None: of all), and the JSON types of their values.

        From a sample of items that is spread over their time; ordered by name. Raises NotFound.
        """
        ...
