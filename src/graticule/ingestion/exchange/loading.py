"""Loading collections and items from files: validated as posted ones are, published as they are, in slices.

Nothing is fetched and no operation is recorded. A slice is one transaction, and an item that is there already exactly
as the file has it is passed over: a load that was interrupted is done again and goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Any, Final

import orjson

from graticule.catalog import Catalog, OnConflict, PreparedItems
from graticule.catalog.wholes import Kind, keys_of
from graticule.database import Connection, Database
from graticule.errors import (
    CollectionDoesNotExist,
    Conflict,
    IngestionError,
    ItemAlreadyExists,
    ItemSizeExceeded,
    NotFound,
    RequestError,
)
from graticule.ingestion.burying import bury_unnamed
from graticule.ingestion.exchange.files import Line, SourceFile
from graticule.ingestion.exchange.helpers import Batch, Found, Helpers
from graticule.ingestion.exchange.preparing import (
    Described,
    Open,
    Outcome,
    Ready,
    Refused,
    Rules,
    default_after,
    prepare_document,
    read_document,
    renewed,
)
from graticule.ingestion.validation import MAX_ITEM_ID, check_collection
from graticule.settings import Settings
from graticule.stac.datetimes import now_us, rfc3339
from graticule.stac.documents import JsonObject
from graticule.stac.links import stored_form
from graticule.storage import ManagedHrefs, ledger

#: Items and bytes of lines that one transaction takes.
SLICE: Final = 500
SLICE_BYTES: Final = 5_000_000
#: The same of items that helpers have prepared, and of their documents as those are stored, at most. The more items,
#: the fewer times a page of an index is written, and the longer other writers wait.
BATCH: Final = 10_000
BATCH_BYTES: Final = 30_000_000
#: How long such a transaction is to take, seconds: where it takes longer, the next one has fewer items.
_SECONDS: Final = 0.5
_LEAST_BATCH: Final = 1_000
#: And how long it is waited for more of its items: a source may be slow.
_PATIENCE_SECONDS: Final = 2.0
#: Transactions of so many items before the database is relieved: two are some 100 MB of SQLite's log.
_BATCHES_BETWEEN_RELIEFS: Final = 2
#: After so many items the catalog is tidied, and again whenever ten times as many are written.
_TIDY_AFTER: Final = 2_000

#: Members of the server's own: kept from the file, so that a round trip changes nothing; new where it has none.
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
    """An item that can be written, and where it stood."""

    line: Line
    ready: Ready

    @property
    def id(self) -> str:
        return self.ready.id

    @property
    def key(self) -> tuple[str, str]:
        return self.ready.collection_id, self.ready.id


@dataclass(slots=True)
class _Slice:
    """Items, none of them twice, or one Collection, or batches from the helpers."""

    entries: list[_Entry] = field(default_factory=list)
    collection: tuple[Line, JsonObject] | None = None
    batches: list[Batch] = field(default_factory=list)
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
        hrefs: ManagedHrefs,
        bases: Sequence[str],
        sweep: Callable[[Connection], object],
        if_present: IfPresent = IfPresent.ERROR,
        only: str | None = None,
        create: bool = False,
        helpers: int | None = None,
        on_refusal: Callable[[Refusal], None] = lambda _: None,
        on_progress: Callable[[Tally], None] = lambda _: None,
    ) -> None:
        """Take the parts, and how to load.

        Args:
            settings: limits of items.
            database: of the catalog.
            catalog: to load into.
            hrefs: of the catalog.
            bases: base URLs under which the files name managed assets of this catalog.
            sweep: has the bytes removed that replaced items leave.
            if_present: what becomes of documents that are there already with other contents.
            only: load only this collection; items that name none belong to it.
            create: make collections that items name and nobody has described.
            helpers: how many processes prepare the items of a large load; None: as this machine has processors.
            on_refusal: is told of every line that is not loaded.
            on_progress: is told after every slice.
        """
        self._settings = settings
        self._database = database
        self._catalog = catalog
        self._sweep = sweep
        self._hrefs = hrefs
        self._rules = Rules(settings, hrefs, tuple(bases), only)
        #: Of collections that were met.
        self._summed: dict[str, Mapping[str, Kind]] = {}
        self._helpers = Helpers(self._rules, helpers, pack=database.dialect == "sqlite", summed=lambda: self._summed)
        self._if_present = if_present
        self._create = create
        self._on_refusal = on_refusal
        self._on_progress = on_progress
        #: Of the slice before, some ids were taken: then it is likely of the next one, and worth to look first.
        self._some_are_present = False
        #: Batches written since the database was last relieved.
        self._unrelieved = 0
        #: Items written when the catalog was last tidied.
        self._tidied_at = 0
        self.tally = Tally()
        #: So many items from helpers are to be written at once.
        self.batch = BATCH

    async def load(self, files: Iterable[SourceFile]) -> Tally:
        """Load files one after the other; answers what became of their documents.

        Raises:
            CollectionDoesNotExist: items name a collection that is neither there nor to be created.
        """
        await asyncio.to_thread(self._database.begin_bulk)
        try:
            await self._load_files(files)
        finally:
            await asyncio.to_thread(self._database.end_bulk)
        if self._tidied_at < (written := self.tally.loaded + self.tally.replaced) and written >= _TIDY_AFTER:
            await self._catalog.tidy()
        return self.tally

    async def _load_files(self, files: Iterable[SourceFile]) -> None:
        before: _Slices | None = None
        with self._helpers:
            for file in files:
                done = self.tally.bytes_read
                described = before is not None and file.belongs_to(before.file)
                default = before.default if before is not None and described else self._rules.only
                with closing(self._helpers.prepare(file)) as outcomes:
                    slices = _Slices(self, file, default, outcomes)
                    await self._load_slices(slices, done)
                before = slices

    async def _load_slices(self, slices: _Slices, done: int) -> None:
        """Prepare the next slice while the one before is committed; never two at a time, lest they overtake."""
        writing: asyncio.Task[None] | None = None
        reading: asyncio.Task[_Slice | None] | None = None
        try:
            while True:
                # Shielded: a thread cannot be cancelled, and what it reads from must not be closed under it.
                reading = asyncio.create_task(asyncio.to_thread(slices.next))
                if (piece := await asyncio.shield(reading)) is None:
                    break
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write(slices.file, piece, done))
            if writing is not None:
                await writing
        finally:
            if reading is not None and not reading.done():
                self._helpers.stop()  # it may wait for one of them
            await asyncio.gather(*(one for one in (writing, reading) if one is not None), return_exceptions=True)

    async def _write(self, file: SourceFile, piece: _Slice, done: int) -> None:
        if piece.batches:
            await self._write_batches(file, piece.batches)
        elif piece.collection is not None:
            await self._write_collection(file, *piece.collection)
        elif piece.entries:
            await self._write_entries(file, piece.entries)
        self.tally.bytes_read = done + piece.offset
        self._on_progress(self.tally)
        if (written := self.tally.loaded + self.tally.replaced) >= max(_TIDY_AFTER, 10 * self._tidied_at):
            self._tidied_at = written
            await self._catalog.tidy()

    # --- items

    def settled(self, line: Line, default: str | None) -> Outcome:
        """What becomes of an item that could not be judged by its line alone; may look into the database."""
        document = read_document(line.text or b"")
        if isinstance(document, Refused):
            return document
        names = self._named_in(document)
        live = self._database.read_now(lambda tx: _live(tx, names)) if names else set()
        if live and isinstance(assets := document.get("assets"), dict):
            self._fold(assets, live)
        collection_id = document.get("collection") or default
        return prepare_document(self._rules, document, collection_id, length=len(line.text or b""))

    async def _write_batches(self, file: SourceFile, batches: Sequence[Batch]) -> None:
        """Write them together; where ids are taken, or come twice, slice by slice."""
        groups: dict[str, list[PreparedItems]] = {}
        for batch in batches:
            for group in batch.groups:
                groups.setdefault(group.collection_id, []).append(group.items)
        begun = time.monotonic()
        if not groups:
            return
        if await self._add({name: PreparedItems.joined(parts) for name, parts in groups.items()}):
            self._fit_batch(sum(batch.items for batch in batches), time.monotonic() - begun)
            self._unrelieved += 1
            if self._unrelieved >= _BATCHES_BETWEEN_RELIEFS:
                self._unrelieved = 0
                await asyncio.to_thread(self._database.relieve_now)
            return
        for batch in batches:
            found = list(zip(await asyncio.to_thread(batch.lines), batch.ready(), strict=True))
            slices = _Slices(self, file, None, iter(found))
            while (piece := slices.next()) is not None:
                await self._write_entries(file, piece.entries)
                self._on_progress(self.tally)

    def _fit_batch(self, items: int, seconds: float) -> None:
        """A transaction of so many items took so long."""
        if seconds > _SECONDS:
            self.batch = min(BATCH, max(_LEAST_BATCH, int(items * _SECONDS / seconds)))
        else:  # of few items it says little
            self.batch = min(BATCH, max(self.batch, 2 * items))

    async def _write_entries(self, file: SourceFile, entries: list[_Entry]) -> None:
        groups = _by_collection(entries)
        prepared = {name: [one.ready.prepared for one in group] for name, group in groups.items()}
        if not await self._add({name: PreparedItems.of(items) for name, items in prepared.items()}):
            await self._write_among_others(file, entries)

    async def _add(self, items: Mapping[str, PreparedItems]) -> bool:
        """Add these items, given by collection; False: some of their ids are taken, or probably so."""
        for collection_id in items:
            await self._ensure_collection(collection_id)
        if self._some_are_present:
            return False
        try:
            await self._database.write(lambda tx: self._catalog.add_new_items(tx, items))
        except ItemAlreadyExists:
            return False
        self.tally.loaded += sum(map(len, items.values()))
        return True

    def _put(self, tx: Connection, entries: Iterable[_Entry], on_conflict: OnConflict) -> None:
        for collection_id, group in _by_collection(entries).items():
            prepared = [entry.ready.prepared for entry in group]
            self._catalog.put_items(tx, collection_id, prepared, on_conflict=on_conflict)

    async def _write_among_others(self, file: SourceFile, entries: list[_Entry]) -> None:
        """As `_write_items`, where some of the ids are taken."""

        def write(tx: Connection) -> _Outcome:
            outcome = self._sort(tx, entries)
            self._put(tx, outcome.new, OnConflict.ERROR)
            self._put(tx, outcome.replacing, OnConflict.REPLACE)
            buried = sum(
                ledger.bury_item(tx, *entry.key, keep=self._named_in(entry.ready.prepared.item))
                for entry in outcome.replacing
            )
            if buried:
                self._sweep(tx)
            return outcome

        # Looked at without the write lock first: a load that is done again finds most of its items unchanged.
        outcome = await self._database.read(lambda tx: self._sort(tx, entries))
        if outcome.new or outcome.replacing:
            outcome = await self._database.write(write)
        self._some_are_present = len(outcome.new) < len(entries)
        self.tally.loaded += len(outcome.new)
        self.tally.replaced += len(outcome.replacing)
        self.tally.unchanged += outcome.unchanged
        if self._if_present is IfPresent.SKIP:
            self.tally.skipped += len(outcome.different)
            return
        for entry in outcome.different:
            error = ItemAlreadyExists(
                f"Item '{entry.id}' already exists in collection '{entry.ready.collection_id}', with other contents."
            )
            self.refuse(file, entry.line, entry.id, error)

    def _sort(self, tx: Connection, entries: Sequence[_Entry]) -> _Outcome:
        outcome = _Outcome()
        for entry in entries:
            stored = self._catalog.item_in(tx, *entry.key)
            if stored is None:
                outcome.new.append(entry)
            elif _same(entry.ready.prepared.item, entry.ready.added, orjson.loads(stored)):
                outcome.unchanged += 1
            elif self._if_present is IfPresent.REPLACE:
                outcome.replacing.append(_Entry(entry.line, renewed(entry.ready, orjson.loads(stored))))
            else:
                outcome.different.append(entry)
        return outcome

    # --- collections

    async def _ensure_collection(self, collection_id: str) -> None:
        if collection_id in self._summed:
            return
        try:
            record = await self._catalog.collection(collection_id)
        except NotFound:
            if not self._create:
                raise CollectionDoesNotExist(
                    f"Collection '{collection_id}' does not exist: load its document first, or use --create.",
                    target=collection_id,
                ) from None
            await self._put_collection(_described(collection_id))
            record = await self._catalog.collection(collection_id)
        self._summed[collection_id] = keys_of(orjson.loads(record.doc))

    async def _write_collection(self, file: SourceFile, line: Line, document: JsonObject) -> None:
        try:
            checked = check_collection(document)
            names = self._named_in(checked)
            self._fold(checked.get("assets", {}), await self._database.read(lambda tx: _live(tx, names)))
            await self._put_collection({**checked})
        except (IngestionError, RequestError) as exc:
            self.refuse(file, line, document.get("id"), exc)

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
                self._sweep(tx)
            return "collections"

        counter = await self._database.write(put)
        self._summed.pop(collection_id, None)
        setattr(self.tally, counter, getattr(self.tally, counter) + 1)

    # --- hrefs

    def _named_in(self, document: Any) -> list[tuple[str, str]]:
        assets = document.get("assets")
        hrefs = (
            (asset.get("href") for asset in assets.values() if isinstance(asset, dict)) if _is_object(assets) else ()
        )
        located = (self._hrefs.locate(href, self._rules.bases) for href in hrefs if isinstance(href, str))
        return [(name.container, name.key) for name in located if name is not None]

    def _fold(self, assets: Any, live: set[tuple[str, str]]) -> None:
        """Bring hrefs of live blobs into the stored form. Assets that are none are refused later."""
        for asset in assets.values() if live else ():
            href = asset.get("href") if isinstance(asset, dict) else None
            name = self._hrefs.locate(href, self._rules.bases) if isinstance(href, str) else None
            if name is not None and name in live:
                asset["href"] = self._hrefs.stored(*name)

    # --- for the slices

    def refuse(self, file: SourceFile, line: Line, identity: object, error: IngestionError | RequestError) -> None:
        """Count a line as refused, and tell."""
        self.tally.refused += 1
        named = identity[:MAX_ITEM_ID] if isinstance(identity, str) else None
        self._on_refusal(Refusal(file.name, line.number, named, error.code, error.message))

    def settle(self, file: SourceFile, line: Line, outcome: Outcome | None, default: str | None) -> Ready | None:
        """The item of a line; where there is none to load, that is counted."""
        if isinstance(outcome, Open):
            outcome = self.settled(line, default)
        if isinstance(outcome, Ready):
            return outcome
        if outcome is None:
            self.refuse(file, line, None, ItemSizeExceeded(f"The line has more than {self._rules.longest} bytes."))
        elif isinstance(outcome, Refused):
            self.refuse(file, line, outcome.id, outcome.error)
        else:
            self.tally.passed_over += 1
        return None

    def wanted(self, collection_id: object) -> bool:
        """Is this a collection to load? If not, its document is counted."""
        wanted = self._rules.wanted(collection_id)
        self.tally.passed_over += not wanted
        return wanted


class _Slices:
    """Cuts a file into slices."""

    def __init__(self, loader: Loader, file: SourceFile, default: str | None, outcomes: Iterator[Found]) -> None:
        """`default`: the collection of items that name none."""
        self.file = file
        self.default = default
        self._loader = loader
        self._outcomes = outcomes
        self._held: Found | None = None
        self._size = file.size
        #: Where the batches end that were given out.
        self._at = 0

    def next(self) -> _Slice | None:
        """The next slice; None at the end of the file."""
        piece, keys, size = _Slice(), set[tuple[str, str]](), 0
        held, self._held = self._held, None
        for line, outcome in chain([] if held is None else [held], self._outcomes):
            if isinstance(outcome, Described | Batch):
                if piece.entries:
                    self._held = line, outcome
                    return piece
                if isinstance(outcome, Batch):
                    return self._batches(line, outcome)
                self.default = default_after(outcome.document)
                if not self._loader.wanted(outcome.document.get("id")):
                    continue
                return _Slice(collection=(line, outcome.document), offset=line.offset)
            ready = self._loader.settle(self.file, line, outcome, self.default)
            if ready is None:
                continue
            entry = _Entry(line, ready)
            if entry.key in keys:
                self._held = line, ready
                return piece
            piece.entries.append(entry)
            piece.offset = line.offset
            keys.add(entry.key)
            size += len(line.text or b"")
            if len(keys) >= SLICE or size >= SLICE_BYTES:
                return piece
        return piece if piece.entries else None

    def _batches(self, line: Line, first: Batch) -> _Slice:
        """This one and those behind it, up to what one transaction takes."""
        piece, items, size = _Slice(batches=[first], offset=line.offset), first.items, first.size
        until = time.monotonic() + _PATIENCE_SECONDS
        while items < self._loader.batch and size < BATCH_BYTES and time.monotonic() < until:
            # Towards the end no more than half of what is left: while the last ones are written, nobody helps.
            if items >= _LEAST_BATCH and piece.offset - self._at >= self._size - piece.offset > 0:
                break
            if (found := next(self._outcomes, None)) is None:
                break
            line, outcome = found
            if isinstance(outcome, Batch):
                piece.batches.append(outcome)
                piece.offset, items, size = line.offset, items + outcome.items, size + outcome.size
                continue
            if not isinstance(outcome, Described):
                outcome = self._loader.settle(self.file, line, outcome, self.default)
            if outcome is not None:  # it comes behind these
                self._held = line, outcome
                break
        self._at = piece.offset
        return piece


@dataclass(slots=True)
class _Outcome:
    """Items of a slice, by what is to be done with them."""

    new: list[_Entry] = field(default_factory=list)
    replacing: list[_Entry] = field(default_factory=list)
    different: list[_Entry] = field(default_factory=list)
    unchanged: int = 0


def _by_collection(entries: Iterable[_Entry]) -> dict[str, list[_Entry]]:
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.ready.collection_id, []).append(entry)
    return groups


def _live(tx: Connection, names: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of these blobs that are there. Another catalog may have been served under the same URL."""
    return {name for name in names if ledger.find(tx, *name) is not None}


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
