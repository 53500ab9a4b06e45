"""Writing collections and items into a pgstac database, with the loader of pypgstac, an extra: `graticule[pgstac]`.

The loader brings items into the form in which pgstac stores them and copies them into its partitions: measured at ten
times and more the rate of pgstac's SQL functions. See decision 0018.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
import psycopg
from psycopg import sql

from graticule.errors import SettingsError
from graticule.ingestion.exchange.pgstac import PgstacServer

if TYPE_CHECKING:
    from pypgstac.load import Loader

_GIVEN_COLLECTION: Final = sql.SQL(
    "SELECT content = %(document)s::jsonb FROM pgstac.collections WHERE id = %(document)s::jsonb->>'id'"
)
#: What is there already, in the form in which it is stored. (A cross-partition move is another time: not the same.)
_GIVEN_ITEMS: Final = sql.SQL("""
    SELECT given.number, bool_or(i.content = given.content::jsonb AND i.geometry = given.geometry::geometry
        AND i.datetime = given.starts::timestamptz AND i.end_datetime = given.ends::timestamptz)
    FROM unnest(%(ids)s::text[], %(contents)s::text[], %(geometries)s::text[], %(starts)s::text[], %(ends)s::text[])
        WITH ORDINALITY given (id, content, geometry, starts, ends, number)
    JOIN pgstac.items i ON i.collection = %(collection)s AND i.id = given.id
    GROUP BY given.number""")
#: The same document may be stored otherwise, by another program.
_AS_READ: Final = sql.SQL("""
    SELECT bool_or(pgstac.content_hydrate(i) = %(item)s::jsonb) FROM pgstac.items i
    WHERE i.collection = %(collection)s AND i.id = %(id)s""")


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A document that was not written."""

    collection: str
    id: str
    code: str
    message: str


@dataclass(slots=True)
class Written:
    """What has become of documents."""

    collections: int = 0
    items: int = 0
    replaced: int = 0
    #: There already, exactly so.
    unchanged: int = 0
    refused: list[NotTaken] = field(default_factory=list)

    def add(self, other: Written) -> None:
        """Count another's in."""
        self.collections += other.collections
        self.items += other.items
        self.replaced += other.replaced
        self.unchanged += other.unchanged
        self.refused += other.refused


@dataclass(frozen=True, slots=True)
class _Item:
    """An item as it was given, and as pgstac stores it."""

    id: str
    document: dict[str, Any]
    row: dict[str, Any]


class _NoPool:
    """pypgstac would open connections of its own beside the one it is given, and others when that is lost."""

    def getconn(self) -> psycopg.Connection:
        raise psycopg.OperationalError("the connection is closed")

    def check(self) -> None:
        """Nothing to look after."""


