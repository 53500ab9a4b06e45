"""One page of a search: from the question through the plan to the documents."""

from __future__ import annotations

from collections.abc import Sequence

from graticule.catalog.base import ItemPage
from graticule.catalog.counting import count
from graticule.catalog.planning import CollectionStatistics, Question, Row, find, key_of
from graticule.catalog.regions import Region
from graticule.catalog.sorting import find_sorted, order_of, place_of
from graticule.catalog.sql.candidates import SqlCandidates, statistics_of
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.sql.ordering import SqlSortedCandidates, components_of
from graticule.catalog.tokens import decode_token, encode_token
from graticule.database import Connection
from graticule.stac.search import Search


def answer(tx: Connection, *, dialect: Dialect, search: Search) -> ItemPage:
    """The page that a search asks for."""
    question = _question(search)
    collections = statistics_of(tx, search.collections)
    rows, token = _page(tx, dialect, search, question, collections)
    docs = {row[0]: row[1] for row in tx.all(dialect.bodies, {"pks": dialect.integers(row[3] for row in rows)})}
    matched, estimate = None, None
    if search.token is None and token is None:
        matched = len(rows)
    elif question == Question(None, None, placed=False, start=None, end=None):
        matched = sum(one.n for one in collections)
    elif search.token is None:
        matched, estimate = count(SqlCandidates(tx, dialect, question), question, collections)
    return ItemPage([docs[row[3]] for row in rows], token, matched, estimate)


def _page(
    tx: Connection, dialect: Dialect, search: Search, question: Question, collections: Sequence[CollectionStatistics]
) -> tuple[list[Row], str | None]:
    """The rows of the page, and the token of the next."""
    # One more than a page holds: whether it exists decides whether there is a next page.
    wanted = search.limit + 1
    order = order_of(search.sortby)
    if order is None:
        after = None if search.token is None else decode_token(search.token)[0]
        rows = find(SqlCandidates(tx, dialect, question), question, collections, after, wanted)
    else:
        components = components_of(order, dialect)
        place = None
        if search.token is not None:
            key, values = decode_token(search.token, order.text, [one.type for one in components])
            place = (*values, *key)
        source = SqlSortedCandidates(tx, dialect, question, order, components)
        rows = find_sorted(source, question, collections, order, place, wanted)
    page = rows[: search.limit]
    if len(rows) == len(page):
        return page, None
    last = page[-1]
    return page, encode_token(key_of(last), order.text if order else "", place_of(last)[:-3] if order else ())


def _question(search: Search) -> Question:
    region = None
    if search.bbox is not None:
        region = Region.of_bbox(search.bbox)
    elif search.intersects is not None:
        region = Region.of_shape(search.intersects)
    world = region is not None and region.is_world
    return Question(
        ids=search.ids,
        region=None if world else region,
        placed=region is not None,
        start=search.datetime.start if search.datetime else None,
        end=search.datetime.end if search.datetime else None,
    )
