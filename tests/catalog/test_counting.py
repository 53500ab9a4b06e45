"""The number of matches: exact or an estimate near the truth, for no more reading than the page took."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import orjson
import pytest

from graticule.catalog import ItemPage, OnConflict, SqlCatalog, counting
from graticule.database import Connection, Database
from graticule.stac.documents import Item
from graticule.stac.search import parse_search

OpenDatabase = Callable[[str], AbstractContextManager[Database]]

N = 12_000


def _item(rng: random.Random, n: int) -> Item:
    x, y, size = rng.uniform(-75, 74), rng.uniform(-45, 44), rng.choice((0.02, 0.6, 1.0))
    ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
    properties = {
        "datetime": f"20{rng.randrange(10, 20)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 28):02}T00:00:00Z",
        "eo:cloud_cover": rng.randrange(100),
        "n": n,
    }
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": f"{n}", "geometry": geometry, "properties": properties, "collection": "a"}


@pytest.fixture(scope="module", params=["disk", "postgres"])
def filled(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Database]:
    """Items spread evenly over a part of the world and ten years."""
    rng = random.Random(5)
    with open_database(request.param) as database:
        catalog = SqlCatalog(database)
        database.write_now(partial(catalog.add_collection, collection_id="a", doc=b'{"id":"a"}', container="a-1"))
        for first in range(0, N, 1000):
            items = [_item(rng, n) for n in range(first, first + 1000)]
            put = partial(catalog.put_items, collection_id="a", items=items, on_conflict=OnConflict.ERROR)
            database.write_now(put)
        yield database


def search(catalog: SqlCatalog, query: dict[str, Any], **more: Any) -> ItemPage:
    return asyncio.run(catalog.search(parse_search({**query, **more})))


LARGE, HALF = [-40, -30, 20, 20], [-75, -45, 0, 45]
TRIANGLE = {"type": "Polygon", "coordinates": [[[-100, -50], [100, -50], [0, 50], [-100, -50]]]}


@pytest.mark.parametrize(
    ("query", "within"),
    [
        ({"bbox": [-20, -10, 18.9, 28]}, 0.1),  # listed cells
        ({"bbox": LARGE}, 0.35),
        ({"bbox": HALF}, 0.2),
        ({"bbox": [40, -45, -60, 45]}, 0.2),
        ({"bbox": HALF, "datetime": "2012-01-01T00:00:00Z/2014-12-31T00:00:00Z"}, 0.3),
        ({"datetime": "2012-01-01T00:00:00Z/2014-12-31T00:00:00Z"}, 0.1),
        ({"filter": "eo:cloud_cover < 20", "limit": 200}, 0.25),
        ({"filter": "n < 3000", "limit": 200}, 0.25),
        ({"filter": "n < 3000 AND eo:cloud_cover >= 50", "limit": 200, "bbox": HALF}, 0.35),
        ({"filter": "n < 6000", "limit": 200, "bbox": [-40, -10, -5, 30]}, 0.4),
        ({"filter": "eo:cloud_cover < 20", "limit": 200, "datetime": "../2015-12-31T00:00:00Z"}, 0.3),
    ],
)
def test_an_estimate_is_near_the_truth(filled: Database, query: dict[str, Any], within: float) -> None:
    catalog = SqlCatalog(filled)
    page = search(catalog, query)
    truth = len(search(catalog, query, limit=10_000).items)
    assert 250 < truth < 10_000
    assert page.matched is None
    assert page.estimate is not None
    assert abs(page.estimate - truth) <= within * truth


@pytest.mark.parametrize(
    "query", [{"filter": "eo:cloud_cover < 20", "sortby": "id"}, {"filter": "n < 3000", "sortby": "-datetime,id"}]
)
def test_where_nothing_tells_there_is_no_estimate(filled: Database, query: dict[str, Any]) -> None:
    page = search(SqlCatalog(filled), query)
    assert page.next_token is not None
    assert (page.matched, page.estimate) == (None, None)


def test_an_estimate_is_more_than_the_page(filled: Database) -> None:
    page = search(SqlCatalog(filled), {"filter": "n = 5 OR n > 11990", "limit": 2})
    assert page.next_token is not None
    assert page.matched is not None or (page.estimate or 0) > 2


@pytest.mark.parametrize("query", [{"bbox": LARGE}, {"bbox": HALF}, {"intersects": TRIANGLE}, {"filter": "n < 3000"}])
def test_an_estimate_reads_few_rows(filled: Database, query: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One row per statement, and no more statements than a page takes: the second page has no estimate."""
    catalog = SqlCatalog(filled)
    search(catalog, {"bbox": [-80, -50, 80, 50]})  # counts of blocks are remembered
    read: list[int] = []
    kind = type(filled.read_now(lambda tx: tx))

    for name in ("all", "one"):
        real = getattr(kind, name)

        def counted(self: Connection, *args: Any, real: Any = real, name: str = name) -> Any:
            answer = real(self, *args)
            read.append(len(answer) if name == "all" else 1)
            return answer

        monkeypatch.setattr(kind, name, counted)
    first = search(catalog, query)
    with_estimate = list(read)
    read.clear()
    search(catalog, query, token=first.next_token)
    assert first.estimate is not None
    assert len(with_estimate) - len(read) <= 3
    assert sum(with_estimate) - sum(read) <= 60


def test_pages_cost_the_same_at_any_depth(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows read for a page near the end are no more than for one near the beginning."""
    catalog = SqlCatalog(filled)
    read: list[int] = []
    kind = type(filled.read_now(lambda tx: tx))
    real = kind.all

    def counted(self: Any, *args: Any) -> Any:
        answer = real(self, *args)
        read.append(len(answer))
        return answer

    monkeypatch.setattr(kind, "all", counted)
    for query in ({}, {"bbox": HALF}, {"sortby": "eo:cloud_cover"}):
        costs, token, seen = [], None, 0
        while True:
            read.clear()
            page = search(catalog, {**query, "limit": 40, "token": token})
            seen += len(page.items)
            costs.append((len(read), sum(read)))
            token = page.next_token
            if token is None:
                break
        assert len(costs) > 150, seen
        early, late = costs[1:31], costs[-32:-2]
        assert max(rows for _, rows in late) <= 1.5 * max(rows for _, rows in early) + 20
        assert max(statements for statements, _ in late) <= max(statements for statements, _ in early) + 2


def test_documents_come_as_they_are(filled: Database) -> None:
    assert orjson.loads(search(SqlCatalog(filled), {"ids": ["7"]}).items[0])["properties"]["n"] == 7


def test_candidates_that_turn_out_to_be_many_change_neither_page_nor_number(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = SqlCatalog(filled)
    for query in ({"bbox": [-10, -10, -4, -4]}, {"bbox": [-10, -10, 2, 2], "datetime": "2015-01-01T00:00:00Z/.."}):
        page = search(catalog, query)
        assert page.matched is not None
        assert page.matched > 10
        with monkeypatch.context() as patched:
            patched.setattr(counting, "_MOST_CANDIDATES", 5)
            many = search(catalog, query)
        assert (many.items, many.next_token, many.matched) == (page.items, page.next_token, page.matched)
