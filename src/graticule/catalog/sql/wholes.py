"""The companion tables behind extents and summaries: facts of every item, and the whole of every collection.

Adding and removing keep the whole in the same transaction, with one row read and one written per batch. What a removal
leaves too wide is worked out again by `refresh`, off the path of writes: bounds from the facts in slices, each a short
read, joined in the end with what was added meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Final, TypeVar

import orjson

from graticule.catalog.cells import Box
from graticule.catalog.searchable import PreparedItems
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.wholes import Bounds, Facts, Kind, Stale, Sums, Whole, keys_of
from graticule.database import Connection, Database

T = TypeVar("T")

#: Facts that one read takes, and documents that one write takes.
_READ_SLICE: Final = 5_000
_WRITE_SLICE: Final = 100

_FACTS: Final = {
    "sqlite": "SELECT pk, facts FROM item_facts WHERE coll = :coll AND pk IN (SELECT value FROM json_each(:pks))",
    "postgresql": "SELECT pk, facts FROM item_facts WHERE coll = :coll AND pk = ANY(:pks::int8[])",
}
_FORGET: Final = {
    "sqlite": "DELETE FROM item_facts WHERE coll = :coll AND pk IN (SELECT value FROM json_each(:pks))",
    "postgresql": "DELETE FROM item_facts WHERE coll = :coll AND pk = ANY(:pks::int8[])",
}
_KEEP: Final = """
    INSERT INTO item_facts(coll, pk, facts) VALUES (:coll, :pk, :facts)
    ON CONFLICT (coll, pk) DO UPDATE SET facts = excluded.facts"""
_NEW: Final = "INSERT INTO collection_facts(coll, keys, whole) VALUES (:coll, :keys, :whole)"
_CHANGE: Final = """
    UPDATE collection_facts SET whole = :whole, since = :since, stale = :stale, keys = :keys WHERE coll = :coll"""


@dataclass(slots=True)
class _Row:
    """The row of a collection."""

    coll: int
    keys: dict[str, Kind]
    whole: Whole
    stale: int
    since: Bounds | None

    def added(self, facts: Facts) -> None:
        self.whole.add(facts)
        if self.since is not None:
            self.since.add(facts)

    def added_sums(self, sums: Sums) -> None:
        self.whole.add_sums(sums)
        if self.since is not None:
            self.since.add_sums(sums)

    def removed(self, facts: Facts) -> None:
        self.stale |= self.whole.remove(facts)
        if self.since is not None:
            # A refresh is under way: it may have seen this item, on a bound that is narrower than the whole's.
            self.stale |= Stale.TIME | Stale.REST
        if self.whole.n == 0:
            self.whole, self.stale = Whole(), 0

    def write(self, tx: Connection) -> None:
        values = {
            "coll": self.coll,
            "keys": orjson.dumps(self.keys),
            "whole": self.whole.dumps(),
            "stale": int(self.stale),
            "since": None if self.since is None else orjson.dumps(self.since.dumps()),
        }
        if not tx.execute(_CHANGE, values):
            tx.execute(_NEW, {name: values[name] for name in ("coll", "keys", "whole")})


class Wholes:
    """The `Companion` that keeps facts and wholes."""

    def added(self, tx: Connection, _dialect: Dialect, coll: int, pks: Sequence[int], items: PreparedItems) -> None:
        """Widen the whole."""
        row = _row(tx, coll)
        sums = items.sums(row.keys)
        row.added_sums(sums)
        tx.insert("item_facts", ("coll", "pk", "facts"), list(zip(repeat(coll), pks, sums.facts, strict=False)))
        row.write(tx)

    def removed(self, tx: Connection, dialect: Dialect, coll: int, pks: Sequence[int]) -> None:
        """Count down, and note what may be too wide."""
        these = {"coll": coll, "pks": dialect.integers(pks)}
        row = _row(tx, coll)
        for _, stored in tx.all(_FACTS[tx.dialect], these):
            row.removed(Facts.read(stored))
        tx.execute(_FORGET[tx.dialect], these)
        row.write(tx)

    def forgotten(self, tx: Connection, coll: int) -> None:
        """Nothing is left of the collection."""
        for table in ("item_facts", "collection_facts"):
            tx.execute(f"DELETE FROM {table} WHERE coll = :coll", {"coll": coll})


def _row(tx: Connection, coll: int) -> _Row:
    """The row, or a new one. Collections are written one at a time: the row of collstat was written before."""
    found = tx.one("SELECT keys, whole, stale, since FROM collection_facts WHERE coll = :coll", {"coll": coll})
    if found is None or found["keys"] is None:
        doc = tx.value("SELECT doc FROM collections WHERE coll = :coll", {"coll": coll})
        keys = keys_of(orjson.loads(doc))
    else:
        keys = orjson.loads(found["keys"])
    if found is None:
        return _Row(coll, keys, Whole(), 0, None)
    since = None if found["since"] is None else Bounds.read(orjson.loads(found["since"]))
    return _Row(coll, keys, Whole.read(found["whole"]), found["stale"], since)


# --- what needs another look ---------------------------------------------------------------------------------------


def take_notice(tx: Connection, coll: int) -> bool:
    """Is there something to refresh that nobody was told of yet? From now on somebody was."""
    sql = "UPDATE collection_facts SET told = 1 WHERE coll = :coll AND told = 0 AND (stale <> 0 OR rebuild <> 0)"
    return tx.execute(sql, {"coll": coll}) > 0


def waiting(tx: Connection) -> list[str]:
    """Ids of the collections that have something to refresh, told or not."""
    rows = tx.all(
        "SELECT c.id FROM collection_facts f JOIN collections c ON c.coll = f.coll"
        " WHERE c.deleting = 0 AND (f.stale <> 0 OR f.rebuild <> 0 OR f.run IS NOT NULL) ORDER BY c.coll"
    )
    return [row[0] for row in rows]


def declare(tx: Connection, coll: int, doc: bytes) -> None:
    """The collection has a new document: if that names other summaries, the facts are made anew."""
    found = tx.one("SELECT keys FROM collection_facts WHERE coll = :coll", {"coll": coll})
    keys = keys_of(orjson.loads(doc))
    if found is None or found["keys"] is None or orjson.loads(found["keys"]) == keys:
        return
    # Facts are written with the old keys until a worker has gone through all of them; each is right by itself.
    tx.execute("UPDATE collection_facts SET rebuild = 1 WHERE coll = :coll AND rebuild = 0", {"coll": coll})


#: Called at the start of every write: raises when the caller has lost the right to go on.
Fence = Callable[[Connection], None]


async def refresh(database: Database, collection_id: str, *, run: int, fence: Fence) -> bool:
    """Work out what is stale; True when something became stale meanwhile, and it is worth coming again.

    Args:
        database: of the catalog.
        collection_id: which; nothing happens if it is gone.
        run: a number that no other refresh has.
        fence: keeps a worker that was taken for dead from writing.
    """

    def fenced(function: Callable[[Connection], T]) -> Awaitable[T]:
        def write(tx: Connection) -> T:
            fence(tx)
            return function(tx)

        return database.write(write)

    started = await fenced(lambda tx: _begin(tx, collection_id, run))
    if started is None:
        return False
    coll, stale, rebuild = started
    if rebuild:
        after = ""
        while (last := await fenced(partial(_rebuild, coll=coll, after=after))) is not None:
            after = last
    if rebuild or stale & Stale.REST:
        bounds = await _bounds(database, coll)
    else:
        bounds = await database.read(lambda tx: _time(tx, coll))
    complete = bool(rebuild) or stale != Stale.TIME
    return await fenced(lambda tx: _finish(tx, coll, run, bounds, rebuilt=bool(rebuild), complete=complete))


def _begin(tx: Connection, collection_id: str, run: int) -> tuple[int, int, int] | None:
    """Note that a refresh begins; what is added from now on is kept apart too."""
    found = tx.one(
        "SELECT f.coll, f.stale, f.rebuild, f.run, c.doc FROM collection_facts f JOIN collections c ON c.coll = f.coll"
        " WHERE c.id = :id AND c.deleting = 0",
        {"id": collection_id},
    )
    if found is None:
        return None
    coll, stale, rebuild = found["coll"], found["stale"], found["rebuild"]
    if found["run"] is not None:  # one that has not ended: what it was to look at is not known any more
        stale = Stale.TIME | Stale.REST
    tx.execute("UPDATE collection_facts SET told = 0, run = NULL, since = NULL WHERE coll = :coll", {"coll": coll})
    if not stale and not rebuild:
        return None
    row = _row(tx, coll)
    row.stale, row.since = 0, Bounds()
    if rebuild:
        row.keys = keys_of(orjson.loads(found["doc"]))
        row.whole.values = {key: counts for key, counts in row.whole.values.items() if row.keys.get(key) == "values"}
        row.whole.bounds.ranges = {
            key: ends for key, ends in row.whole.bounds.ranges.items() if row.keys.get(key) == "range"
        }
    row.write(tx)
    # `told` stays 1 until the end: whatever becomes stale meanwhile is seen there.
    tx.execute("UPDATE collection_facts SET told = 1, run = :run WHERE coll = :coll", {"coll": coll, "run": run})
    return coll, stale, rebuild


def _rebuild(tx: Connection, coll: int, after: str) -> str | None:
    """Make the facts of some items anew, in the order of ids; answers the last id, None at the end."""
    items = tx.all(
        "SELECT i.pk, i.id, i.x0, i.y0, i.x1, i.y1, i.t, i.te, b.doc, f.facts"
        " FROM items i JOIN documents b ON b.pk = i.pk"
        " LEFT JOIN item_facts f ON f.coll = i.coll AND f.pk = i.pk"
        " WHERE i.coll = :coll AND i.id > :after ORDER BY i.id LIMIT :limit",
        {"coll": coll, "after": after, "limit": _WRITE_SLICE},
    )
    if not items:
        return None
    row = _row(tx, coll)
    rows = []
    for item in items:
        box = None if item["x0"] is None else Box(item["x0"], item["y0"], item["x1"], item["y1"])
        facts = Facts.of_row(box, item["t"], item["te"], orjson.loads(item["doc"])["properties"], row.keys)
        if item["facts"] is not None:
            row.whole.remove(Facts.read(item["facts"]))
        row.added(facts)
        rows.append({"coll": coll, "pk": item["pk"], "facts": facts.dumps()})
    tx.execute_many(_KEEP, rows)
    row.write(tx)
    last: str = items[-1]["id"]
    return last


async def _bounds(database: Database, coll: int) -> Bounds:
    """The bounds of all facts, slice by slice, each slice one short read."""
    bounds = Bounds()
    after = -1

    def read(tx: Connection) -> int | None:
        rows = tx.all(
            "SELECT pk, facts FROM item_facts WHERE coll = :coll AND pk > :after ORDER BY pk LIMIT :limit",
            {"coll": coll, "after": after, "limit": _READ_SLICE},
        )
        for _, stored in rows:
            bounds.add(Facts.read(stored))
        return int(rows[-1][0]) if rows else None

    while (last := await database.read(read)) is not None:
        after = last
    return bounds


def _time(tx: Connection, coll: int) -> Bounds:
    """Only begin and end, from the index of times."""
    begin = tx.value("SELECT t FROM items WHERE coll = :coll ORDER BY t, id LIMIT 1", {"coll": coll})
    newest = tx.value("SELECT t FROM items WHERE coll = :coll ORDER BY t DESC, id DESC LIMIT 1", {"coll": coll})
    if newest is None:
        return Bounds()
    # What begins earlier than the newest by more than the longest duration ends before it.
    longest = tx.value("SELECT maxdur FROM collstat WHERE coll = :coll", {"coll": coll}) or 0
    end = tx.value(
        "SELECT max(te) FROM items WHERE coll = :coll AND t >= :low", {"coll": coll, "low": newest - longest}
    )
    return Bounds(begin=begin, end=end)


def _finish(tx: Connection, coll: int, run: int, bounds: Bounds, *, rebuilt: bool, complete: bool) -> bool:
    """Put the bounds in the place of the wide ones; True when something is stale again."""
    found = tx.one("SELECT run, keys FROM collection_facts WHERE coll = :coll", {"coll": coll})
    if found is None or found["run"] != run:
        return False  # the collection is gone, or another refresh has begun
    row = _row(tx, coll)
    if row.since is not None:
        bounds.join(row.since)
    if row.whole.n:
        if not complete:
            ours = row.whole.bounds
            bounds.spans, bounds.south, bounds.north, bounds.ranges = ours.spans, ours.south, ours.north, ours.ranges
        row.whole.bounds = bounds
    row.since = None
    row.write(tx)
    tx.execute("UPDATE collection_facts SET run = NULL WHERE coll = :coll", {"coll": coll})
    doc = tx.value("SELECT doc FROM collections WHERE coll = :coll", {"coll": coll})
    if rebuilt and row.keys == keys_of(orjson.loads(doc)):  # unless it was replaced meanwhile
        tx.execute("UPDATE collection_facts SET rebuild = 0 WHERE coll = :coll", {"coll": coll})
    again = tx.value("SELECT stale <> 0 OR rebuild <> 0 FROM collection_facts WHERE coll = :coll", {"coll": coll})
    tx.execute("UPDATE collection_facts SET told = :told WHERE coll = :coll", {"coll": coll, "told": int(bool(again))})
    return bool(again)
