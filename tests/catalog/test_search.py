"""Searches against brute force over every item, paged to the end; and paging while items come and go."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import psycopg
import pytest
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate

from graticule.catalog import OnConflict, SqlCatalog
from graticule.catalog import planning as plan
from graticule.database import Connection, Database
from graticule.database.postgres import PostgresDatabase
from graticule.stac.search import parse_search

OpenDatabase = Callable[[str], AbstractContextManager[Database]]

START = 1_577_836_800  # 2020-01-01, seconds
SPAN = 3 * 365 * 86_400
COLLECTIONS = ("dense", "sparse", "composites", "ties", "points")
#: Boxes without area, and at the ends of the world.
EDGES = (
    (-180.0, -10.0, -180.0, 10.0),
    (180.0, -20.0, -180.0, 70.0),
    (12.5, 12.5, 12.5, 12.5),
    (-10.0, 89.0, 10.0, 90.0),
)
CLUSTERS = [(10.0, 45.0), (-60.0, -10.0), (179.6, -17.0), (100.0, 70.0), (-179.9, 65.0)]


def text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def ring(west: float, south: float, east: float, north: float, tilt: float = 0.0) -> list[list[list[float]]]:
    south, north = max(south, -90.0), min(north, 90.0)
    return [[[west, south], [east, south], [east + tilt, north], [west + tilt, north], [west, south]]]


@dataclass
class World:
    """The items again, as brute force sees them."""

    keys: list[tuple[int, str, int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    geometries: list[Any] = field(default_factory=list)
    documents: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in COLLECTIONS})

    def add(self, collection: str, item_id: str, geometry: dict[str, Any] | None, start: int, end: int | None) -> None:
        properties: dict[str, Any] = {"datetime": text(start)}
        if end is not None:
            properties = {"datetime": None, "start_datetime": text(start), "end_datetime": text(end)}
        document = {"type": "Feature", "id": item_id, "geometry": geometry, "properties": properties}
        self.documents[collection].append(document)
        self.keys.append((start * 1_000_000, item_id, COLLECTIONS.index(collection) + 1))
        self.ends.append((start if end is None else end) * 1_000_000)
        self.geometries.append(None if geometry is None else shapely.from_geojson(orjson.dumps(geometry)))


def footprint(rng: random.Random, x: float, y: float, size: float) -> dict[str, Any]:
    """A tilted box, written in one of the ways that are used near the antimeridian."""
    west, east, tilt = x, x + size, rng.uniform(-size, size) / 4
    if west - abs(tilt) >= -180 and east + abs(tilt) <= 180:
        return {"type": "Polygon", "coordinates": ring(west, y, east, y + size, tilt)}
    if east > 180 and rng.random() < 0.5:
        return {
            "type": "MultiPolygon",
            "coordinates": [ring(west, y, 180, y + size), ring(-180, y, east - 360, y + size)],
        }
    return {"type": "Polygon", "coordinates": ring(west, y, east, y + size, tilt)}


def collection_of(rng: random.Random, *members: dict[str, Any]) -> dict[str, Any]:
    """These geometries as one, some of them in a collection within it (RFC 7946 section 3.1.8)."""
    if rng.random() < 0.3:
        members = ({"type": "GeometryCollection", "geometries": list(members[:1])}, *members[1:])
    return {"type": "GeometryCollection", "geometries": list(members)}


def make_world(rng: random.Random) -> World:
    world = World()
    for n in range(1800):
        x, y = rng.choice(CLUSTERS)
        place = footprint(rng, x + rng.gauss(0, 2), y + rng.gauss(0, 2), rng.choice((0.05, 0.3, 1.0)))
        world.add("dense", f"d{n}", place, START + rng.randrange(SPAN), None)
    for n in range(300):
        place = footprint(rng, rng.uniform(-180, 178), rng.uniform(-88, 86), rng.choice((0.5, 2.0)))
        world.add("sparse", f"{n}", place, START + rng.randrange(SPAN), None)
    for n in range(300):
        start = START + rng.randrange(0, SPAN, 86_400)
        size = rng.choice((10.0, 10.0, 40.0, 360.0))
        west = -180.0 if size == 360 else rng.randrange(-180, 180, 10)
        place = {"type": "Polygon", "coordinates": ring(west, -90 if size == 360 else 20, west + size, 20 + size)}
        end = start + rng.choice((8, 30, 365, 3650)) * 86_400
        world.add("composites", f"c{n}", None if n % 25 == 0 else place, start, end)
    for n in range(1600):  # one instant, many cells
        x, y = -20 + (n % 40), -20 + (n // 40)
        world.add("ties", f"t{n}", {"type": "Polygon", "coordinates": ring(x, y, x + 1, y + 1)}, START + 1000, None)
    for n in range(400):
        x, y = rng.choice(((12.5, 12.5), (-180.0, 0.0), (180.0, 0.0), (0.0, 90.0), (rng.uniform(-180, 180), 0.0)))
        world.add("points", f"p{n}", {"type": "Point", "coordinates": [x, y]}, START + rng.randrange(50), None)
    for n in range(150):
        x, y = rng.choice(CLUSTERS)
        box = footprint(rng, x + rng.gauss(0, 2), y + rng.gauss(0, 2), rng.choice((0.05, 1.0)))
        point = {"type": "Point", "coordinates": [rng.uniform(-180, 180), rng.uniform(-90, 90)]}
        line = {"type": "LineString", "coordinates": [point["coordinates"], [x, y]]}
        members = rng.choice(((box, point), (box, line), (point, line, box), (line,)))
        world.add("points", f"g{n}", collection_of(rng, *members), START + rng.randrange(SPAN), None)
    return world


class BruteForce:
    """Every item is looked at, with shapely and plain comparisons."""

    def __init__(self, world: World) -> None:
        self.keys = world.keys
        self.t = np.array([key[0] for key in world.keys])
        self.te = np.array(world.ends)
        self.coll = np.array([key[2] for key in world.keys])
        self.ids = np.array([key[1] for key in world.keys])
        self.geometries = np.array(world.geometries, dtype=object)

    def find(self, query: dict[str, Any]) -> list[tuple[int, str]]:
        keep: NDArray[np.bool_] = np.ones(len(self.keys), dtype=np.bool_)
        if "collections" in query:
            keep &= np.isin(self.coll, [COLLECTIONS.index(name) + 1 for name in query["collections"]])
        if "ids" in query:
            keep &= np.isin(self.ids, query["ids"])
        if "datetime" in query:
            low, high = query["interval"]
            keep &= (self.t <= high) & (self.te >= low)
        if "bbox" in query:
            west, south, east, north = query["bbox"]
            pieces = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
            keep &= self.touching([shapely.box(w, south, e, north) for w, e in pieces])
        if "intersects" in query:
            keep &= self.touching([shapely.from_geojson(orjson.dumps(query["intersects"]))])
        chosen = sorted((self.keys[i] for i in np.flatnonzero(keep)), reverse=True)
        return [(coll, item_id) for _, item_id, coll in chosen]

    def touching(self, shapes: list[Any]) -> NDArray[np.bool_]:
        found = np.zeros(len(self.keys), dtype=np.bool_)
        for shape in shapes:
            for turn in (-360.0, 0.0, 360.0):
                found |= shapely.intersects(translate(shape, turn), self.geometries)
        return found


def random_bbox(rng: random.Random) -> list[float]:  # noqa: PLR0911 - one per kind
    kind = rng.randrange(8)
    if kind == 0:
        return [-180, -90, 180, 90]
    if kind == 1:  # on the edges of the tied footprints
        west, south = float(rng.randrange(-20, 18)), float(rng.randrange(-20, 18))
        return [west, south, west + rng.randrange(3), south + rng.randrange(3)]
    if kind == 2:
        west = rng.uniform(150, 180)
        return [west, rng.uniform(-60, 0), rng.uniform(-180, -150), rng.uniform(0, 80)]
    if kind == 3:
        return list(rng.choice(EDGES))
    if kind == 4 and rng.random() < 0.3:  # more equal instants than one statement reads
        return [-20, -20, 15, 15]
    if kind == 4:
        west, south = rng.uniform(-180, 60), rng.uniform(-90, 30)
        return [west, south, west + rng.uniform(30, 120), south + rng.uniform(20, 60)]
    x, y = rng.choice(CLUSTERS)
    west, south, size = x + rng.gauss(0, 2), y + rng.gauss(0, 2), rng.choice((0.1, 1.0, 6.0))
    west = (west + 180) % 360 - 180
    east = (west + size + 180) % 360 - 180
    return [west, south, east, min(south + size, 90)]


def random_shape(rng: random.Random) -> dict[str, Any]:
    x, y = rng.choice([*CLUSTERS, (0.0, 0.0)])
    size = rng.choice((1.0, 8.0, 40.0))
    corners = [[x + rng.uniform(-size, size), max(-90, min(90, y + rng.uniform(-size, size)))] for _ in range(3)]
    if rng.random() < 0.3:
        return {"type": "LineString", "coordinates": corners}
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


def random_query(rng: random.Random, world: World) -> dict[str, Any]:
    query: dict[str, Any] = {"limit": rng.choice((1, 3, 10, 50, 400, 10_000))}
    if rng.random() < 0.6:
        query["collections"] = rng.sample(COLLECTIONS, rng.choice((1, 1, 2, 3)))
    place = rng.random()
    if place < 0.6:
        query["bbox"] = random_bbox(rng)
    elif place < 0.75:
        query["intersects"] = random_shape(rng)
    if rng.random() < 0.4:
        low = START + rng.randrange(-SPAN // 10, SPAN)
        high = rng.choice((low, low + 86_400, low + SPAN // 4, START + 1000))
        low = min(low, high)
        query["interval"] = (low * 1_000_000, high * 1_000_000)
        query["datetime"] = f"{text(low)}/{text(high)}"
        open_end = rng.randrange(4)
        if open_end == 0:
            query |= {"interval": (-(1 << 62), high * 1_000_000), "datetime": f"../{text(high)}"}
        elif open_end == 1:
            query |= {"interval": (low * 1_000_000, 1 << 62), "datetime": f"{text(low)}/"}
    if rng.random() < 0.1:
        query["ids"] = [key[1] for key in rng.sample(world.keys, 30)]
    return query


@dataclass
class Loaded:
    catalog: SqlCatalog
    database: Database
    world: World


@pytest.fixture(scope="module", params=["memory", "disk", "postgres"])
def loaded(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[Loaded]:
    with open_database(request.param) as database:
        yield load(database)


def load(database: Database) -> Loaded:
    catalog = SqlCatalog(database)
    world = make_world(random.Random(7))
    for name in COLLECTIONS:
        document = orjson.dumps({"id": name})
        database.write_now(lambda tx, name=name, doc=document: catalog.add_collection(tx, name, doc, name))  # type: ignore[misc]
        items: list[Any] = world.documents[name]
        database.write_now(
            lambda tx, name=name, items=items: catalog.put_items(tx, name, items, on_conflict=OnConflict.ERROR)  # type: ignore[misc]
        )
    vacuum(database)
    return Loaded(catalog, database, world)


def vacuum(database: Database) -> None:
    """What autovacuum does within a minute."""
    if isinstance(database, PostgresDatabase):
        with psycopg.connect(database.url, autocommit=True) as raw:
            raw.execute("VACUUM ANALYZE")


async def all_pages(catalog: SqlCatalog, query: dict[str, Any], most: int) -> list[str]:
    """The ids of every page, or of the first pages up to `most` items."""
    found: list[str] = []
    token = None
    while True:
        page = await catalog.search(parse_search({**query, "token": token}))
        assert len(page.items) <= query["limit"]
        assert page.items or token is None
        found += [orjson.loads(doc)["id"] for doc in page.items]
        if page.next_token is None or len(found) >= most:
            return found
        assert len(page.items) == query["limit"]
        token = page.next_token


@pytest.mark.parametrize("seed", range(4))
async def test_a_search_finds_what_brute_force_finds_in_the_same_order(loaded: Loaded, seed: int) -> None:
    rng = random.Random(seed)
    brute = BruteForce(loaded.world)
    for _ in range(50):
        query = random_query(rng, loaded.world)
        expected = [item_id for _, item_id in brute.find(query)]
        most = min(len(expected) + 1, query["limit"] * 40)
        found = await all_pages(loaded.catalog, query, most)
        if len(found) < most:
            assert found == expected, query
        else:
            assert found == expected[: len(found)], query


async def test_every_way_of_the_plan_gives_one_answer(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(99)
    queries = [random_query(rng, loaded.world) for _ in range(25)]
    # Equal instants, and shapes that few of the candidates touch.
    thin = {"type": "Polygon", "coordinates": [[[-20.5, -20.2], [19.1, 19.7], [19.2, 19.7], [-20.5, -20.2]]]}
    instant = {"datetime": f"{text(START + 1000)}/{text(START + 90_000)}"}
    for names in (["ties"], ["ties", "composites", "dense"]):
        for place in ({"bbox": [-20, -20, 15, 15]}, {"bbox": [-90, -80, 90, 80]}, {"intersects": thin}):
            queries += [{**place, "collections": names}, {**place, **instant, "collections": names}]
    places = ("bbox", "intersects")
    queries = [{**q, "limit": limit} for q in queries if any(p in q for p in places) for limit in (7, 60, 10_000)]
    ways: list[dict[str, Any]] = [
        {},
        {"_LARGE_AREA": 0.0, "_MERGED_CELLS": 0, "_NEWEST_ROWS": 300, "_MOST_RANGES": 1},
        {"_LARGE_AREA": 1e9, "_MERGED_CELLS": 10_000, "_MOST_RANGES": 1},
        {"_LARGE_AREA": 1e9, "_MERGED_CELLS": 0, "_page_rows": lambda count: 9 + count // 20},
    ]
    answers = []
    for way in ways:
        for name, value in way.items():
            monkeypatch.setattr(plan, name, value)
        answers.append([(await loaded.catalog.search(parse_search(query))).items for query in queries])
    assert answers[1:] == answers[:1] * 3


async def test_paging_is_exact_while_items_come_and_go(loaded: Loaded) -> None:
    """No item twice, and none missed that was there from the first page to the last."""
    rng = random.Random(3)
    catalog, database = loaded.catalog, loaded.database
    queries: tuple[dict[str, Any], ...] = (
        {"limit": 37, "collections": ["moving"]},
        {"limit": 11, "collections": ["moving"], "bbox": [-40, -40, 40, 40]},
        {"limit": 5, "collections": ["moving"], "bbox": [0, 0, 1.5, 1.5]},
    )

    def make(n: int) -> Any:
        point = {"type": "Point", "coordinates": [rng.uniform(0, 2), rng.uniform(0, 2)]}
        instant = text(START + rng.randrange(40))  # many ties
        return {"type": "Feature", "id": f"m{n}", "geometry": point, "properties": {"datetime": instant}}

    def put(items: list[Any]) -> None:
        database.write_now(lambda tx: catalog.put_items(tx, "moving", items, on_conflict=OnConflict.ERROR))

    def clean() -> None:
        while database.write_now(lambda tx: catalog.remove_items(tx, "moving", 500)):
            pass
        database.write_now(lambda tx: catalog.forget_collection(tx, "moving"))

    for query in queries:
        database.write_now(lambda tx: catalog.add_collection(tx, "moving", b"{}", "moving"))
        put([make(n) for n in range(400)])
        whole = {**query, "limit": 10_000}
        throughout = set(await all_pages(catalog, whole, 10_000))
        seen: list[str] = []
        token, number = None, 400
        while True:
            page = await catalog.search(parse_search({**query, "token": token}))
            seen += [orjson.loads(doc)["id"] for doc in page.items]
            token = page.next_token
            if token is None:
                break
            put([make(number + n) for n in range(3)])
            number += 3
            # The last one shown goes too: a page begins at its place, not at the item.
            for gone in {*rng.sample(range(number), 3), int(seen[-1][1:])}:
                database.write_now(lambda tx, gone=gone: catalog.remove_item(tx, "moving", f"m{gone}"))  # type: ignore[misc]
                throughout.discard(f"m{gone}")
        assert len(seen) == len(set(seen))
        assert throughout <= set(seen)
        clean()


def explained(database: Database, sql: str, **lists: Any) -> str:
    """How the database will read, whole indexes left aside."""
    values = dict.fromkeys(("coll", "cell", "low", "key_coll", "limit", "since", "n"), 1) | {"key_t": 2**61}

    def explain(tx: Connection) -> list[str]:
        if tx.dialect == "sqlite":
            return [row["detail"] for row in tx.all(f"EXPLAIN QUERY PLAN {sql}", {**values, "key_id": "", **lists})]
        for switch in ("enable_seqscan", "enable_bitmapscan"):  # the table is so small that anything would do
            tx.execute(f"SET LOCAL {switch} = off")
        return [row[0] for row in tx.all(f"EXPLAIN {sql}", {**values, "key_id": "", **lists})]

    return "\n".join(database.read_now(explain))


def test_candidate_statements_read_covering_indexes_only(loaded: Loaded) -> None:
    from graticule.catalog.sql.candidates import SqlCandidates  # noqa: PLC0415 - next to the texts it looks at
    from graticule.catalog.sql.dialects import dialect_of  # noqa: PLC0415
    from graticule.catalog.sql.filtering import Conditions  # noqa: PLC0415

    database = loaded.database
    dialect = dialect_of(database)
    question = plan.Question(None, None, placed=True, start=1, end=2)
    where = SqlCandidates(database.read_now(lambda tx: tx), dialect, question, Conditions("", {}, None))._where
    cells = dialect.packed_cells([(1, 1)])
    texts: list[tuple[str, str]] = [
        (dialect.of_collection(where), "i_time"),
        (dialect.of_cell(where), "i_cell"),
        (dialect.of_cells(where), "i_cell"),
        (dialect.nth_key, "i_time"),
    ]
    for sql, index in texts:
        lists = {"cells": cells} if ":cells" in sql else {}
        found = explained(database, sql, **lists)
        if database.dialect == "sqlite":
            cell = "AND cell=? " if index == "i_cell" else ""
            assert f"COVERING INDEX {index} (coll=? {cell}AND t>? AND (t,id)<(?,?))" in found, found
        else:
            assert f"Index Only Scan Backward using {index}" in found, found
            condition = next(line for line in found.splitlines() if "Index Cond" in line)
            assert "(ROW(t, id, coll) < ROW(" in condition, condition
            assert "coll = " in condition, condition
