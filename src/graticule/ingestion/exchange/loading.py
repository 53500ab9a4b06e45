"""Loading collections and items from files: validated as posted ones are, published as they are, in slices.

Nothing is fetched and no operation is recorded. A slice is one transaction, and an item that is there already exactly
as the file has it is passed over: a load that was interrupted is done again and goes on where it was.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import orjson

from graticule.catalog import Catalog, OnConflict, PreparedItem, prepare_item
from graticule.database import Connection, Database
from graticule.errors import (
    CollectionDoesNotExist,
    Conflict,
    IngestionError,
    InvalidInputData,
    ItemAlreadyExists,
    ItemSizeExceeded,
    NotFound,
    RequestError,
)
from graticule.ingestion.burying import bury_unnamed, defer_sweep
from graticule.ingestion.exchange.files import Line, SourceFile, read_lines
from graticule.ingestion.validation import MAX_ITEM_ID, check_collection, check_contents, check_shape
from graticule.settings import Settings
from graticule.stac.datetimes import now_us, rfc3339
from graticule.stac.documents import Item, JsonObject
from graticule.stac.links import stored_form
from graticule.storage import ManagedHrefs, ledger
from graticule.workflows import Engine

#: Items and bytes of lines that one transaction takes.
SLICE: Final = 200
SLICE_BYTES: Final = 2_000_000
#: White space may make a line as many times longer than its document.
_ROOM_FOR_SPACE: Final = 4

#: Members of the server's own: kept from the file, so that a round trip changes nothing; new where it has none.
_OWN_OF_ITEMS: Final = ("_msft:ts", "_msft:etag")
_OWN_OF_COLLECTIONS: Final = ("msft:_created", "msft:_updated")


class IfPresent(Enum):
    """What becomes of a document whose id is there already with other contents."""

    ERROR = "error"
    REPLACE = "replace"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that was not loaded."""

    file: str
    line: int
    #: None where the document has none.
    id: str | None
    code: str
    message: str


@dataclass(slots=True)
class Tally:
    """What has become of the documents so far."""

    loaded: int = 0
    replaced: int = 0
    #: There already, exactly so.
    unchanged: int = 0
    #: There already, otherwise, and left alone.
    skipped: int = 0
    refused: int = 0
    #: Of collections that were not asked for.
    passed_over: int = 0
    #: Collections created or replaced.
    collections: int = 0
    #: Bytes of the files read.
    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """An Item or a Collection, and where it stood."""

    line: Line
    document: JsonObject


@dataclass(frozen=True, slots=True)
class _Ready:
    """An item that could be written."""

    line: Line
    item: Item
    #: Server members that the file does not have.
    added: tuple[str, ...]
    prepared: PreparedItem

    @property
    def id(self) -> str:
        return self.prepared.columns.id


@dataclass(slots=True)
class _Slice:
    """Items of one collection without a repeated id, or one Collection."""

    collection_id: str | None = None
    entries: list[_Entry] = field(default_factory=list)
    collection: _Entry | None = None
    #: Bytes of the file up to its end.
    offset: int = 0


