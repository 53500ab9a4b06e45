"""Filtered searches against the meaning of the filter, item by item; paging; what is narrowed; how far they look."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graticule.catalog import ItemPage, OnConflict, SqlCatalog
from graticule.catalog.narrowing import Narrowing
from graticule.catalog.searchable import prepare_item
from graticule.catalog.sql.dialects import dialect_of
from graticule.catalog.sql.filtering import compile_filter
from graticule.catalog.sql.searching import answer
from graticule.database import Connection, Database
from graticule.stac.cql2 import parse_json, parse_text
from graticule.stac.cql2.evaluation import Filter
from graticule.stac.search import Search, parse_search

COLLECTIONS = ("a", "b", "empty")
DAYS = [f"2021-0{month}-{day:02}" for month in range(1, 7) for day in (1, 15)]
Key = tuple[int, str, int]
OpenDatabase = Callable[[str], AbstractContextManager[Database]]


def footprint(rng: random.Random) -> dict[str, Any] | None:
    west, south, size = rng.choice([-180, -10, 0, 5, 170, 178]), rng.choice([-20, 0, 3, 80]), rng.choice([1, 4, 9])
    if rng.random() < 0.1:
        return None
    if rng.random() < 0.2:
        return {"type": "Point", "coordinates": [west, south]}
    ring = [[west, south], [west + size, south], [west + size, south + size], [west, south + size], [west, south]]
    if rng.random() < 0.1:
        line = {"type": "LineString", "coordinates": [[west, south], [west + 2 * size, south]]}
        return {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [ring]}, line]}
    if west + size > 180 and rng.random() < 0.5:
        end = west + size - 360
        halves = [[[min(x, 180), y] for x, y in ring], [[-180 if x == west else end, y] for x, y in ring]]
        return {"type": "MultiPolygon", "coordinates": [[half] for half in halves]}
    return {"type": "Polygon", "coordinates": [ring]}


def items() -> Iterator[tuple[str, dict[str, Any]]]:
    rng = random.Random(5)
    for number in range(240):
        start = f"{rng.choice(DAYS)}T{rng.choice(['00:00:00', '12:00:00.5'])}Z"
        properties: dict[str, Any] = {"datetime": start}
        if rng.random() < 0.3:
            properties = {
                "datetime": None,
                "start_datetime": start,
                "end_datetime": f"2021-{rng.choice(['06', '09'])}-16T00:00:00Z",
            }
        odd = rng.random()
        if odd < 0.7:
            properties["eo:cloud_cover"] = rng.choice([0, 5, 5.5, 50, 100])
        elif odd < 0.8:
            properties["eo:cloud_cover"] = rng.choice([None, "5", True, [5], 2**60])
        if rng.random() < 0.8:
            properties["platform"] = rng.choice(["L8", "S2", "É%", 5, None])
        if rng.random() < 0.6:
            properties["tags"] = rng.choice([["x"], ["x", "y"], [], "x", None])
        properties["n"] = number % 7
        collection = "ab"[number % 2]
        yield (
            collection,
            {"id": f"i{number // 2 % 100}-{number % 40}", "geometry": footprint(rng), "properties": properties},
        )


class Loaded:
    """A catalog, and its items in the order of a search."""

    def __init__(
        self, database: Database, given: Iterable[tuple[str, dict[str, Any]]], names: Iterable[str] = ()
    ) -> None:
        self.database = database
        self.catalog = SqlCatalog(self.database)
        self.keyed: list[tuple[Key, str, dict[str, Any]]] = []
        documents: dict[str, dict[str, Any]] = {name: {} for name in names}
        for collection, item in given:
            documents.setdefault(collection, {})[item["id"]] = item
        for number, (name, by_id) in enumerate(documents.items(), 1):
            self.database.write_now(partial(self._fill, name=name, batch=list(by_id.values())))
            self.keyed += [((prepare_item(item).columns.t, item["id"], number), name, item) for item in by_id.values()]
        self.keyed.sort(key=lambda one: one[0], reverse=True)

    def _fill(self, tx: Connection, *, name: str, batch: list[Any]) -> None:
        self.catalog.add_collection(tx, name, b"{}", name)
        self.catalog.put_items(tx, name, batch, on_conflict=OnConflict.ERROR)

    def page(self, search: Search, scan_limit: int) -> ItemPage:
        work = partial(answer, dialect=dialect_of(self.database), search=search, scan_limit=scan_limit)
        return self.database.read_now(work)

    def found(self, search: Search, scan_limit: int = 10_000) -> list[tuple[str, Any]]:
        """Every item, paged to the end, as (id, properties)."""
        found, pages = [], 0
        while True:
            page = self.page(search, scan_limit)
            assert len(page.items) <= search.limit
            found += [(item["id"], item["properties"]) for item in map(orjson.loads, page.items)]
            pages += 1
            assert pages < 1_000
            if page.next_token is None:
                if search.token is None:
                    assert page.matched == len(found)
                return found
            search = replace(search, token=page.next_token)

    def expected(self, search: Search) -> list[tuple[str, Any]]:
        everything = {one[0] for one in self.found(replace(search, filter=None, limit=1_000))}
        assert search.filter is not None
        holds = Filter(search.filter)
        return [
            (item["id"], item["properties"])
            for _, name, item in self.keyed
            if item["id"] in everything
            and holds(item, name) is True
            and (not search.collections or name in search.collections)
        ]


@pytest.fixture(scope="module", params=["memory", "postgres"])
def loaded(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Loaded]:
    with open_database(request.param) as database:
        yield Loaded(database, items(), COLLECTIONS)


# --- random filters --------------------------------------------------------------------------------------------------


def op(name: str, *args: Any) -> dict[str, Any]:
    return {"op": name, "args": list(args)}


def prop(name: str) -> dict[str, str]:
    return {"property": name}


def swapped(parts: tuple[str, Any, Any, bool]) -> dict[str, Any]:
    name, left, right, swap = parts
    return op(name, right, left) if swap else op(name, left, right)


comparisons = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
numbers = st.sampled_from([0, 5, 5.0, 5.5, 50, 3, 2**53, 2**60, -1])
texts = st.sampled_from(["L8", "S2", "x", "É%", "i5-11", "i90-20", "a", "b", "empty", "nowhere", "' OR 1=1 --", ""])
names = st.sampled_from(
    ["eo:cloud_cover", "platform", "n", "tags", "missing", "id", "collection", "properties.platform"]
)
days = st.sampled_from(DAYS)
spans = st.one_of(
    days.map(lambda day: {"date": day}),
    days.map(lambda day: {"timestamp": f"{day}T12:00:00.5Z"}),
    days.map(lambda day: {"timestamp": f"{day}T00:00:00Z"}),
)
intervals = st.one_of(
    spans,
    st.tuples(days, days).map(lambda two: {"interval": sorted(two)}),
    days.map(lambda day: {"interval": [day, ".."]}),
    days.map(lambda day: {"interval": ["..", f"{day}T12:00:00.5Z"]}),
    st.just({"interval": ["2021-03-01T00:00:00Z", "2021-06-15T00:00:00Z"]}),
    st.just({"interval": [prop("start_datetime"), prop("end_datetime")]}),
)
times = st.sampled_from([prop("datetime"), prop("properties.datetime"), prop("end_datetime")])
relations = st.sampled_from(
    [
        "after",
        "before",
        "contains",
        "disjoint",
        "during",
        "equals",
        "finishedBy",
        "finishes",
        "intersects",
        "meets",
        "metBy",
        "overlappedBy",
        "overlaps",
        "startedBy",
        "starts",
    ]
).map("t_".__add__)
boxes = st.sampled_from(
    [
        [-10, 0, 5, 5],
        [0, 0, 4, 4],
        [-180, -90, 180, 90],
        [170, -20, -175, 10],
        [5, 3, 5, 3],
        [-180, -30, -179, 90],
        [0, 80, 9, 89],
        [100, 0, 110, 10],
    ]
)
shapes = st.one_of(
    boxes.map(lambda box: {"bbox": box}),
    st.just({"type": "Polygon", "coordinates": [[[-12, -5], [8, -5], [0, 20], [-12, -5]]]}),
    st.just({"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}),
    st.just({"type": "LineString", "coordinates": [[-20, 4], [20, 4]]}),
    st.just(
        {
            "type": "MultiPolygon",
            "coordinates": [
                [[[170, -25], [180, -25], [180, 20], [170, 20], [170, -25]]],
                [[[-180, -25], [-170, -25], [-170, 20], [-180, 20], [-180, -25]]],
            ],
        }
    ),
)
spatial = st.sampled_from(["intersects", "equals", "disjoint", "touches", "within", "overlaps", "crosses", "contains"])
flags = st.booleans()
predicates = st.one_of(
    st.tuples(comparisons, names.map(prop), numbers | texts, flags).map(swapped),
    st.tuples(comparisons, times, spans, flags).map(swapped),
    st.tuples(relations, times, intervals, flags).map(swapped),
    st.tuples(spatial.map("s_".__add__), st.just(prop("geometry")), shapes, flags).map(swapped),
    st.tuples(st.just("s_intersects"), st.just(prop("geometry")), shapes, flags).map(swapped),
    st.tuples(names.map(prop), st.lists(numbers | texts, max_size=3)).map(lambda two: op("in", *two)),
    st.tuples(names.map(prop), numbers, numbers).map(lambda three: op("between", *three)),
    st.tuples(times, spans, spans).map(lambda three: op("between", *three)),
    st.sampled_from(["eo:cloud_cover", "platform", "datetime", "geometry", "tags"]).map(
        lambda name: op("isNull", prop(name))
    ),
    st.sampled_from(["L%", "%\\%", "_2", "%"]).map(lambda pattern: op("like", prop("platform"), pattern)),
    st.just(op("=", op("casei", op("accenti", prop("platform"))), "e%")),
    st.tuples(comparisons, numbers).map(lambda two: op(two[0], op("+", prop("eo:cloud_cover"), prop("n")), two[1])),
    st.sampled_from(["a_equals", "a_contains", "a_overlaps", "a_containedBy"]).map(
        lambda name: op(name, prop("tags"), ["x"])
    ),
    flags,
)
conditions = st.recursive(
    predicates,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: op("and", *parts)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: op("or", *parts)),
        inner.map(lambda one: op("not", one)),
    ),
    max_leaves=6,
)
others = st.sampled_from(
    [
        {},
        {"collections": ["a"]},
        {"collections": ["b", "empty"]},
        {"bbox": [-12, -25, 8, 8]},
        {"datetime": "2021-03-01T00:00:00Z/.."},
        {"bbox": [175, -30, -170, 90], "datetime": "../2021-05-01T23:59:59Z"},
        {"ids": ["i5-11", "i90-20", "i0-0", "i0-1"]},
    ]
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    condition=conditions, other=others, limit=st.sampled_from([7, 50, 1_000]), scan_limit=st.sampled_from([11, 10_000])
)
def test_a_search_finds_what_the_filter_means(
    loaded: Loaded, condition: Any, other: dict[str, Any], limit: int, scan_limit: int
) -> None:
    search = replace(parse_search(other), filter=parse_json(condition), limit=limit)
    assert loaded.found(search, scan_limit) == loaded.expected(search)


# --- what is narrowed, and what is left ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("collection = 'a' and id in ('x', 'y')", (("a",), ("x", "y"), False, None, None, 0)),
        ("'a' = collection and collection in ('a', 'b')", (("a",), None, False, None, None, 0)),
        ("collection = 'a' and collection = 'b'", ((), None, False, None, None, 0)),
        ("collection = 'a' or id = 'x'", (None, None, False, None, None, 1)),
        ("s_intersects(geometry, BBOX(1,2,3,4)) and n = 1", (None, None, True, None, None, 1)),
        ("s_within(geometry, BBOX(1,2,3,4))", (None, None, True, None, None, 1)),
        ("s_disjoint(geometry, BBOX(1,2,3,4))", (None, None, False, None, None, 1)),
        (
            "datetime >= '1970-01-01T00:00:01Z' and datetime < DATE('1970-01-02')",
            (None, None, False, 1_000_000, 86_400_000_000 - 1, 2),
        ),
        ("DATE('1970-01-02') > datetime", (None, None, False, None, 86_400_000_000 - 1, 1)),
        ("anyinteracts(datetime, INTERVAL('1970-01-01', '..'))", (None, None, False, 0, None, 1)),
        ("t_after(datetime, TIMESTAMP('1970-01-01T00:00:00Z'))", (None, None, False, 1, None, 1)),
        ("not datetime > '1970-01-01T00:00:00Z'", (None, None, False, None, None, 1)),
    ],
)
def test_the_outermost_and_narrows_the_search(text: str, expected: tuple[Any, ...]) -> None:
    found = Narrowing(Search(filter=parse_text(text)))
    assert (
        found.collections, found.ids, found.region is not None, found.start, found.end, len(found.left)
    ) == expected  # fmt: skip


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("eo:cloud_cover < 10", " AND i.cloud < :f0"),
        ("10 >= eo:cloud_cover", " AND i.cloud <= :f0"),
        ("not (platform = 'x' or id <> 'y')", " AND (NOT (i.platform = :f0 OR i.id <> :f1))"),
        ("collection = 'a' or collection = 'x'", " AND (i.coll = :f0 OR i.coll = :f1)"),
        ("eo:cloud_cover between 1 and 2", " AND (i.cloud >= :f0 AND i.cloud <= :f1)"),
        ("t_intersects(datetime, DATE('2021-01-01'))", " AND (i.t <= :f1 AND i.te >= :f0)"),
    ],
)
def test_conditions_on_columns_need_no_document(text: str, where: str) -> None:
    conditions = compile_filter([parse_text(text)], {"a": 1})
    assert (conditions.where, conditions.residual) == (where, None)


@pytest.mark.parametrize(
    "text",
    [
        "eo:cloud_cover = '5'",
        "eo:cloud_cover < 9007199254740992",
        "eo:cloud_cover is null",
        "platform > 'a'",
        "n = 1",
        "n = 1 or id = 'x'",
        "end_datetime > DATE('2021-01-01')",
    ],
)
def test_what_columns_do_not_tell_exactly_is_left_to_the_documents(text: str) -> None:
    conditions = compile_filter([parse_text(text)], {})
    assert conditions.where == ""
    assert conditions.residual is not None


# --- how far a page looks --------------------------------------------------------------------------------------------


def test_a_page_ends_when_it_has_looked_at_enough_documents(loaded: Loaded) -> None:
    search = Search(filter=parse_text("n = 3"), limit=20)
    page = loaded.page(search, 30)
    assert page.next_token is not None
    assert 0 < len(page.items) < len(loaded.expected(search))
    assert page.matched is None
    assert loaded.found(search, 30) == loaded.expected(search)


def test_a_page_without_a_match_looks_further_and_is_not_the_last(loaded: Loaded) -> None:
    last = [item["id"] for _, _, item in loaded.keyed if item["properties"]["n"] == 3][-1]
    search = Search(filter=parse_text(f"n = 3 and accenti(id) = '{last}'"))
    page = loaded.page(search, 10)
    assert page.items == []
    assert page.next_token is not None
    assert (last, 3) in [(item_id, properties["n"]) for item_id, properties in loaded.found(search, 10)]
    assert loaded.page(search, 100).items


async def test_a_filtered_search_of_the_catalog(loaded: Loaded) -> None:
    page = await loaded.catalog.search(Search(filter=parse_text("collection = 'b'"), limit=3))
    assert len(page.items) == 3
    everything = await loaded.catalog.search(Search(filter=parse_text("collection = 'nowhere'")))
    assert (everything.items, everything.next_token, everything.matched) == ([], None, 0)


# --- real items ------------------------------------------------------------------------------------------------------

REAL = [
    "eo:cloud_cover < 20 and s_intersects(geometry, BBOX(-180,-90,0,90))",
    "datetime >= '2020-01-01T00:00:00Z' and casei(platform) like 'landsat%'",
    "anyinteracts(datetime, INTERVAL('2019-01-01', '2021-12-31')) and not gsd is null",
    "gsd * 2 <= 2 or instruments is not null and a_contains(instruments, ('oli'))",
    "proj:epsg between 32601 and 32660 or s_within(geometry, POLYGON((-130 20,-60 20,-60 50,-130 50,-130 20)))",
    "id like '%\\_2%' and datetime < DATE('2023-01-01')",
]


@pytest.mark.parametrize("text", REAL)
def test_real_items_are_filtered_by_what_their_documents_say(real: Loaded, text: str) -> None:
    search = Search(filter=parse_text(text), limit=100)
    expected = real.expected(search)
    assert 0 < len(expected) < len(real.keyed)
    assert real.found(search) == expected


@pytest.fixture(scope="module", params=["memory", "postgres"])
def real(request: pytest.FixtureRequest, open_database: OpenDatabase, test_data: Path) -> Iterator[Loaded]:
    files = sorted((test_data / "stac" / "items").rglob("*.ndjson"))
    given = (
        (f"{file.parent.name}/{file.stem}", orjson.loads(line))
        for file in files
        for line in file.read_bytes().splitlines()[:60]
    )
    with open_database(request.param) as database:
        yield Loaded(database, given)
