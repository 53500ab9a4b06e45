"""Declared queryables: which there are, and the index of their values (see `graticule.catalog.values`).

Texts that have an index are found by their words too, so whatever makes or removes an index renews those.

An index is built and removed in slices, each in a transaction of the caller. Meanwhile, and from then on, the index
follows the items as a companion, so a slice only ever adds what was there before it; searches use an index once it is
whole. All that a search or a writer needs to know is read in its own transaction: there is nothing to be out of date.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import orjson

from graticule.catalog.base import IndexProgress
from graticule.catalog.searchable import PreparedItems
from graticule.catalog.sql import words
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.values import BUILT_IN, UNFIT, values_of
from graticule.database import Connection

_COLUMNS: Final = ("coll", "number", "kind", "value", "text", "t", "id", "pk")
_OF_COLLECTION: Final = """
    SELECT q.number, n.name, q.state FROM queryables q JOIN queryable_names n ON n.number = q.number
    WHERE q.coll = :coll AND q.state > 0"""
#: Newest first: what is added meanwhile is mostly newer, and need not be read again.
_UNREAD: Final = """
    SELECT i.pk, i.t, i.id, b.doc FROM items i JOIN documents b ON b.pk = i.pk
    WHERE i.coll = :coll {beyond} ORDER BY i.t DESC, i.id DESC LIMIT :limit"""


class State(IntEnum):
    """Of an index; the value is what the database has."""

    NONE = 0
    BUILDING = 1
    WHOLE = 2
    REMOVING = 3


@dataclass(frozen=True, slots=True)
class Indexed:
    """A name that has an index in some of the collections that are searched."""

    number: int
    colls: frozenset[int]


@dataclass(frozen=True, slots=True)
class Known:
    """What a search has to know of the names that it uses."""

    #: Those that one of the collections declares.
    declared: frozenset[str] = frozenset()
    indexed: Mapping[str, Indexed] = field(default_factory=dict)


def known(tx: Connection, names: Collection[str], colls: Collection[int]) -> Known:
    """What these collections know of these names."""
    if not names:
        return Known()
    binds = {f"n{place}": name for place, name in enumerate(sorted(names))}
    rows = tx.all(
        f"""SELECT n.name, n.number, q.coll, q.state, EXISTS (
            SELECT 1 FROM item_values v WHERE v.coll = q.coll AND v.number = q.number AND v.kind = {UNFIT}) AS unfit
        FROM queryable_names n JOIN queryables q ON q.number = n.number
        WHERE n.name IN ({", ".join(f":{bind}" for bind in binds)}) AND q.declared = 1""",
        binds,
    )
    rows = [row for row in rows if row["coll"] in colls]
    usable: dict[str, set[int]] = {}
    for row in rows:
        if row["state"] == State.WHOLE and not row["unfit"]:
            usable.setdefault(row["name"], set()).add(row["coll"])
    numbers = {row["name"]: row["number"] for row in rows}
    return Known(frozenset(numbers), {name: Indexed(numbers[name], frozenset(found)) for name, found in usable.items()})


# --- declaring -------------------------------------------------------------------------------------------------------


def declare(tx: Connection, coll: int, name: str, *, indexed: bool) -> bool:
    """Declare a name, or change whether it has an index; True where there is work for `work_on`."""
    tx.execute("INSERT INTO queryable_names(name) VALUES (:name) ON CONFLICT (name) DO NOTHING", {"name": name})
    number = tx.value("SELECT number FROM queryable_names WHERE name = :name", {"name": name})
    key = {"coll": coll, "number": number}
    tx.execute(
        "INSERT INTO queryables(coll, number, declared, state) VALUES (:coll, :number, 1, 0)"
        " ON CONFLICT (coll, number) DO UPDATE SET declared = 1",
        key,
    )
    state = tx.value("SELECT state FROM queryables WHERE coll = :coll AND number = :number", key)
    if indexed and name not in BUILT_IN and state in {State.NONE, State.REMOVING}:
        empty = tx.one("SELECT 1 FROM items WHERE coll = :coll LIMIT 1", {"coll": coll}) is None
        # Values that are still being removed have no items any more where the collection is empty.
        _set_state(tx, key, State.WHOLE if empty else State.BUILDING)
        return not empty
    if not indexed and state in {State.BUILDING, State.WHOLE}:
        _set_state(tx, key, State.REMOVING)
        return True
    return False


def withdraw(tx: Connection, coll: int, name: str) -> bool:
    """A name is not declared any more; True where there is work for `work_on`."""
    number = tx.value("SELECT number FROM queryable_names WHERE name = :name", {"name": name})
    key = {"coll": coll, "number": number}
    state = tx.value("SELECT state FROM queryables WHERE coll = :coll AND number = :number", key)
    if state is None or state == State.NONE:
        tx.execute("DELETE FROM queryables WHERE coll = :coll AND number = :number", key)
        return False
    tx.execute("UPDATE queryables SET declared = 0 WHERE coll = :coll AND number = :number", key)
    _set_state(tx, key, State.REMOVING)
    return True


def _set_state(tx: Connection, key: Mapping[str, Any], state: State) -> None:
    tx.execute(
        "UPDATE queryables SET state = :state, reached_t = NULL, reached_id = NULL, read = 0"
        " WHERE coll = :coll AND number = :number",
        {**key, "state": int(state)},
    )


# --- building and removing -------------------------------------------------------------------------------------------


def work_on(tx: Connection, dialect: Dialect, coll: int, name: str, limit: int) -> IndexProgress:
    """One slice: read so many items into an index that is being built, or remove so many rows of one that goes."""
    row = tx.one(
        "SELECT q.* FROM queryables q JOIN queryable_names n ON n.number = q.number WHERE q.coll = :coll"
        " AND n.name = :name",
        {"coll": coll, "name": name},
    )
    total = int(tx.value("SELECT n FROM collstat WHERE coll = :coll", {"coll": coll}) or 0)
    if row is None or row["state"] in {State.NONE, State.WHOLE}:
        return IndexProgress(0, total, ended=True)
    key = {"coll": coll, "number": row["number"]}
    if row["state"] == State.REMOVING:
        return _remove_slice(tx, dialect, key, limit, declared=bool(row["declared"]))
    beyond = "" if row["reached_t"] is None else "AND (i.t, i.id) < (:t, :id)"
    unread = tx.all(
        _UNREAD.format(beyond=beyond), {"coll": coll, "limit": limit, "t": row["reached_t"], "id": row["reached_id"]}
    )
    # Some may be there already: items that came while the index is being built.
    of_name = {"number": row["number"], "pks": dialect.integers(item["pk"] for item in unread)}
    tx.execute(dialect.delete_values_of, of_name)
    read_now = [(one["pk"], one["t"], one["id"], orjson.loads(one["doc"])) for one in unread]
    _insert(tx, coll, {row["number"]: name}, read_now)
    words.renew(tx, dialect, coll, [(pk, item) for pk, _, _, item in read_now], indexed_names(tx, coll).values())
    read = row["read"] + len(unread)
    if len(unread) < limit:
        _set_state(tx, key, State.WHOLE)
        return IndexProgress(read, total, ended=True)
    last = unread[-1]
    tx.execute(
        "UPDATE queryables SET reached_t = :t, reached_id = :id, read = :read WHERE coll = :coll AND number = :number",
        {**key, "t": last["t"], "id": last["id"], "read": read},
    )
    return IndexProgress(read, max(total, read), ended=False)


def _remove_slice(
    tx: Connection, dialect: Dialect, key: Mapping[str, Any], limit: int, *, declared: bool
) -> IndexProgress:
    of_name = "coll = :coll AND number = :number"
    rows = tx.all(
        f"SELECT kind, value, text, t, id, pk FROM item_values WHERE {of_name} LIMIT :limit", {**key, "limit": limit}
    )
    documents = tx.all(dialect.bodies, {"pks": dialect.integers({row["pk"] for row in rows})})
    items = [(row[0], orjson.loads(row[1])) for row in documents]
    words.renew(tx, dialect, key["coll"], items, indexed_names(tx, key["coll"]).values())
    tx.execute_many(
        f"DELETE FROM item_values WHERE {of_name}"
        " AND kind = :kind AND value = :value AND text = :text AND t = :t AND id = :id",
        [{**key, **dict(zip(("kind", "value", "text", "t", "id"), row[:5], strict=True))} for row in rows],
    )
    if len(rows) == limit:
        return IndexProgress(len(rows), None, ended=False)
    if declared:
        _set_state(tx, key, State.NONE)
    else:
        tx.execute(f"DELETE FROM queryables WHERE {of_name}", key)
    return IndexProgress(len(rows), None, ended=True)


def _insert(
    tx: Connection, coll: int, names: Mapping[int, str], items: Iterable[tuple[int, int, str, Mapping[str, Any]]]
) -> None:
    """Add the rows of items, given as (pk, t, id, document)."""
    rows = [
        (coll, number, one.kind, one.value, one.text, t, item_id, pk)
        for pk, t, item_id, document in items
        for number, name in names.items()
        for one in values_of(document, name)
    ]
    if rows:
        tx.insert("item_values", _COLUMNS, rows)


# --- following the items ---------------------------------------------------------------------------------------------


class ValuesAndWords:
    """`companions.Companion`: the index follows the items, and so do their words, which may come from the same names.

    A collection without an index costs a look per batch.
    """

    def added(self, tx: Connection, dialect: Dialect, coll: int, pks: Sequence[int], items: PreparedItems) -> None:
        """See `Companion`."""
        del dialect
        names = indexed_names(tx, coll)
        if names:
            single = zip(pks, items.singly(), strict=True)
            given = ((pk, one.columns.t, one.columns.id, one.item) for pk, one in single)
            _insert(tx, coll, names, given)
        words.add(tx, coll, pks, items, names.values())

    def removed(self, tx: Connection, dialect: Dialect, coll: int, pks: Sequence[int]) -> None:
        """See `Companion`."""
        if tx.one(_OF_COLLECTION, {"coll": coll}) is not None:
            tx.execute(dialect.delete_values, {"pks": dialect.integers(pks)})
        words.remove(tx, dialect, coll, pks)

    def forgotten(self, tx: Connection, coll: int) -> None:
        """See `Companion`; words went with the items."""
        tx.execute("DELETE FROM queryables WHERE coll = :coll", {"coll": coll})


def indexed_names(tx: Connection, coll: int) -> dict[int, str]:
    """The names of a collection that have an index, or get one, by their numbers."""
    return {
        row["number"]: row["name"]
        for row in tx.all(_OF_COLLECTION, {"coll": coll})
        if row["state"] in {State.BUILDING, State.WHOLE}
    }