class PgstacWriter:
    """Writes into an open pgstac. What is there already exactly so is passed over: a load may be done again."""

    def __init__(self, raw: psycopg.Connection, loader: Loader, *, overwrite: bool) -> None:
        """`overwrite`: documents that are there with other contents are replaced; else they are refused."""
        self._raw = raw
        self._loader = loader
        self._overwrite = overwrite

    @classmethod
    @contextmanager
    def opened(cls, server: PgstacServer, *, overwrite: bool) -> Iterator[PgstacWriter]:
        """Connect, and disconnect afterwards.

        Raises:
            SettingsError: pypgstac is not installed, or is of another version than the database.
            InvalidParameter: see `PgstacServer.connected`.
            Unavailable: the connection was lost.
        """
        if importlib.util.find_spec("pypgstac") is None:
            raise SettingsError("Writing to a pgstac needs pypgstac: pip install 'graticule[pgstac]'.")
        import pypgstac  # noqa: PLC0415 - an extra
        from pypgstac.db import PgstacDB  # noqa: PLC0415
        from pypgstac.load import Loader  # noqa: PLC0415

        logging.getLogger("pypgstac").setLevel(logging.ERROR)
        with server.connected() as raw:
            database = PgstacDB(pool=_NoPool(), connection=raw)  # type: ignore[arg-type]  # all it calls of a pool
            found = str(database.version)
            if found.split(".")[:2] != pypgstac.__version__.split(".")[:2]:
                raise SettingsError(
                    f"{server.name} is version {found}, pypgstac {pypgstac.__version__}: install that of the database,"
                    f" pip install 'pypgstac[psycopg]=={found}', or bring it up with `pypgstac migrate`."
                )
            yield cls(raw, Loader(db=database), overwrite=overwrite)

    def put_collection(self, collection_id: str, document: bytes) -> Written:
        """Create or replace a collection. If it is refused, none of its items should be written."""
        text = {"document": document.decode()}
        try:
            row = self._raw.execute(_GIVEN_COLLECTION, text).fetchone()
            if row is not None and row[0]:
                return Written(unchanged=1)
            if row is not None and not self._overwrite:
                return Written(refused=[_present(collection_id, collection_id, "Collection")])
            self._raw.execute("SELECT pgstac.upsert_collection(%(document)s::jsonb)", text)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as exc:
            return Written(refused=[_refused(collection_id, collection_id, exc)])
        self._loader.collection_json.cache_clear()  # it remembers how items are stored
        return Written(collections=1)

    def put_items(self, collection_id: str, documents: Sequence[bytes]) -> Written:
        """Write items of a collection that is there. If one is refused, the others are written."""
        written = Written()
        items = []
        for text in documents:
            document = orjson.loads(text)
            try:
                items.append(_Item(document["id"], document, self._loader.format_item(document)))
            except psycopg.Error:
                raise
            except Exception as exc:  # noqa: BLE001 - pypgstac raises just this class
                written.refused.append(_refused(collection_id, document["id"], exc))
        new, other = self._sorted(collection_id, items, written)
        written.add(self._put(collection_id, new, "insert"))
        if self._overwrite:
            replaced = self._put(collection_id, other, "delsert")
            replaced.items, replaced.replaced = 0, replaced.items
            written.add(replaced)
        else:
            written.refused += [_present(collection_id, item.id, "Item") for item in other]
        return written

    def _sorted(self, collection_id: str, items: list[_Item], written: Written) -> tuple[list[_Item], list[_Item]]:
        """Those that are not there, and those that are there otherwise; the same ones are counted."""
        if not items:
            return [], []
        try:
            present = self._present(collection_id, items)
        except (psycopg.DataError, psycopg.InternalError) as exc:
            if len(items) == 1:
                written.refused.append(_refused(collection_id, items[0].id, exc))
                return [], []
            middle = len(items) // 2
            halves = [self._sorted(collection_id, half, written) for half in (items[:middle], items[middle:])]
            return halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]
        new = [item for number, item in enumerate(items, 1) if number not in present]
        other = []
        for number, is_same in sorted(present.items()):
            item = items[number - 1]
            if is_same or self._reads_the_same(collection_id, item):
                written.unchanged += 1
            else:
                other.append(item)
        return new, other

    def _present(self, collection_id: str, items: Sequence[_Item]) -> dict[int, bool]:
        columns = {"contents": "content", "geometries": "geometry", "starts": "datetime", "ends": "end_datetime"}
        given: dict[str, Any] = {name: [item.row[column] for item in items] for name, column in columns.items()}
        given |= {"ids": [item.id for item in items], "collection": collection_id}
        return {number: bool(is_same) for number, is_same in self._raw.execute(_GIVEN_ITEMS, given)}

    def _reads_the_same(self, collection_id: str, item: _Item) -> bool:
        given = {"item": orjson.dumps(item.document).decode(), "collection": collection_id, "id": item.id}
        row = self._raw.execute(_AS_READ, given).fetchone()
        return row is not None and bool(row[0])

    def _put(self, collection_id: str, items: Sequence[_Item], method: str) -> Written:
        if not items:
            return Written()
        from pypgstac.load import Methods  # noqa: PLC0415 - an extra

        try:
            self._loader.load_items(iter([item.document for item in items]), insert_mode=Methods(method))
        except psycopg.OperationalError:
            raise
        except psycopg.Error as exc:
            if len(items) == 1:
                return Written(refused=[_refused(collection_id, items[0].id, exc)])
        else:
            return Written(items=len(items))
        # Some item of the batch: halves are tried until it is found. A half may have been written, in one of several
        # partitions: then its items are there.
        total = Written()
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            total.add(self._put(collection_id, half, "delsert"))
        return total


def _present(collection_id: str, identity: str, kind: str) -> NotTaken:
    message = f"{kind} '{identity}' is there already, with other contents: use --overwrite."
    return NotTaken(collection_id, identity, "Conflict" if kind == "Collection" else "ItemAlreadyExists", message)


def _refused(collection_id: str, identity: str, error: Exception) -> NotTaken:
    reason = (error.diag.message_primary if isinstance(error, psycopg.Error) else None) or str(error)
    message = f"'{identity}': pgstac does not take it: {' '.join(reason.split()):.300}."
    return NotTaken(collection_id, identity, "InvalidInputData", message)
