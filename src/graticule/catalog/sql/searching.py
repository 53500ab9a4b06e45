"""One page of a search: from the question through the plan to the documents."""

from __future__ import annotations

from graticule.catalog.base import ItemPage
from graticule.catalog.planning import Question, find, key_of
from graticule.catalog.regions import Region
from graticule.catalog.sql.candidates import SqlCandidates, statistics_of
from graticule.catalog.sql.dialects import Dialect
from graticule.catalog.tokens import Key, encode_token
from graticule.database import Connection
from graticule.stac.search import Search


def answer(tx: Connection, *, dialect: Dialect, search: Search, after: Key | None) -> ItemPage:
    """The page behind a key; the first one without."""
    question = _question(search)
    collections = statistics_of(tx, search.collections)
    candidates = SqlCandidates(tx, dialect, question)
    # One more than a page holds: whether it exists decides whether there is a next page.
    rows = find(candidates, question, collections, after, search.limit + 1)
    page = rows[: search.limit]
    docs = {row[0]: row[1] for row in tx.all(dialect.bodies, {"pks": dialect.integers(row[3] for row in page)})}
    more = len(rows) > len(page)
    matched = None
    if after is None and not more:
        matched = len(page)
    elif question == Question(None, None, placed=False, start=None, end=None):
        matched = sum(one.n for one in collections)
    token = encode_token(key_of(page[-1])) if more else None
    return ItemPage([docs[row[3]] for row in page], token, matched)


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
