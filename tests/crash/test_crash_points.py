"""Every named crash point kills the process that reaches it, three times, on either database; nothing is lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from pathlib import Path

import pytest

import graticule.ingestion.bulk.running
import graticule.ingestion.workflows
import graticule.services  # noqa: F401
from acceptance.reading import execute, rows
from acceptance.serving import Served
from acceptance.source import Source
from crash.conftest import Place, in_each
from crash.torture import Client, check, collection, item, raster
from graticule.crashpoints import CRASH_POINTS
from graticule.workflows.slices import SLICE
from ingestion.bulk_source import catalog, document

KILLS = 3
#: Reached only where assets lie in a bucket.
REMOTE = {"storage.put.before", "storage.put.after"}
#: Reached only where items were written before migration 10.
BACKFILL = "ingestion.backfill.slice"


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    files = {f"cog{n}.tif": raster(n, driver="COG") for n in range(4)} | {
        "striped.tif": raster(9, driver="GTiff", size=640)
    }
    with Source(files) as source:
        for n in range(KILLS):
            source.files |= _static_catalog(n, source)
        yield source


def _static_catalog(n: int, source: Source) -> dict[str, bytes]:
    """A catalog within a catalog; every link is signed, because the source wants that."""
    items: dict[str, dict[str, str]] = {f"walk-{n}-{number}": {} for number in range(3)}
    assets = {"cog": {"href": source.href("cog0.tif"), "type": "image/tiff"}}
    files = {f"{name}.json": document(name, assets=assets if name.endswith("0") else {}) for name in items}
    links = [("item", source.href(name)) for name in files]
    return files | {
        f"walk-{n}.json": catalog(("child", source.href(f"walk-{n}-child.json")), links[0]),
        f"walk-{n}-child.json": catalog(("child", source.href(f"walk-{n}.json")), *links[1:]),
    }


def _work(client: Client, source: Source) -> None:
    """Something of every kind that is durable, in rounds: what ends in one commit reaches its crash point only once."""
    client.send("POST", "collections", collection("kept"))
    client.post_items("kept", [item("kept", f"bare-{n}", {}) for n in range(3)])
    for n in range(KILLS):
        good = {"cog": source.href(f"cog{n}.tif"), "striped": source.href("striped.tif")}
        bad = {"cog": source.href("cog0.tif"), "gone": source.href("gone.tif")}
        client.post_items("kept", [item("kept", f"good-{n}", good), item("kept", f"bad-{n}", bad)])
        client.send("POST", "collections", collection(f"dropped-{n}"))
        client.post_items(f"dropped-{n}", [item(f"dropped-{n}", "one", {"cog": source.href("cog1.tif")})])
        client.declare("kept", f"queryable-{n}")
        client.ingest("kept", source.href(f"walk-{n}.json"), [f"walk-{n}-{number}" for number in range(3)])
        client.settle()
        # A file is replaced, one stays, one comes, and one goes; then only text changes.
        assets = {"cog": {"href": source.href("cog3.tif"), "type": "image/tiff"}, "striped": None}
        assets["cog-too"] = {"href": source.href("cog2.tif"), "type": "image/tiff"}
        client.update("PATCH", "kept", f"good-{n}", 1, {"assets": assets})
        client.update("PUT", "kept", f"bare-{n}", 1, item("kept", f"bare-{n}", {}))
    for n in range(4):
        client.upload("POST", "kept", f"picture-{n}", f"first {n}".encode())
    client.upload("PUT", "kept", "picture-0", b"second")
    client.upload("DELETE", "kept", "picture-1")
    for n in range(KILLS):
        client.send("DELETE", f"collections/dropped-{n}")
        client.settle()
    for n in (0, 1):
        client.send("DELETE", f"collections/kept/items/good-{n}")


def _age(served: Served, client: Client) -> None:
    """Have a collection whose items were written before there were words of them, and a worker that starts."""
    client.send("POST", "collections", collection("aged"))
    items = [item("aged", f"aged-{n}", {}) for n in range(2 * SLICE + 1)]
    for one in items:
        one["properties"]["title"] = "Under fire"
    client.post_items("aged", items)
    client.settle()
    served.stop()
    for statement in (
        "DELETE FROM item_words",
        "DELETE FROM item_texts",
        "INSERT INTO word_backfills(coll) SELECT coll FROM collections WHERE id = 'aged'",
    ):
        execute(served.data_dir, statement, url=served.database_url)
    served.start()


def _wait_for_words(client: Client) -> None:
    """Each item of the collection has them."""
    ask = partial(rows, client.served.data_dir, url=client.served.database_url)
    words = "SELECT count(*) FROM item_texts t JOIN items i ON i.pk = t.pk JOIN collections c ON c.coll = i.coll"
    deadline = time.monotonic() + 60
    while ask("SELECT count(*) FROM word_backfills")[0][0]:
        assert time.monotonic() < deadline, ask("SELECT * FROM word_backfills")
        time.sleep(0.1)
    assert ask(f"{words} WHERE c.id = 'aged'")[0][0] == 2 * SLICE + 1


def _pairs() -> list[tuple[str, str]]:
    """All points, two at a time, of different rooms: most of a run's time is starting."""
    points = sorted(CRASH_POINTS - REMOTE)
    half = (len(points) + 1) // 2
    return list(zip_longest(points[:half], points[half:], fillvalue=points[0]))


def _wait_for_indexes(client: Client) -> None:
    """Each has a value for each item, and no other."""
    ask = partial(rows, client.served.data_dir, url=client.served.database_url)
    deadline = time.monotonic() + 60
    while True:
        states = [row[0] for row in ask("SELECT state FROM queryables")]
        pks = sorted(
            row[0] for row in ask("SELECT i.pk FROM items i JOIN collections c ON c.coll = i.coll WHERE c.id = 'kept'")
        )
        indexed = [row[0] for row in ask("SELECT pk FROM item_values ORDER BY pk")]
        if states == [2] * KILLS:
            assert indexed == sorted(pks * KILLS)
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.1)


@pytest.mark.crash
@pytest.mark.parametrize("points", _pairs(), ids=",".join)
def test_nothing_promised_is_lost_when_killed_at(
    points: tuple[str, str], tmp_path: Path, source: Source, places: list[Place]
) -> None:
    in_each(places, lambda place: _run(tmp_path / place.kind, points, source, place))


def _run(folder: Path, points: tuple[str, str], source: Source, place: Place) -> None:
    log = folder / "kills"
    environment = place.env | {
        "GRATICULE_FETCH_ALLOW": source.host,
        "GRATICULE_CRASH_POINT": ",".join(f"{name}:2" if name.startswith("database") else name for name in points),
        "GRATICULE_CRASH_LOG": str(log),
        "GRATICULE_CRASH_TIMES": str(KILLS),
    }
    with Served(folder, env=environment) as served:
        client = Client(served)
        if BACKFILL in points:
            _age(served, client)
        _work(client, source)
        result = check(client, source)
        _wait_for_indexes(client)
        if BACKFILL in points:
            _wait_for_words(client)
    assert not any(result.values()), f"{result}\n{served.log_text()[-6000:]}"
    killed = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert killed == dict.fromkeys(points, KILLS), "a point was reached too seldom"
