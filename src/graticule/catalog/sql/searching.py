"""One page of a search: from the question through the plan to the documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from graticule.catalog.base import ItemPage
from graticule.catalog.counting import count
from graticule.catalog.narrowing import Narrowing
from graticule.catalog.planning import CollectionStatistics, Question, Row, Scan, find, key_of
from graticule.catalog.sorting import Order, Place, find_sorted, order_of, place_of
from graticule.catalog.sql.candidates import SqlCandidates, statistics_of
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.filtering import Conditions, compile_filter
from graticule.catalog.sql.ordering import SqlSortedCandidates, components_of
from graticule.catalog.tokens import decode_token, encode_token
from graticule.database import Connection
from graticule.stac.search import Search

#: Documents of a page that are read without knowing how large they are.
_FIRST_DOCUMENTS: Final = 100


def answer(
    tx: Connection, *, dialect: Dialect, search: Search, scan_limit: int, page_bytes: int = 20_000_000
) -> ItemPage:
    """The page that a search asks for; it ends early, but with an item, before its items have more than `page_bytes`.

    Raises:
        ReadStopped: the read's limit is over, and nothing was found to go on from.
    """
    narrowing = Narrowing(search)
    conditions = _conditions(tx, narrowing)
    question = _question(narrowing, conditions)
    collections = statistics_of(tx, narrowing.collections)
    candidates = SqlCandidates(tx, dialect, question, conditions)
    source = _Source(tx, dialect, question, conditions, collections, candidates)
    scan = Scan(scan_limit)
    rows, token = source.page(search, scan)
    stopped = tx.limit is not None and tx.limit.is_over()
    if tx.limit is not None:
        tx.limit.extend()  # what was found is read to the end
    docs = _documents(tx, dialect, rows, page_bytes)
    matched, estimate = None, None
    if search.token is None and token is None:
        matched = len(rows)
    elif question == Question(None, None, placed=False, start=None, end=None):
        matched = sum(one.n for one in collections)
    elif search.token is None and not stopped:
        newest = order_of(search.sortby) is None
        matched, estimate = count(candidates, question, collections, rows if newest else None)
    if len(docs) < len(rows):
        token = source.token(search, rows[len(docs) - 1])
    return ItemPage(docs, token, matched, estimate)


def _documents(tx: Connection, dialect: Dialect, rows: Sequence[Row], most: int) -> list[bytes]:
    """The documents of the first rows, as many as fit into `most` bytes, and at least one."""
    docs: list[bytes] = []
    size, step = 0, _FIRST_DOCUMENTS
    while len(docs) < len(rows):
        pks = [row[3] for row in rows[len(docs) : len(docs) + step]]
        found = {row[0]: row[1] for row in tx.all(dialect.bodies, {"pks": dialect.integers(pks)})}
        for pk in pks:
            size += len(found[pk])
            if size > most and docs:
                return docs
            docs.append(found[pk])
        step = max((most - size) * len(docs) // size, 1)
    return docs


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the rows of a page come from."""

    tx: Connection
    dialect: Dialect
    question: Question
    conditions: Conditions
    collections: Sequence[CollectionStatistics]
    candidates: SqlCandidates

    def page(self, search: Search, scan: Scan) -> tuple[list[Row], str | None]:
        """The rows of the page, and the token of the next."""
        order = order_of(search.sortby)
        # One more than a page holds: whether it exists decides whether there is a next page.
        wanted = search.limit + 1
        rows = self._newest(search, wanted, scan) if order is None else self._sorted(search, order, wanted, scan)
        last = rows[search.limit - 1] if len(rows) > search.limit else scan.last
        return rows[: search.limit], None if last is None else self.token(search, last)

    def token(self, search: Search, last: Row) -> str:
        """The token of the page behind a row."""
        order = order_of(search.sortby)
        if order is None:
            return encode_token(key_of(last))
        return encode_token(key_of(last), order.text, place_of(last)[:-3])

    def _newest(self, search: Search, wanted: int, scan: Scan) -> list[Row]:
        after = None if search.token is None else decode_token(search.token)[0]
        return find(self.candidates, self.question, self.collections, after, wanted, scan)

    def _sorted(self, search: Search, order: Order, wanted: int, scan: Scan) -> list[Row]:
        components = components_of(order, self.dialect)
        after: Place | None = None
        if search.token is not None:
            key, values = decode_token(search.token, order.text, [one.type for one in components])
            after = (*values, *key)
        source = SqlSortedCandidates(self.tx, self.dialect, self.question, self.conditions, order, components)
        return find_sorted(source, self.question, self.collections, order, after, wanted, scan)


def _conditions(tx: Connection, narrowing: Narrowing) -> Conditions:
    if not narrowing.left:
        return Conditions("", {}, None)
    numbers = {row[0]: row[1] for row in tx.all("SELECT id, coll FROM collections")}
    return compile_filter(narrowing.left, numbers)


def _question(narrowing: Narrowing, conditions: Conditions) -> Question:
    region = narrowing.region
    world = region is not None and region.is_world
    return Question(
        ids=narrowing.ids,
        region=None if world else region,
        placed=region is not None,
        start=narrowing.start,
        end=narrowing.end,
        by_column=bool(conditions.where),
        by_document=conditions.residual is not None,
    )
