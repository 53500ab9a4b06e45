"""Sorted searches against brute force, paged to the end by every way of the plan; and tokens of other orders."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cmp_to_key, partial
from typing import Any

import orjson
import pytest

from catalog.test_search import (
    COLLECTIONS,
    START,
    BruteForce,
    Loaded,
    explained,
    make_world,
    random_query,
    text,
    vacuum,
)
from graticule.catalog import OnConflict, SqlCatalog
from graticule.catalog import sorting as plan
from graticule.catalog.sql.dialects import dialect_of
from graticule.database import Database
from graticule.errors import InvalidParameter
from graticule.stac.cql2.evaluation import Filter
from graticule.stac.search import parse_search

OpenDatabase = Callable[[str], AbstractContextManager[Database]]
MIXED: tuple[Any, ...] = (None, 1, 2.5, -3, 1e12, True, False, "", "a", "B", "é", "\U0001f600", "12", [1], {"x": 1}, [])
FIELDS = (
    "eo:cloud_cover", "datetime", "id", "collection", "platform", "mixed", "properties.mixed", "deep.er.value",
    "properties.eo:cloud_cover", "created", "nowhere", 'name with \'quotes" left out'.replace('"', ""),
)  # fmt: skip


def decorate(rng: random.Random, documents: dict[str, list[dict[str, Any]]]) -> None:
    """Properties to sort by: some missing, many equal, some of a type that does not fit."""
    for name, items in documents.items():
        for item in items:
            properties = item["properties"]
            if name != "points" and rng.random() < 0.8:
                properties["eo:cloud_cover"] = rng.choice(
                    (0, 0, 0.0, rng.randrange(100), rng.uniform(0, 100), "9", None)
                )
            if rng.random() < 0.7:
                properties["platform"] = rng.choice(("sentinel-2a", "sentinel-2b", "Landsat", "", 5, None))
            if rng.random() < 0.8:
                properties["mixed"] = rng.choice(MIXED)
            properties["deep"] = rng.choice(({"er": {"value": rng.randrange(4)}}, {"er": 4}, [], None))
            properties["created"] = text(START + rng.randrange(1000))
            properties["name with 'quotes left out"] = rng.randrange(3)


@pytest.fixture(scope="module", params=["memory", "postgres"])
def loaded(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Loaded]:
    with open_database(request.param) as database:
        yield load(database)


def load(database: Database) -> Loaded:
    catalog = SqlCatalog(database)
    world = make_world(random.Random(11))
    decorate(random.Random(12), world.documents)
    for name in COLLECTIONS:
        database.write_now(partial(catalog.add_collection, collection_id=name, doc=b"{}", container=name))
        items: list[Any] = world.documents[name]
        database.write_now(partial(catalog.put_items, collection_id=name, items=items, on_conflict=OnConflict.ERROR))
    vacuum(database)
    return Loaded(catalog, database, world)


def value_of(item: dict[str, Any], key: tuple[int, str, int], name: str) -> tuple[int, Any] | None:  # noqa: PLR0911 - one per kind
    """Kind and value, None when there is none to compare."""
    path = name.removeprefix("properties.")
    if path == "datetime":
        return 0, key[0]
    if name == "id":
        return 1, key[1]
    if name == "collection":
        return 1, COLLECTIONS[key[2] - 1]
    value: Any = item["properties"]
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if path == "eo:cloud_cover" and type(value) not in (int, float):
        return None
    if path == "platform" and not isinstance(value, str):
        return None
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, int | float):
        return 0, float(value)
    return (1, value) if isinstance(value, str) else None


class Sorter:
    """The order, written down once more and plainly."""

    def __init__(self, loaded: Loaded) -> None:
        documents = [item for name in COLLECTIONS for item in loaded.world.documents[name]]
        keys = loaded.world.keys
        by_key = {(COLLECTIONS[key[2] - 1], key[1]): key for key in keys}
        order = [(name, item["id"]) for name in COLLECTIONS for item in loaded.world.documents[name]]
        self.items = {by_key[place]: item for place, item in zip(order, documents, strict=True)}
        self.keys = {(key[2], key[1]): key for key in keys}

    def sort(self, found: list[tuple[int, str]], sortby: list[tuple[str, bool]]) -> list[str]:
        keys = [self.keys[one] for one in found]
        once: dict[str, tuple[str, bool]] = {}  # named twice, a property counts where it is named first
        for name, descending in sortby:
            once.setdefault(name.removeprefix("properties."), (name, descending))
        sortby = list(once.values())
        names = [name for name, _ in sortby]
        values = {key: [value_of(self.items[key], key, name) for name in names] for key in keys}

        def compare(a: tuple[int, str, int], b: tuple[int, str, int]) -> int:
            for (_, descending), left, right in zip(sortby, values[a], values[b], strict=True):
                if left is None or right is None:
                    if (left is None) != (right is None):
                        return 1 if left is None else -1
                elif left != right:
                    return -1 if (left < right) != descending else 1
            return -1 if (a < b) != sortby[-1][1] else 1

        return [key[1] for key in sorted(keys, key=cmp_to_key(compare))]


def as_parameter(sortby: list[tuple[str, bool]], *, in_body: bool) -> Any:
    if in_body:
        return [{"field": name, "direction": "desc" if down else "asc"} for name, down in sortby]
    return ",".join(("-" if down else "+") + name for name, down in sortby)


async def all_pages(catalog: SqlCatalog, query: dict[str, Any], most: int) -> list[str]:
    found: list[str] = []
    token = None
    while True:
        page = await catalog.search(parse_search({**query, "token": token}))
        found += [orjson.loads(doc)["id"] for doc in page.items]
        if page.next_token is None or len(found) >= most:
            return found
        assert len(page.items) == query["limit"]
        token = page.next_token


@pytest.mark.parametrize("few", [0, 200, 20_000])
async def test_a_sorted_search_finds_what_brute_force_finds_in_the_same_order(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(plan, "_FEW", few)
    rng = random.Random(few)
    brute, sorter = BruteForce(loaded.world), Sorter(loaded)
    for n in range(40):
        query = random_query(rng, loaded.world)
        if query["limit"] < 10:
            query["limit"] = 40
        count = 1 if n % 2 else rng.choice((2, 3))
        names = rng.sample(FIELDS[:5] if n % 3 == 0 else FIELDS, count)
        sortby = [(name, rng.random() < 0.5) for name in names]
        query["sortby"] = as_parameter(sortby, in_body=rng.random() < 0.5)
        expected = sorter.sort(brute.find(query), sortby)
        if sortby == [("datetime", True)]:
            assert expected == [item_id for _, item_id in brute.find(query)]
        most = min(len(expected) + 1, query["limit"] * 25)
        found = await all_pages(loaded.catalog, query, most)
        assert found == (expected if len(found) < most else expected[: len(found)]), query


@pytest.mark.parametrize("name", ["eo:cloud_cover", "datetime", "id", "platform"])
@pytest.mark.parametrize("down", [False, True])
async def test_an_index_is_walked_to_the_end_missing_values_included(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, name: str, *, down: bool
) -> None:
    monkeypatch.setattr(plan, "_FEW", 0)
    sorter = Sorter(loaded)
    everything = BruteForce(loaded.world).find({})
    query = {"sortby": as_parameter([(name, down)], in_body=True), "limit": 97}
    assert await all_pages(loaded.catalog, query, 10_000) == sorter.sort(everything, [(name, down)])


CONDITIONS: tuple[dict[str, Any], ...] = (
    {"eo:cloud_cover": {"lt": 50}},
    {"mixed": {"in": [1, "a", True]}},
    {"mixed": {"isNull": False}, "platform": {"startsWith": "sentinel"}},
    {"eo:cloud_cover": {"gte": 10}, "deep.er.value": {"neq": 2}, "id": {"gt": "d"}},
)


@pytest.mark.parametrize("few", [0, 20_000])
@pytest.mark.parametrize("scan_limit", [30, 100_000])
async def test_a_sorted_search_with_conditions_finds_what_brute_force_finds(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, few: int, scan_limit: int
) -> None:
    """Pages may be short where the documents of a page would be too many; together they are complete."""
    monkeypatch.setattr(plan, "_FEW", few)
    rng = random.Random(few + scan_limit)
    catalog = SqlCatalog(loaded.database, scan_limit=scan_limit)
    brute, sorter = BruteForce(loaded.world), Sorter(loaded)
    for _ in range(16 if loaded.database.dialect == "sqlite" else 4):  # a server takes its time over short pages
        search = {**random_query(rng, loaded.world), "query": rng.choice(CONDITIONS), "limit": rng.choice((10, 300))}
        found = brute.find(search)
        condition = parse_search(search).filter
        assert condition is not None
        holds = Filter(condition)
        matching = [
            (coll, item_id)
            for coll, item_id in found
            if holds(sorter.items[sorter.keys[coll, item_id]], COLLECTIONS[coll - 1]) is True
        ]
        sortby = [(name, rng.random() < 0.5) for name in rng.sample(FIELDS, rng.choice((1, 2)))]
        expected = sorter.sort(matching, sortby)
        ids: list[str] = []
        token = None
        for _ in range(40):
            sorted_search = {**search, "sortby": as_parameter(sortby, in_body=True), "token": token}
            page = await catalog.search(parse_search(sorted_search))
            ids += [orjson.loads(doc)["id"] for doc in page.items]
            assert page.matched in {None, len(expected)} or token is not None
            token = page.next_token
            if token is None:
                break
        assert ids == (expected if token is None else expected[: len(ids)]), (search, sortby)


@pytest.mark.parametrize("sortby", ["eo:cloud_cover", "-mixed,platform", "datetime", "-id"])
@pytest.mark.parametrize("few", [0, 20_000])
@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_sorted_paging_is_exact_while_items_come_and_go(
    monkeypatch: pytest.MonkeyPatch, open_database: OpenDatabase, kind: str, sortby: str, few: int
) -> None:
    """No item twice, and none missed that was there from the first page to the last."""
    monkeypatch.setattr(plan, "_FEW", few)
    with open_database(kind) as database:
        await page_while_items_come_and_go(database, sortby)


async def page_while_items_come_and_go(database: Database, sortby: str) -> None:
    rng = random.Random(5)
    catalog = SqlCatalog(database)
    database.write_now(lambda tx: catalog.add_collection(tx, "moving", b"{}", "moving"))

    def put(first: int, count: int) -> None:
        items: list[Any] = [
            {"type": "Feature", "id": f"m{n}", "geometry": None, "properties": {"datetime": text(START + n % 9)}}
            for n in range(first, first + count)
        ]
        decorate(rng, {"moving": items})
        database.write_now(lambda tx: catalog.put_items(tx, "moving", items, on_conflict=OnConflict.ERROR))

    put(0, 300)
    throughout = {f"m{n}" for n in range(300)}
    seen: list[str] = []
    token, number = None, 300
    while True:
        page = await catalog.search(parse_search({"sortby": sortby, "limit": 11, "token": token}))
        seen += [orjson.loads(doc)["id"] for doc in page.items]
        token = page.next_token
        if token is None:
            break
        put(number, 3)
        number += 3
        for gone in {f"m{rng.randrange(number)}", seen[-1]}:
            database.write_now(partial(catalog.remove_item, collection_id="moving", item_id=gone))
            throughout.discard(gone)
    assert len(seen) == len(set(seen))
    assert throughout <= set(seen)


@pytest.mark.parametrize(
    ("column", "missing", "access"),
    [
        ("t", False, "COVERING INDEX i_time (coll=? AND (t,id)>(?,?))"),
        ("id", False, "INDEX i_id (coll=? AND id>?)"),
        ("cloud", False, "COVERING INDEX i_cloud (coll=? AND (cloud,t,id)>(?,?,?))"),
        ("cloud", True, "COVERING INDEX i_time (coll=? AND (t,id)>(?,?))"),
        ("platform", False, "INDEX i_plat (coll=? AND (platform,t,id)>(?,?,?))"),
        ("platform", True, "INDEX i_plat (coll=? AND platform=? AND (t,id)>(?,?))"),
    ],
)
def test_an_index_is_walked_from_the_place_of_the_page(
    loaded: Loaded, column: str, access: str, *, missing: bool
) -> None:
    null = "" if column in {"t", "id"} else f"AND i.{column} IS {'' if missing else 'NOT '}NULL"
    dialect = dialect_of(loaded.database)
    sql = dialect.of_walk(column, "i.t AS s0", null, missing=missing, descending=False, started=True)
    found = explained(loaded.database, sql, value="x" if column == "platform" else 1)
    if loaded.database.dialect == "sqlite":
        assert access in found, found
        assert "TEMP B-TREE" not in found, found
    else:
        # The server takes either index of those without a platform: both have the order of time.
        index = "(i_plat|i_time)" if column == "platform" and missing else access.removeprefix("COVERING ").split()[1]
        assert re.search(rf" using {index} on items i ", found), found
        assert "->  Sort" not in found, found


async def test_a_token_belongs_to_its_order(loaded: Loaded) -> None:
    async def token(sortby: str | None) -> str:
        page = await loaded.catalog.search(parse_search({"sortby": sortby, "limit": 2}))
        assert page.next_token is not None
        return page.next_token

    for ours, other in ((None, "id"), ("id", None), ("id", "-id"), ("mixed", "platform"), ("mixed", "mixed,id")):
        with pytest.raises(InvalidParameter, match="token: it belongs to another sortby"):
            await loaded.catalog.search(parse_search({"sortby": other, "token": await token(ours)}))
    # Other spellings of the same order are the same order.
    first, second = await token("properties.platform,id"), await token("+platform, id,platform")
    assert first == second
    page = await loaded.catalog.search(parse_search({"sortby": "-datetime,-id", "token": await token(None)}))
    assert page.items


@pytest.mark.parametrize(
    "parts",
    [
        [0, "x", 1, "+properties.mixed", []],
        [0, "x", 1, "+properties.mixed", [0, "1.0", ""]],
        [0, "x", 1, "+properties.mixed", [1 << 63, 1.0, ""]],
        [0, "x", 1, "+properties.mixed", [True, 1.0, ""]],
        [0, "x", 1, "+properties.mixed", [0, None, ""]],
        [0, "x", 1, "+properties.mixed", 5],
        [0, "x", 1, 5, [0, 1.0, ""]],
    ],
)
async def test_a_forged_token_is_refused(loaded: Loaded, parts: list[Any]) -> None:
    token = base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()
    with pytest.raises(InvalidParameter, match="token: not a token"):
        await loaded.catalog.search(parse_search({"sortby": "mixed", "token": token}))


async def test_too_many_documents_are_not_opened(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_MOST_DOCUMENTS", 1000)
    with pytest.raises(InvalidParameter, match=r"'properties\.mixed' is not indexed") as refused:
        await loaded.catalog.search(parse_search({"sortby": "mixed"}))
    assert refused.value.target == "sortby"
    narrow = {"sortby": "mixed", "bbox": [9, 44, 9.2, 44.2]}
    assert (await loaded.catalog.search(parse_search(narrow))).items
    short = {"sortby": "mixed", "datetime": f"{text(START)}/{text(START + 999)}", "collections": ["points", "dense"]}
    assert (await loaded.catalog.search(parse_search(short))).items
    assert (await loaded.catalog.search(parse_search({"sortby": "platform,eo:cloud_cover"}))).items


@pytest.mark.parametrize("seed", range(2))
async def test_a_number_of_matches_is_exact_or_said_to_be_an_estimate(loaded: Loaded, seed: int) -> None:
    rng = random.Random(seed)
    brute = BruteForce(loaded.world)
    exact = 0
    for _ in range(60):
        query = {**random_query(rng, loaded.world), "limit": 1}
        page = await loaded.catalog.search(parse_search(query))
        assert page.matched is None or page.estimate is None
        if page.matched is not None:
            exact += 1
            assert page.matched == len(brute.find(query)), query
        if page.estimate is not None:
            assert 0 <= page.estimate <= len(loaded.world.keys)
    assert exact > 20


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_texts_with_nul_or_backslashes_are_sorted_by_too(open_database: OpenDatabase, kind: str) -> None:
    """PostgreSQL keeps no NUL in its JSON."""
    with open_database(kind) as database:
        catalog = SqlCatalog(database)
        texts = ("b\0\0", "a\\u0000", "c\\\\\0", "0")
        items: list[Any] = [
            {
                "type": "Feature",
                "id": f"i{n}",
                "geometry": None,
                "properties": {"datetime": text(START), "mixed": value},
            }
            for n, value in enumerate(texts)
        ]
        database.write_now(lambda tx: catalog.add_collection(tx, "odd", b"{}", "odd"))
        database.write_now(lambda tx: catalog.put_items(tx, "odd", items, on_conflict=OnConflict.ERROR))
        assert await all_pages(catalog, {"sortby": "mixed", "limit": 1}, 10) == ["i3", "i1", "i0", "i2"]
