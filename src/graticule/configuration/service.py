"""What clients may ask of a collection's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from graticule.catalog import BUILT_IN, Catalog
from graticule.configuration import store
from graticule.configuration.assets import known_assets
from graticule.configuration.indexing import Indexing
from graticule.configuration.models import (
    BUILT_IN_QUERYABLES,
    RENDER_OPTION_TYPES,
    Kind,
    PartitionType,
    Queryable,
    TileSettings,
)
from graticule.configuration.validation import (
    check_entries,
    check_entry,
    check_partition_type,
    check_tile_settings,
)
from graticule.database import Connection, Database
from graticule.errors import InvalidParameter, InvalidRequestBody, NotFound
from graticule.stac.aggregation import Scale, scale_of
from graticule.stac.documents import JsonObject

T = TypeVar("T")
#: Can tiles be drawn with this text, of items that have these assets (key → number of bands, None: not known)? Raises
#: InvalidParameter. It is the tiler's to say.
CheckOptions = Callable[[str, Mapping[str, int | None]], None]


class Configuration:
    """Reads and writes the configuration of collections.

    Every method that names a collection raises `NotFound` where there is none, or it is being deleted; those that take
    a document raise `InvalidRequestBody`, whose message and target name the member that is wrong.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalog: Catalog,
        indexing: Indexing,
        check_options: CheckOptions,
        strict: bool = False,
    ) -> None:
        """Take the parts this room works with; the catalog says which collections there are.

        Where it is `strict`, it refuses to search by other properties than the queryables.
        """
        self._indexing = indexing
        self._check_options = check_options
        self.strict = strict
        self._database = database
        self._catalog = catalog

    async def whole(self, collection_id: str) -> JsonObject:
        """Everything that is shown of a collection's configuration, in one document."""
        return await self._read(collection_id, partial(store.configuration, collection_id=collection_id))

    # --- render options, mosaics, queryables

    async def entries(self, collection_id: str, kind: Kind) -> list[JsonObject]:
        """Every entry of a kind, in the order in which they were added."""
        return await self._read(collection_id, lambda tx: store.entries(tx, collection_id, kind))

    async def entry(self, collection_id: str, kind: Kind, entry_id: str) -> JsonObject:
        """One entry.

        Raises:
            NotFound: there is none of this id.
        """
        return await self._read(collection_id, lambda tx: store.entry(tx, collection_id, kind, entry_id))

    async def add(self, collection_id: str, kind: Kind, document: Any) -> list[JsonObject]:
        """Add the entry, or all of a list of them; answers what was added.

        Raises:
            Conflict: one of the ids is taken; nothing was added.
        """
        documents = check_entries(kind, document)
        await self._check_drawable(collection_id, kind, documents, listed=isinstance(document, list))

        def write(tx: Connection) -> None:
            store.add(tx, collection_id, kind, documents)
            for one in documents:
                self._declare(tx, collection_id, kind, one)

        await self._write(collection_id, write)
        return documents

    async def replace(self, collection_id: str, kind: Kind, entry_id: str, document: Any) -> JsonObject:
        """Replace an entry; answers it.

        Raises:
            NotFound: there is none of this id.
        """
        checked = check_entry(kind, document, entry_id)
        await self._check_drawable(collection_id, kind, [checked])

        def write(tx: Connection) -> None:
            store.replace(tx, collection_id, kind, checked)
            self._declare(tx, collection_id, kind, checked)

        await self._write(collection_id, write)
        return checked

    async def remove(self, collection_id: str, kind: Kind, entry_id: str) -> None:
        """Remove an entry.

        Raises:
            NotFound: there is none of this id.
        """

        def write(tx: Connection) -> None:
            store.remove(tx, collection_id, kind, entry_id)
            if kind is Kind.QUERYABLE:
                self._indexing.withdraw(tx, collection_id, entry_id)

        await self._write(collection_id, write)

    async def _check_drawable(
        self, collection_id: str, kind: Kind, documents: Sequence[JsonObject], *, listed: bool = False
    ) -> None:
        """Hold the options of render options against what the collection's items have."""
        if kind is not Kind.RENDER_OPTION:
            return
        known: Mapping[str, int | None] | None = None
        for place, document in enumerate(documents):
            text = document.get("options")
            if not text or document.get("type") not in {None, RENDER_OPTION_TYPES[0]}:
                continue
            if known is None:
                known = await known_assets(self._catalog, collection_id)
            try:
                self._check_options(text, known)
            except InvalidParameter as exc:
                target = f"[{place}].options" if listed else "options"
                message = f"The render option '{document['id']}': '{target}' cannot be used. {exc.message}"
                raise InvalidRequestBody(message, target=target) from exc

    def _declare(self, tx: Connection, collection_id: str, kind: Kind, document: JsonObject) -> None:
        if kind is Kind.QUERYABLE:
            indexed = document.get("create_index") is True
            self._indexing.declare(tx, collection_id, document["name"], indexed=indexed)

    # --- tile settings, partition type

    async def tile_settings(self, collection_id: str) -> TileSettings:
        """The tile settings in force."""
        return await self._read(collection_id, lambda tx: store.tile_settings(tx, collection_id))

    async def replace_tile_settings(self, collection_id: str, document: Any) -> TileSettings:
        """Replace the tile settings; answers them."""
        checked = check_tile_settings(document)
        await self._write(collection_id, lambda tx: store.put_tile_settings(tx, collection_id, checked))
        return cast("TileSettings", checked)

    async def partition_type(self, collection_id: str) -> PartitionType:
        """The partition type in force."""
        return await self._read(collection_id, lambda tx: store.partition_type(tx, collection_id))

    async def replace_partition_type(self, collection_id: str, document: Any) -> None:
        """Set the partition type of a collection that has no items yet.

        Raises:
            InvalidRequestBody: it has items, and another partition type (api.md 2.4).
        """
        checked = check_partition_type(document)
        scheme = checked["scheme"]
        if await self._catalog.item_count(collection_id):
            if (await self.partition_type(collection_id))["scheme"] == scheme:
                return
            raise InvalidRequestBody(
                f"Collection '{collection_id}' has items: its partition type can be set only before the first of them.",
                target="scheme",
            )
        await self._write(collection_id, lambda tx: store.put_partition_type(tx, collection_id, checked))

    # --- what can be filtered by

    async def queryables(self, collection_id: str) -> dict[str, JsonObject]:
        """The properties that a collection's items can be filtered by: name → JSON schema.

        First those that every collection has, then those that were declared, then others that items were found to
        have; of these last only such as may be asked for.
        """
        declared = await self._read(collection_id, lambda tx: store.queryables(tx, collection_id))
        return _schemas(declared) | self._found(declared, await self._catalog.property_types(collection_id))

    async def catalog_queryables(self) -> dict[str, JsonObject]:
        """The same for a search in all collections: their union, as the STAC API's filter extension allows.

        Of definitions of one name the oldest stands.
        """
        collections = {record.id for record in await self._catalog.collections()}
        found = await self._database.read(store.all_queryables)
        declared = [queryable for collection_id, queryable in found if collection_id in collections]
        return _schemas(declared) | self._found(declared, await self._catalog.property_types())

    async def countable(self, collection_id: str | None) -> dict[str, Scale]:
        """The declared properties that can be counted by their values, of a collection or of all; and how.

        Those that have an aggregation of their own are left out. Of definitions of one name the oldest stands.
        """
        if collection_id is None:
            collections = {record.id for record in await self._catalog.collections()}
            found = await self._database.read(store.all_queryables)
            declared = [queryable for of, queryable in found if of in collections]
        else:
            declared = await self._read(collection_id, lambda tx: store.queryables(tx, collection_id))
        scales: dict[str, Scale] = {}
        for one in declared:
            if one["name"] not in BUILT_IN:
                scales.setdefault(one["name"], scale_of(one["definition"], one.get("data_type")))
        return scales

    # --- inside

    def _found(self, declared: list[Queryable], types: dict[str, set[str]]) -> dict[str, JsonObject]:
        """Schemas of properties that nobody declared."""
        known = BUILT_IN_QUERYABLES.keys() | {queryable["name"] for queryable in declared}
        names = [name for name in types if name not in known and (not self.strict or name in BUILT_IN)]
        return {name: _found_schema(types[name]) for name in names}

    async def _read(self, collection_id: str, work: Callable[[Connection], T]) -> T:
        return await self._database.read(partial(self._with_collection, collection_id=collection_id, work=work))

    async def _write(self, collection_id: str, work: Callable[[Connection], T]) -> T:
        return await self._database.write(partial(self._with_collection, collection_id=collection_id, work=work))

    def _with_collection(self, tx: Connection, *, collection_id: str, work: Callable[[Connection], T]) -> T:
        record = self._catalog.collection_in(tx, collection_id)
        if record is None or record.deleting:
            raise NotFound(f"Collection '{collection_id}' does not exist.", target="collectionId")
        return work(tx)


def _found_schema(types: set[str]) -> JsonObject:
    """Of a property whose values have these types."""
    return {} if not types else {"type": next(iter(types)) if len(types) == 1 else sorted(types)}


def _schemas(queryables: list[Queryable]) -> dict[str, JsonObject]:
    defined: dict[str, JsonObject] = {}
    for queryable in queryables:
        defined.setdefault(queryable["name"], queryable["definition"])
    return BUILT_IN_QUERYABLES | defined