class Loader:
    """Loads files into a catalog; may run beside its server and workers."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        catalog: Catalog,
        engine: Engine,
        hrefs: ManagedHrefs,
        bases: Sequence[str],
        if_present: IfPresent = IfPresent.ERROR,
        only: str | None = None,
        create: bool = False,
        on_refusal: Callable[[Refusal], None] = lambda _: None,
        on_progress: Callable[[Tally], None] = lambda _: None,
    ) -> None:
        """Take the parts, and how to load.

        Args:
            settings: limits of items.
            database: of the catalog.
            catalog: to load into.
            engine: is asked to sweep the bytes that replaced items leave.
            hrefs: of the catalog.
            bases: base URLs under which the files name managed assets of this catalog.
            if_present: what becomes of documents that are there already with other contents.
            only: load only this collection; items that name none belong to it.
            create: make collections that items name and nobody has described.
            on_refusal: is told of every line that is not loaded.
            on_progress: is told after every slice.
        """
        self._settings = settings
        self._database = database
        self._catalog = catalog
        self._engine = engine
        self._hrefs = hrefs
        self._bases = tuple(bases)
        self._if_present = if_present
        self._only = only
        self._create = create
        self._on_refusal = on_refusal
        self._on_progress = on_progress
        self._known: set[str] = set()
        #: Of the slice before, some ids were taken: then it is likely of the next one, and worth to look first.
        self._some_are_present = False
        self._longest = _ROOM_FOR_SPACE * settings.max_item_bytes
        self.tally = Tally()

    async def load(self, files: Iterable[SourceFile]) -> Tally:
        """Load files one after the other; answers what became of their documents.

        Raises:
            CollectionDoesNotExist: items name a collection that is neither there nor to be created.
        """
        before: _Slices | None = None
        for file in files:
            done = self.tally.bytes_read
            described = before is not None and file.belongs_to(before.file)
            slices = _Slices(self, file, before.default if before is not None and described else self._only)
            await self._load_slices(slices, done)
            before = slices
        return self.tally

    async def _load_slices(self, slices: _Slices, done: int) -> None:
        """Prepare the next slice while the one before is committed; never two at a time, lest they overtake."""
        writing: asyncio.Task[None] | None = None
        try:
            while (piece := await asyncio.to_thread(slices.next)) is not None:
                ready = await self._prepared(slices.file, piece)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write(slices.file, piece, ready, done))
            if writing is not None:
                await writing
        finally:
            if writing is not None:
                await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, file: SourceFile, piece: _Slice, ready: list[_Ready], done: int) -> None:
        if piece.collection is not None:
            await self._write_collection(file, piece.collection)
        elif ready and piece.collection_id is not None:
            await self._ensure_collection(piece.collection_id)
            await self._write_items(file, piece.collection_id, ready)
        self.tally.bytes_read = done + piece.offset
        self._on_progress(self.tally)

    # --- items

    async def _prepared(self, file: SourceFile, piece: _Slice) -> list[_Ready]:
        """The items of a slice that are valid; the others are refused."""
        if piece.collection_id is None or not piece.entries:
            return []
        live = await self._live_names(entry.document for entry in piece.entries)
        return await asyncio.to_thread(self._prepare, file, piece.collection_id, piece.entries, live)

    def _prepare(
        self, file: SourceFile, collection_id: str, entries: Sequence[_Entry], live: set[tuple[str, str]]
    ) -> list[_Ready]:
        ready = []
        for entry in entries:
            try:
                item = check_shape(entry.document, collection_id)
                self._fold(item.get("assets", {}), live)
                check_contents(item, self._settings)
                loaded, added = _loaded_item(item, collection_id)
                ready.append(_Ready(entry.line, loaded, added, prepare_item(loaded)))
            except IngestionError as exc:
                self.refuse(file, entry.line, entry.document.get("id"), exc)
        return ready

    async def _write_items(self, file: SourceFile, collection_id: str, ready: list[_Ready]) -> None:
        def add(tx: Connection) -> None:
            prepared = [entry.prepared for entry in ready]
            self._catalog.put_items(tx, collection_id, prepared, on_conflict=OnConflict.ERROR)

        if not self._some_are_present:
            try:
                await self._database.write(add)
            except ItemAlreadyExists:
                pass
            else:
                self.tally.loaded += len(ready)
                return
        await self._write_among_others(file, collection_id, ready)

    async def _write_among_others(self, file: SourceFile, collection_id: str, ready: list[_Ready]) -> None:
        """As `_write_items`, where some of the ids are taken."""

        def write(tx: Connection) -> _Outcome:
            outcome = self._sort(tx, collection_id, ready)
            self._catalog.put_items(tx, collection_id, [entry.prepared for entry in outcome.new], on_conflict=_ADD)
            replaced = [entry.prepared for entry in outcome.replacing]
            self._catalog.put_items(tx, collection_id, replaced, on_conflict=OnConflict.REPLACE)
            buried = sum(
                ledger.bury_item(tx, collection_id, entry.id, keep=self._named_in(entry.item))
                for entry in outcome.replacing
            )
            if buried:
                defer_sweep(self._engine, tx)
            return outcome

        # Looked at without the write lock first: a load that is done again finds most of its items unchanged.
        outcome = await self._database.read(lambda tx: self._sort(tx, collection_id, ready))
        if outcome.new or outcome.replacing:
            outcome = await self._database.write(write)
        self._some_are_present = len(outcome.new) < len(ready)
        self.tally.loaded += len(outcome.new)
        self.tally.replaced += len(outcome.replacing)
        self.tally.unchanged += outcome.unchanged
        if self._if_present is IfPresent.SKIP:
            self.tally.skipped += len(outcome.different)
            return
        for entry in outcome.different:
            error = ItemAlreadyExists(
                f"Item '{entry.id}' already exists in collection '{collection_id}', with other contents."
            )
            self.refuse(file, entry.line, entry.id, error)

    def _sort(self, tx: Connection, collection_id: str, ready: Sequence[_Ready]) -> _Outcome:
        outcome = _Outcome()
        for entry in ready:
            stored = self._catalog.item_in(tx, collection_id, entry.id)
            if stored is None:
                outcome.new.append(entry)
            elif _same(entry.item, entry.added, orjson.loads(stored)):
                outcome.unchanged += 1
            elif self._if_present is IfPresent.REPLACE:
                outcome.replacing.append(_renewed(entry, orjson.loads(stored)))
            else:
                outcome.different.append(entry)
        return outcome

    # --- collections

    async def _ensure_collection(self, collection_id: str) -> None:
        if collection_id in self._known:
            return
        try:
            await self._catalog.collection(collection_id)
        except NotFound:
            if not self._create:
                raise CollectionDoesNotExist(
                    f"Collection '{collection_id}' does not exist: load its document first, or use --create.",
                    target=collection_id,
                ) from None
            await self._put_collection(_described(collection_id))
        self._known.add(collection_id)

    async def _write_collection(self, file: SourceFile, entry: _Entry) -> None:
        try:
            document = check_collection(entry.document)
            self._fold(document.get("assets", {}), await self._live_names([entry.document]))
            await self._put_collection({**document})
        except (IngestionError, RequestError) as exc:
            self.refuse(file, entry.line, entry.document.get("id"), exc)

    async def _put_collection(self, document: JsonObject) -> None:
        """Create or replace a collection, as the conflict rule says. Raises Conflict."""
        collection_id = document["id"]
        now = rfc3339(now_us())
        added = tuple(name for name in _OWN_OF_COLLECTIONS if not isinstance(document.get(name), str))
        form = stored_form({**document, **dict.fromkeys(added, now)})

        def put(tx: Connection) -> str:
            existing = self._catalog.collection_in(tx, collection_id)
            if existing is None or existing.deleting:
                container = ledger.open_container(tx, collection_id)
                self._catalog.add_collection(tx, collection_id, orjson.dumps(form), container)
                return "collections"
            stored = orjson.loads(existing.doc)
            if _same(form, added, stored):
                return "unchanged"
            if self._if_present is IfPresent.SKIP:
                return "skipped"
            if self._if_present is IfPresent.ERROR:
                raise Conflict(f"Collection '{collection_id}' already exists, with other contents.", target="id")
            form["msft:_created"], form["msft:_updated"] = stored["msft:_created"], now
            self._catalog.replace_collection(tx, collection_id, orjson.dumps(form))
            record = self._catalog.collection_in(tx, collection_id)
            if record is not None and bury_unnamed(tx, self._hrefs, record):
                defer_sweep(self._engine, tx)
            return "collections"

        counter = await self._database.write(put)
        setattr(self.tally, counter, getattr(self.tally, counter) + 1)

    # --- hrefs

    async def _live_names(self, documents: Iterable[JsonObject]) -> set[tuple[str, str]]:
        """Blobs of this catalog that documents name. Another catalog may have been served under the same URL."""
        names = {name for document in documents for name in self._named_in(document)}
        if not names:
            return set()
        return await self._database.read(
            lambda tx: {name for name in names if ledger.find(tx, *name) is not None}  # live ones only
        )

    def _named_in(self, document: Any) -> list[tuple[str, str]]:
        assets = document.get("assets")
        hrefs = (
            (asset.get("href") for asset in assets.values() if isinstance(asset, dict)) if _is_object(assets) else ()
        )
        located = (self._hrefs.locate(href, self._bases) for href in hrefs if isinstance(href, str))
        return [(name.container, name.key) for name in located if name is not None]

    def _fold(self, assets: Any, live: set[tuple[str, str]]) -> None:
        for asset in assets.values() if live else ():
            name = self._hrefs.locate(asset["href"], self._bases)
            if name is not None and name in live:
                asset["href"] = self._hrefs.stored(*name)

    # --- for the slices

    def refuse(self, file: SourceFile, line: Line, identity: object, error: IngestionError | RequestError) -> None:
        """Count a line as refused, and tell."""
        self.tally.refused += 1
        named = identity[:MAX_ITEM_ID] if isinstance(identity, str) else None
        self._on_refusal(Refusal(file.name, line.number, named, error.code, error.message))

    def read(self, file: SourceFile, line: Line) -> _Entry | None:
        """The document of a line; None where there is none to load."""
        if line.text is None:
            self.refuse(file, line, None, ItemSizeExceeded(f"The line has more than {self._longest} bytes."))
            return None
        try:
            document = orjson.loads(line.text)
        except orjson.JSONDecodeError as exc:
            self.refuse(file, line, None, InvalidInputData(f"The line is no JSON: {exc}."))
            return None
        if not isinstance(document, dict):
            self.refuse(file, line, None, InvalidInputData("The line is no JSON object."))
            return None
        return _Entry(line, document)

    def lines(self, file: SourceFile) -> Iterator[Line]:
        """The lines of a file, long ones cut."""
        return read_lines(file, self._longest)

    def wanted(self, collection_id: object) -> bool:
        """Is this a collection to load? If not, its document is counted."""
        if self._only is None or collection_id == self._only:
            return True
        self.tally.passed_over += 1
        return False


class _Slices:
    """Cuts a file into slices."""

    def __init__(self, loader: Loader, file: SourceFile, default: str | None) -> None:
        """`default`: the collection of items that name none."""
        self.file = file
        self.default = default
        self._loader = loader
        self._lines = loader.lines(file)
        self._next: _Entry | None = None

    def next(self) -> _Slice | None:
        """The next slice; None at the end of the file."""
        piece, ids, size = _Slice(), set[object](), 0
        while len(piece.entries) < SLICE and size < SLICE_BYTES:
            entry = self._take()
            if entry is None:
                break
            if entry.document.get("type") == "Collection":
                if piece.entries:
                    self._next = entry
                    break
                piece.offset = entry.line.offset
                piece.collection = entry
                return piece
            collection_id = entry.document.get("collection") or self.default
            identity = entry.document.get("id")
            repeated = isinstance(identity, str) and identity in ids
            if piece.entries and (collection_id != piece.collection_id or repeated):
                self._next = entry
                break
            piece.collection_id = collection_id
            piece.entries.append(entry)
            piece.offset = entry.line.offset
            ids.add(identity if isinstance(identity, str) else None)
            size += len(entry.line.text or b"")
        return piece if piece.entries else None

    def _take(self) -> _Entry | None:
        """The next document to load."""
        entry, self._next = self._next, None
        if entry is not None:
            return entry
        for line in self._lines:
            entry = self._loader.read(self.file, line)
            if entry is not None and self._is_wanted(entry):
                return entry
        return None

    def _is_wanted(self, entry: _Entry) -> bool:
        if entry.document.get("type") == "Collection":
            identity = entry.document.get("id")
            self.default = identity if isinstance(identity, str) else None
            return self._loader.wanted(identity)
        collection_id = entry.document.get("collection") or self.default
        if not isinstance(collection_id, str):
            error = InvalidInputData("The Item names no 'collection': say which with --collection.")
            self._loader.refuse(self.file, entry.line, entry.document.get("id"), error)
            return False
        return self._loader.wanted(collection_id)


@dataclass(slots=True)
class _Outcome:
    """Items of a slice, by what is to be done with them."""

    new: list[_Ready] = field(default_factory=list)
    replacing: list[_Ready] = field(default_factory=list)
    different: list[_Ready] = field(default_factory=list)
    unchanged: int = 0


_ADD: Final = OnConflict.ERROR


def _loaded_item(item: Item, collection_id: str) -> tuple[Item, tuple[str, ...]]:
    """The item as it is published, and the server members that were added to it."""
    document: dict[str, Any] = {**item, "collection": collection_id}
    document.setdefault("stac_version", "1.0.0")
    document.setdefault("assets", {})
    added = tuple(name for name in _OWN_OF_ITEMS if not isinstance(document.get(name), str))
    if "_msft:ts" in added:
        document["_msft:ts"] = rfc3339(now_us())
    if "_msft:etag" in added:
        document["_msft:etag"] = str(uuid.uuid4())
    return stored_form(document), added  # type: ignore[return-value]  # an Item with members of the server's own


def _renewed(entry: _Ready, stored: JsonObject) -> _Ready:
    """The item with an ETag that the one it replaces has not: other contents under the same ETag would be a lie."""
    document: dict[str, Any] = {**entry.item}
    if document["_msft:etag"] != stored.get("_msft:etag"):
        return entry
    document["_msft:ts"], document["_msft:etag"] = rfc3339(now_us()), str(uuid.uuid4())
    item: Item = document  # type: ignore[assignment]  # an Item with members of the server's own
    return _Ready(entry.line, item, entry.added, prepare_item(item))


def _same(document: Any, added: Iterable[str], stored: JsonObject) -> bool:
    """Is this what is stored, but for server members that the file does not have?"""
    candidate = {**document, **{name: stored[name] for name in added if name in stored}}
    return orjson.dumps(candidate, option=orjson.OPT_SORT_KEYS) == orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)


def _described(collection_id: str) -> JsonObject:
    """A Collection of which nothing but the id is known."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": collection_id,
        "description": f"Items loaded without a description of their collection '{collection_id}'.",
        "license": "other",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
