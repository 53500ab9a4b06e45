"""Batches from helpers: the catalog is the same as without, in the order of the file, and others get to write too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from graticule.database import Connection, Database, open_database
from graticule.ingestion.burying import defer_sweep
from graticule.ingestion.exchange import IfPresent, Loader, Refusal, Tally, find_files, helpers, loading
from graticule.ingestion.exchange.files import Size
from graticule.services import Services, open_services
from graticule.settings import Settings
from ingestion.exchange.documents import collection, item, write

CHUNK = 10
#: What a load writes, without the documents' own times and what depends on the order of keys.
TABLES = {
    "items": "SELECT coll, cell, t, te, id, x0, y0, x1, y1, cloud, platform, wkb FROM items ORDER BY coll, id",
    "grid": "SELECT * FROM grid ORDER BY coll, cell",
    "collstat": "SELECT * FROM collstat ORDER BY coll",
    "facts": "SELECT f.coll, i.id, f.facts FROM item_facts f JOIN items i ON i.pk = f.pk ORDER BY i.coll, i.id",
    "texts": "SELECT i.id, x.text FROM item_texts x JOIN items i ON i.pk = x.pk ORDER BY i.coll, i.id",
    "words": "SELECT w.word, i.id FROM item_words w JOIN items i ON i.pk = w.pk ORDER BY w.word, i.coll, i.id",
}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(CHUNK, CHUNK * 480)
    monkeypatch.setattr(helpers, "_CHUNK", size)
    monkeypatch.setattr(helpers, "_CHUNK_ALONE", size)
    monkeypatch.setattr(helpers, "_ALONE", 1)
    monkeypatch.setattr(helpers, "_MEANWHILE", 0)


def documents(count: int) -> Iterator[Any]:
    """Two collections by turns; one sums up a property of its own, and some items have text."""
    yield collection("c", summaries={"colour": ["red"], "heat": {"minimum": 0, "maximum": 1}})
    yield collection("d")
    for number in range(count):
        properties: dict[str, Any] = {
            "datetime": f"2020-01-{number % 28 + 1:02}T00:00:00Z",
            "colour": f"colour {number % 7}",
            "heat": number / 10,
            "gsd": [10, 10.0, "x"][number % 3],
        }
        if number % 4 == 0:
            properties["title"] = f"Scene number {number}"
        yield item(number, "cd"[number % 2], properties=properties)


def settings(folder: Path) -> Settings:
    """Of a catalog that takes a ``gsd`` that is no number: what is summed up must cope with it."""
    return Settings(data_dir=folder, validate_core="warn")


async def load(
    folder: Path, path: Path, count: int, rule: IfPresent = IfPresent.ERROR
) -> tuple[Tally, list[tuple[int, str]]]:
    refusals: list[Refusal] = []
    async with open_services(settings(folder)) as services:
        tally = await loader(services, count, refusals, rule).load(find_files(path))
    return tally, [(refusal.line, refusal.code) for refusal in refusals]


def loader(services: Services, count: int, refusals: list[Refusal], rule: IfPresent = IfPresent.ERROR) -> Loader:
    return Loader(
        settings=services.settings,
        database=services.database,
        catalog=services.catalog,
        sweep=partial(defer_sweep, services.engine),
        hrefs=services.hrefs,
        bases=[],
        if_present=rule,
        helpers=count,
        on_refusal=refusals.append,
    )


def tables(folder: Path) -> dict[str, Any]:
    database = open_database(Settings(data_dir=folder))

    def read(tx: Connection) -> dict[str, Any]:
        found: dict[str, Any] = {name: [tuple(row) for row in tx.all(sql)] for name, sql in TABLES.items()}
        found["wholes"] = [orjson.loads(row[0]) for row in tx.all("SELECT whole FROM collection_facts ORDER BY coll")]
        return found

    try:
        return database.read_now(read)
    finally:
        database.close()


async def test_helpers_leave_the_same_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[int] = []
    real = Loader._write_entries

    async def counting(self: Loader, file: Any, entries: Any) -> None:
        here.append(len(entries))
        await real(self, file, entries)

    monkeypatch.setattr(Loader, "_write_entries", counting)
    path = write(tmp_path / "all.ndjson", documents(200))
    alone = await load(tmp_path / "alone", path, 0)
    assert sum(here) == 200
    here.clear()
    helped = await load(tmp_path / "helped", path, 2)
    assert helped == alone
    assert alone[0].loaded == 200
    assert sum(here) < CHUNK  # only those before the helpers came one by one
    assert tables(tmp_path / "helped") == tables(tmp_path / "alone")


@pytest.mark.parametrize("rule", list(IfPresent))
async def test_of_ids_that_are_taken_or_come_twice_the_rule_decides_as_ever(tmp_path: Path, rule: IfPresent) -> None:
    first = write(tmp_path / "first.ndjson", documents(25))
    changed = [document | {"bbox": [0, 0, 9, 9]} for document in documents(60) if "geometry" in document]
    twice = [*documents(60), *changed[40:45], *documents(90)]
    second = write(tmp_path / "second.ndjson", twice)
    found = []
    for name, count in (("alone", 0), ("helped", 2)):
        await load(tmp_path / name, first, 0)
        found.append((await load(tmp_path / name, second, count, rule), tables(tmp_path / name)))
    assert found[0] == found[1]
    assert found[0][0][0].loaded == 90 - 25


async def test_lines_that_are_refused_are_told_in_order_with_their_numbers(tmp_path: Path) -> None:
    lines: list[Any] = list(documents(80))
    for place in (20, 33, 34, 61):
        lines[place] = "{no json"
    lines[47] = lines[47] | {"geometry": {"type": "Point", "coordinates": [500, 0]}}
    path = write(tmp_path / "all.ndjson", lines)
    tally, refusals = await load(tmp_path / "data", path, 2)
    assert refusals == [
        (21, "InvalidInputData"), (34, "InvalidInputData"), (35, "InvalidInputData"), (48, "StacValidationFailed"),
        (62, "InvalidInputData"),
    ]  # fmt: skip
    assert (tally.loaded, tally.refused) == (75, 5)


async def test_a_missing_collection_ends_the_load_and_its_helpers(tmp_path: Path) -> None:
    lines = [*documents(60), item(900, "nowhere"), *(item(number) for number in range(1000, 1100))]
    path = write(tmp_path / "all.ndjson", lines)
    with pytest.raises(Exception, match="Collection 'nowhere' does not exist"):
        await load(tmp_path / "data", path, 2)


async def test_another_writer_waits_for_few_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BATCH", 5 * CHUNK)
    path = write(tmp_path / "all.ndjson", documents(3_000))
    waited: list[int] = []
    stop = threading.Event()

    def write_beside(database: Database) -> None:
        def count(tx: Connection) -> int:
            return int(tx.value("SELECT coalesce(sum(n), 0) FROM collstat"))

        def change(tx: Connection) -> int:
            tx.execute("UPDATE collections SET updated = updated")
            return count(tx)

        while not stop.is_set():
            before = database.read_now(count)
            waited.append(database.write_now(change) - before)

    async with open_services(settings(tmp_path / "data")) as services:
        beside = open_database(services.settings, readers=1)
        thread = threading.Thread(target=write_beside, args=(beside,))
        thread.start()
        try:
            tally = await loader(services, 2, []).load(find_files(path))
        finally:
            stop.set()
            thread.join()
            beside.close()
    assert tally.loaded == 3_000
    assert any(waited)  # it did write in the middle
    assert max(waited) <= 50 * CHUNK


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items from helpers are written at once, as they are."""
    written: list[int] = []
    real = Loader._write_batches

    async def counting(self: Loader, file: Any, batches: Any) -> None:
        written.append(sum(batch.items for batch in batches))
        await real(self, file, batches)

    monkeypatch.setattr(Loader, "_write_batches", counting)
    return written


