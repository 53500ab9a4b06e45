"""Tables that follow the items: what is derived from them and kept in the same transaction.

A companion is told of every item that is added or removed, a batch at a time, after the item rows are written. An item
that is replaced is removed and added. `COMPANIONS` lists them in the order in which all writers touch them: where
several write at once (PostgreSQL), they then wait for each other instead of locking up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from graticule.catalog.searchable import PreparedItems
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.queryables import ValuesAndWords
from graticule.catalog.sql.wholes import Wholes
from graticule.database import Connection


class Companion(Protocol):
    """One table, or a few, that follow the items of a collection."""

    def added(self, tx: Connection, dialect: Dialect, coll: int, pks: Sequence[int], items: PreparedItems) -> None:
        """These items were added under these keys."""
        ...

    def removed(self, tx: Connection, dialect: Dialect, coll: int, pks: Sequence[int]) -> None:
        """The items of these keys were removed; their rows are gone already."""
        ...

    def forgotten(self, tx: Connection, coll: int) -> None:
        """The collection, which has no items any more, was forgotten."""
        ...


COMPANIONS: Final[tuple[Companion, ...]] = (ValuesAndWords(), Wholes())
