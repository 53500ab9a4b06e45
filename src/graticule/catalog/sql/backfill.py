"""Words of items that were written before the tables of words were there: worked out once, in slices.

Which collections need that is noted by the migration that brought the tables. A slice is a transaction of the caller
and notes how far it came, newest items first: what is added meanwhile has its words already, and need not be read.
"""

from __future__ import annotations

from typing import Final

import orjson

from graticule.catalog.base import IndexProgress
from graticule.catalog.sql import words
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.queryables import indexed_names
from graticule.database import Connection

_WAITING: Final = """
    SELECT c.id FROM word_backfills w JOIN collections c ON c.coll = w.coll
    WHERE w.begun = 0 AND c.deleting = 0 ORDER BY c.coll"""
_UNREAD: Final = """
    SELECT i.pk, i.t, i.id, b.doc FROM items i JOIN documents b ON b.pk = i.pk
    WHERE i.coll = :coll {beyond} ORDER BY i.t DESC, i.id DESC LIMIT :limit"""


def waiting(tx: Connection) -> list[str]:
    """Ids of collections that nobody works on yet."""
    return [row[0] for row in tx.all(_WAITING)]


def mark(tx: Connection, collection_id: str, *, begun: bool) -> None:
    """Somebody works on a collection, or not any more."""
    tx.execute(
        "UPDATE word_backfills SET begun = :begun WHERE coll = (SELECT coll FROM collections WHERE id = :id)",
        {"id": collection_id, "begun": int(begun)},
    )


def work_on(tx: Connection, dialect: Dialect, collection_id: str, limit: int) -> IndexProgress:
    """One slice, over at most `limit` items."""
    row = tx.one(
        "SELECT w.* FROM word_backfills w JOIN collections c ON c.coll = w.coll WHERE c.id = :id", {"id": collection_id}
    )
    if row is None:
        return IndexProgress(0, 0, ended=True)
    coll = row["coll"]
    beyond = "" if row["reached_t"] is None else "AND (i.t, i.id) < (:t, :item)"
    unread = tx.all(
        _UNREAD.format(beyond=beyond), {"coll": coll, "limit": limit, "t": row["reached_t"], "item": row["reached_id"]}
    )
    items = [(one["pk"], orjson.loads(one["doc"])) for one in unread]
    words.renew(tx, dialect, coll, items, indexed_names(tx, coll).values())
    read = row["read"] + len(unread)
    total = max(int(tx.value("SELECT n FROM collstat WHERE coll = :coll", {"coll": coll}) or 0), read)
    if len(unread) < limit:
        tx.execute("DELETE FROM word_backfills WHERE coll = :coll", {"coll": coll})
        return IndexProgress(read, total, ended=True)
    last = unread[-1]
    tx.execute(
        "UPDATE word_backfills SET reached_t = :t, reached_id = :id, read = :read WHERE coll = :coll",
        {"coll": coll, "t": last["t"], "id": last["id"], "read": read},
    )
    return IndexProgress(read, total, ended=False)
