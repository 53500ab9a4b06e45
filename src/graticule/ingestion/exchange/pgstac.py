"""A pgstac database as neighbour: how it is reached, and its collections and items, page by page.

Items are read with pgstac's own `content_hydrate`, as its API reads them: so any version that has it is served, and
nothing but psycopg is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from graticule.errors import InvalidParameter, NotFound, Unavailable
from graticule.ingestion.exchange.files import Line, SourceFile

#: Items that one read takes.
_PAGE: Final = 200

_COLLECTION: Final = sql.SQL("SELECT content::text FROM pgstac.collections WHERE id = %(id)s")
_IDS: Final = sql.SQL("SELECT id FROM pgstac.collections WHERE %(only)s::text IS NULL OR id = %(only)s ORDER BY id")
#: The id is unique in a partition only, so the time is part of where a page begins. pgstac keeps no nulls, but STAC
#: wants `datetime` of every item.
_ITEMS: Final = sql.SQL("""
    SELECT id, datetime, CASE WHEN item->'properties' ? 'datetime' THEN item::text
        ELSE jsonb_set(item, '{properties,datetime}', 'null')::text END
    FROM (
        SELECT i.id, i.datetime::text, pgstac.content_hydrate(i) AS item FROM pgstac.items i
        WHERE i.collection = %(collection)s
            AND (%(id)s::text IS NULL OR (i.id, i.datetime) > (%(id)s, %(at)s::timestamptz))
        ORDER BY i.id, i.datetime LIMIT %(page)s
    ) page ORDER BY id, datetime::timestamptz""")


@dataclass(frozen=True)
class PgstacServer:
    """How a pgstac database is reached. Its password is in no message."""

    dsn: str = field(repr=False)

    @property
    def name(self) -> str:
        """How messages call it: ``pgstac at host:port/database``."""
        part = self._parts()
        where = f"{part.get('host') or 'localhost'}:{part.get('port') or 5432}/{part.get('dbname') or part.get('user')}"
        return f"pgstac at {where}"

    def _parts(self) -> dict[str, Any]:
        try:
            return dict(conninfo_to_dict(self.dsn))
        except psycopg.Error:
            # libpq's message repeats what it could not read.
            raise InvalidParameter(
                "The address of the pgstac database cannot be read: write postgresql://USER@HOST:PORT/DATABASE,"
                " and put the password into PGPASSWORD or ~/.pgpass."
            ) from None

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        """A connection without a transaction.

        Raises:
            InvalidParameter: the address cannot be read, nobody answers there, or it is no pgstac.
            Unavailable: the connection was lost: the same may succeed later.
        """
        name = self.name
        try:
            raw = psycopg.connect(self.dsn, autocommit=True, connect_timeout=20, application_name="graticule")
        except psycopg.Error as exc:
            raise InvalidParameter(f"{name} cannot be opened: {self._without_password(exc)}") from None
        try:
            with raw:
                self._prepare(raw)
                yield raw
        except psycopg.errors.InsufficientPrivilege as exc:
            raise InvalidParameter(f"{name}: {self._without_password(exc)}") from exc
        except psycopg.OperationalError as exc:
            raise Unavailable(f"{name} was lost: {self._without_password(exc)} Run the same command again.") from exc

    def _prepare(self, raw: psycopg.Connection) -> None:
        try:
            raw.execute("SELECT FROM pgstac.collections LIMIT 0")
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            raise InvalidParameter(f"{self.name} holds no pgstac: make one with `pypgstac migrate`.") from None
        raw.execute("SET search_path TO pgstac, public")  # pgstac's functions expect it

    def _without_password(self, error: psycopg.Error) -> str:
        text = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".?") + "."
        password = self._parts().get("password")
        return text.replace(str(password), "***") if password else text


# --- reading


class PgstacSource(SourceFile):
    """Collections and items of a pgstac to load; each item that nobody touches meanwhile comes exactly once."""

    def __init__(self, server: PgstacServer, only: str | None = None) -> None:
        """`only`: read this collection alone."""
        super().__init__(None)
        object.__setattr__(self, "_server", server)  # the dataclass is frozen
        object.__setattr__(self, "_only", only)

    _server: PgstacServer
    _only: str | None

    @property
    def name(self) -> str:
        """How messages call it."""
        return self._server.name

    def lines(self, longest: int) -> Iterator[Line]:
        """Every Collection, then its Items by id, numbered in this order. Raises as `PgstacServer.connected`."""
        number = offset = 0
        with self._server.connected() as raw:
            for text in self._documents(raw):
                number += 1
                offset += len(text)
                yield Line(number, text if len(text) <= longest else None, offset)

    def _documents(self, raw: psycopg.Connection) -> Iterator[bytes]:
        only = {"only": self._only}
        names = [name for (name,) in raw.execute(_IDS, only)]
        if self._only is not None and not names:
            raise NotFound(f"{self.name} has no collection '{self._only}'.", target=self._only)
        for name in names:
            for (text,) in raw.execute(_COLLECTION, {"id": name}):
                yield text.encode()
            yield from _items(raw, name)


def _items(raw: psycopg.Connection, collection_id: str) -> Iterator[bytes]:
    after: tuple[str | None, str | None] = (None, None)
    while True:
        place = {"collection": collection_id, "id": after[0], "at": after[1], "page": _PAGE}
        rows = raw.execute(_ITEMS, place).fetchall()
        for _, _, text in rows:
            yield text.encode()
        if len(rows) < _PAGE:
            return
        after = rows[-1][0], rows[-1][1]