async def test_where_a_transaction_takes_long_the_next_ones_are_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(loading, "BATCH", 20 * CHUNK)
    monkeypatch.setattr(loading, "_LEAST_BATCH", 2 * CHUNK)
    monkeypatch.setattr(loading, "_SECONDS", 0.0)
    written = counted(monkeypatch)
    tally, _ = await load(tmp_path / "data", write(tmp_path / "all.ndjson", documents(1_000)), 2)
    assert tally.loaded == 1_000
    assert written[0] >= 20 * CHUNK
    assert max(written[2:-1]) < 4 * CHUNK


async def test_towards_the_end_less_and_less_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(loading, "BATCH", 30 * CHUNK)
    monkeypatch.setattr(loading, "_LEAST_BATCH", 2 * CHUNK)
    written = counted(monkeypatch)
    tally, _ = await load(tmp_path / "data", write(tmp_path / "all.ndjson", documents(1_000)), 2)
    assert tally.loaded == 1_000
    assert max(written) >= 25 * CHUNK
    assert written[-1] <= 5 * CHUNK
    left = [sum(written[number + 1 :]) for number in range(len(written))]
    for items, after in zip(written[:-1], left, strict=False):
        assert items <= after + 4 * CHUNK  # all but the last are at most half of what was left, to a chunk or two
