"""A question in free text as a condition on candidates.

Every candidate's text is looked up by its key. Where a question needs a rare word, the items that have it are looked up
first, and the search goes on as one for their ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from graticule.catalog.narrowing import Narrowing
from graticule.catalog.planning import CollectionStatistics
from graticule.catalog.sql.filtering import Conditions
from graticule.catalog.sql.words import INDEXED
from graticule.database import Connection
from graticule.stac.free_text import All, AnyOf, Not, Phrase, TextQuery, found_in, needle

#: As many items are looked up by their words, and more where there are very many to walk past: a look-up costs 25 µs,
#: a candidate on the way 1 µs, and a word that more items have is usually met soon.
_FEW_ITEMS: Final = 2_000
_FEW_OF_MANY: Final = 500
_MOST_ITEMS: Final = 10_000
#: As many ids are looked up, collections times ids.
_FEW_LOOKUPS: Final = 20_000
#: As many collections are named to the index of words.
_NAMED: Final = 50


@dataclass(frozen=True, slots=True)
class TextCondition:
    """A question as what candidates must meet."""

    #: Begins with AND.
    where: str
    values: Mapping[str, Any]
    #: Where few items can match: their ids, and the numbers of their collections.
    ids: tuple[str, ...] | None
    colls: frozenset[int] | None


def text_condition(tx: Connection, query: TextQuery, colls: Sequence[int], items: int = 0) -> TextCondition:
    """The condition of a question over these collections, which have so many items."""
    compiler = _Compiler()
    holds = compiler.write(query)
    # Items without text have no row. A value and no EXISTS, which PostgreSQL might answer by reading all texts first.
    otherwise = "(1 = 1)" if found_in(query, "") else "(1 = 0)"
    where = f" AND coalesce((SELECT {holds} FROM item_texts x WHERE x.pk = i.pk), {otherwise})"
    few = max(_FEW_ITEMS, min(items // _FEW_OF_MANY, _MOST_ITEMS))
    needed = _needed(tx, query, colls, few)
    if needed is None:
        return TextCondition(where, compiler.values, None, None)
    words = {f"w{n}": word for n, word in enumerate(sorted(needed))}
    having_one = f"SELECT w.pk FROM item_words w WHERE w.word IN ({_bound(words)}) AND {_among(colls)}"
    found = tx.all(
        f"""
        SELECT i.id, i.coll FROM items i JOIN item_texts x ON x.pk = i.pk
        WHERE i.pk IN ({having_one}) AND {holds}""",
        {**words, **compiler.values},
    )
    ids, having = {row[0] for row in found}, frozenset(row[1] for row in found)
    if len(ids) * len(having) > _FEW_LOOKUPS:
        return TextCondition(where, compiler.values, None, having)
    return TextCondition(where, compiler.values, tuple(sorted(ids)), having)


def with_text(
    tx: Connection,
    query: TextQuery,
    narrowing: Narrowing,
    conditions: Conditions,
    collections: list[CollectionStatistics],
) -> tuple[Conditions, list[CollectionStatistics]]:
    """What candidates must meet, and where they can be, with a question beside; `narrowing` may get ids to look up."""
    found = text_condition(tx, query, [one.coll for one in collections], sum(one.n for one in collections))
    conditions = replace(conditions, where=conditions.where + found.where, values={**conditions.values, **found.values})
    if found.ids is not None:
        wanted = set(found.ids)
        narrowing.ids = found.ids if narrowing.ids is None else tuple(one for one in narrowing.ids if one in wanted)
    if found.colls is not None:
        collections = [one for one in collections if one.coll in found.colls]
    return conditions, collections


class _Compiler:
    """Writes a question over the column ``x.text``."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def write(self, query: TextQuery) -> str:
        match query:
            case Phrase(words):
                name = f"q{len(self.values)}"
                self.values[name] = f"%{needle(words)}%"  # words hold neither % nor _ nor backslashes
                return f"x.text LIKE :{name}"
            case Not(part):
                return f"(NOT {self.write(part)})"
            case All(parts):
                return f"({' AND '.join(map(self.write, parts))})"
            case AnyOf(parts):
                return f"({' OR '.join(map(self.write, parts))})"


def _needed(tx: Connection, query: TextQuery, colls: Sequence[int], most: int) -> frozenset[str] | None:
    """Words of which every match has at least one, if at most so many items have them."""
    best: frozenset[str] | None = None
    for words in _covers(query):
        names = {f"w{n}": word for n, word in enumerate(sorted(words))}
        sql = f"""
            SELECT count(*) FROM (SELECT 1 FROM item_words w
            WHERE w.word IN ({_bound(names)}) AND {_among(colls)} LIMIT :most) counted"""
        count = int(tx.value(sql, {**names, "most": most + 1}))
        if count <= most:
            best, most = words, count
    return best


def _covers(query: TextQuery) -> list[frozenset[str]]:
    """Sets of words (their indexed part): every match has a word of each."""
    match query:
        case Phrase(words):
            return [frozenset({word[:INDEXED]}) for word in dict.fromkeys(words)]
        case All(parts):
            return [cover for part in parts for cover in _covers(part)]
        case AnyOf(parts):
            covers = [_covers(part) for part in parts]
            # The longest word of an alternative is probably its rarest.
            return [frozenset().union(*(max(one, key=_length) for one in covers))] if all(covers) else []
        case Not():
            return []


def _length(words: frozenset[str]) -> float:
    return sum(map(len, words)) / len(words) ** 2


def _among(colls: Sequence[int]) -> str:
    # Numbers of our own; a list of hundreds would only keep the index from being used to its full depth.
    return f"w.coll IN ({', '.join(map(str, colls))})" if 0 < len(colls) <= _NAMED else "1 = 1"


def _bound(names: Mapping[str, str]) -> str:
    return ", ".join(f":{name}" for name in names)
