"""Paging against a model, while items are added, replaced and deleted between the pages.

What is there from the first page to the last comes exactly once, in order; what comes or goes meanwhile comes at most
once; and nothing comes that never matched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graticule.catalog import OnConflict, SqlCatalog
from graticule.database import Database
from graticule.stac.documents import Item
from graticule.stac.search import parse_search

OpenDatabase = Callable[[str], AbstractContextManager[Database]]

COLLECTIONS = ("a", "b")


@dataclass(frozen=True)
class Thing:
    """An item of the model: few values each, so that ties and replacements are common."""

    collection: str
    id: str
    day: int
    #: Of a point on the equator, degrees; None: no geometry.
    x: int | None
    cloud: int | None

    @property
    def name(self) -> tuple[str, str]:
        return self.collection, self.id

    @property
    def item(self) -> Item:
        properties: dict[str, Any] = {"datetime": f"2020-01-{self.day:02}T00:00:00Z", "odd": self.day % 2 == 1}
        if self.cloud is not None:
            properties["eo:cloud_cover"] = self.cloud
        geometry = None if self.x is None else {"type": "Point", "coordinates": [self.x, 0]}
        return {
            "type": "Feature", "id": self.id, "geometry": geometry, "properties": properties,
            "collection": self.collection,
        }  # fmt: skip


@dataclass(frozen=True)
class Query:
    """A search, and what it means in the model."""

    parameters: dict[str, Any]
    matches: Callable[[Thing], bool]
    #: The sort key, whose order is that of the search.
    key: Callable[[Thing], Any]


def newest(thing: Thing) -> Any:
    return -thing.day, [-ord(c) for c in thing.id], -COLLECTIONS.index(thing.collection)


def by_cloud(thing: Thing) -> Any:
    """Ascending, those without a value last; ties as the catalog's own order says."""
    return thing.cloud is None, thing.cloud or 0


QUERIES = (
    Query({}, lambda _: True, newest),
    Query({"collections": ["b"]}, lambda t: t.collection == "b", newest),
    Query({"bbox": [3, -1, 12, 1]}, lambda t: t.x is not None and 3 <= t.x <= 12, newest),
    Query({"bbox": [-100, -50, 5, 50]}, lambda t: t.x is not None and t.x <= 5, newest),  # a large area
    Query({"datetime": "2020-01-03T00:00:00Z/2020-01-07T00:00:00Z"}, lambda t: 3 <= t.day <= 7, newest),
    Query({"filter": "odd = true"}, lambda t: t.day % 2 == 1, newest),
    Query({"filter": "eo:cloud_cover < 3"}, lambda t: t.cloud is not None and t.cloud < 3, newest),
    Query({"sortby": "eo:cloud_cover"}, lambda _: True, by_cloud),
    Query({"sortby": "eo:cloud_cover", "bbox": [0, -1, 9, 1]}, lambda t: t.x is not None and t.x <= 9, by_cloud),
)

things = st.builds(
    Thing,
    collection=st.sampled_from(COLLECTIONS),
    id=st.sampled_from([f"{n:02}" for n in range(25)]),
    day=st.integers(1, 9),
    x=st.one_of(st.none(), st.integers(0, 15)),
    cloud=st.one_of(st.none(), st.integers(0, 5)),
)
names = st.tuples(st.sampled_from(COLLECTIONS), st.sampled_from([f"{n:02}" for n in range(25)]))
#: What happens between two pages: items that are put, and names whose items are deleted.
steps = st.tuples(st.lists(things, max_size=4), st.lists(names, max_size=4))


@pytest.fixture(scope="module", params=["memory", "disk", "postgres"])
def paged(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Any:
    with open_database(request.param) as database:
        catalog = SqlCatalog(database)
        for name in COLLECTIONS:
            doc = orjson.dumps({"id": name})
            database.write_now(partial(catalog.add_collection, collection_id=name, doc=doc, container=f"{name}-1"))
        yield database, catalog


def put(database: Database, catalog: SqlCatalog, some: list[Thing]) -> None:
    for name in COLLECTIONS:
        items = [thing.item for thing in some if thing.collection == name]
        database.write_now(partial(catalog.put_items, collection_id=name, items=items, on_conflict=OnConflict.REPLACE))


def delete(database: Database, catalog: SqlCatalog, name: tuple[str, str]) -> None:
    database.write_now(partial(catalog.remove_item, collection_id=name[0], item_id=name[1]))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    first=st.lists(things, max_size=40),
    between=st.lists(steps, max_size=12),
    query=st.sampled_from(QUERIES),
    limit=st.sampled_from([1, 2, 3, 7]),
)
def test_what_stays_comes_exactly_once_and_in_order(
    paged: tuple[Database, SqlCatalog], first: list[Thing], between: list[Any], query: Query, limit: int
) -> None:
    database, catalog = paged
    for name in COLLECTIONS:
        database.write_now(partial(catalog.remove_items, collection_id=name, limit=1_000))
    there = {thing.name: thing for thing in first}
    put(database, catalog, first)
    stayed = dict(there)
    ever = set(there.values())
    came: list[Thing] = []
    token: str | None = None
    happening = iter(between)
    for _ in range(200):
        page = asyncio.run(catalog.search(parse_search({**query.parameters, "limit": limit, "token": token})))
        assert len(page.items) <= limit
        came += [there[_name(document)] for document in page.items]
        token = page.next_token
        if token is None:
            break
        added, removed = next(happening, ([], []))
        put(database, catalog, added)
        for thing in added:
            if there.get(thing.name) != thing:
                stayed.pop(thing.name, None)
            there[thing.name] = thing
            ever.add(thing)
        for name in removed:
            delete(database, catalog, name)
            there.pop(name, None)
            stayed.pop(name, None)
    else:
        pytest.fail("The pages do not end.")
    assert all(query.matches(thing) for thing in came)
    assert len(came) == len(set(came))
    kept = [thing for thing in came if stayed.get(thing.name) == thing]
    assert set(kept) == {thing for thing in stayed.values() if query.matches(thing)}
    keys = [query.key(thing) for thing in came]
    assert keys == sorted(keys)
    if not between:
        assert page.matched in {None, len(came)} or page.matched == sum(map(query.matches, there.values()))


def _name(document: bytes) -> tuple[str, str]:
    parsed = orjson.loads(document)
    return parsed["collection"], parsed["id"]
