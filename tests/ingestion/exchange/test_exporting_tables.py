"""Exporting tables: where they lie, going on after an interruption, part of the items, and back into a catalog."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from graticule.catalog import CollectionRecord, OnConflict
from graticule.database import Connection
from graticule.errors import Conflict
from graticule.ingestion.exchange import Exporter, TableExporter, exporting_tables, find_files
from graticule.ingestion.exchange.geoparquet import ParquetSource, write_geoparquet
from graticule.services import Services, open_services
from graticule.settings import Settings
from graticule.stac.search import Search, parse_search
from ingestion.exchange.documents import collection, item

ITEMS = 450
BASE = "https://x.test/base"


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with open_services(Settings(data_dir=tmp_path / "catalog")) as services:
        for name in ("c", "d"):
            await services.ingestion.create_collection(collection(name), ())
        documents: list[Any] = [item(number) for number in range(ITEMS)]

        def write(tx: Connection) -> None:
            services.catalog.put_items(tx, "c", documents, on_conflict=OnConflict.ERROR)

        await services.database.write(write)
        yield services


class Interrupted(Exception):
    pass


def tables(services: Services, *, pages: int | None = None, select: Search | None = None) -> TableExporter:
    """One that is interrupted after so many pages."""
    told = 0

    def tell(_collection: str, count: int) -> None:
        nonlocal told
        told += count > 0
        if told == pages:
            raise Interrupted

    return TableExporter(
        Exporter(catalog=services.catalog, hrefs=services.hrefs, base=BASE, select=select or Search(), on_items=tell)
    )


async def records(services: Services) -> list[CollectionRecord]:
    return list(await services.catalog.collections())


def ids(path: Path) -> list[str]:
    """Of everything that is loaded from a file, in order: collections, then items."""
    return [json.loads(line.text or b"")["id"] for line in ParquetSource(path).lines(10_000_000)]


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def numbered(count: int = ITEMS) -> set[str]:
    return {f"item-{number:06}" for number in range(count)}


async def test_a_folder_has_a_table_per_collection_and_nothing_else(services: Services, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await tables(services).to_folder(out, await records(services))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "c/items.parquet",
        "d/items.parquet",
    ]
    first, *rest = ids(out / "c" / "items.parquet")
    assert (first, set(rest), len(rest)) == ("c", numbered(), ITEMS)
    assert ids(out / "d" / "items.parquet") == ["d"]
    assert [file.path for file in find_files(out)] == [out / "c" / "items.parquet", out / "d" / "items.parquet"]


async def test_one_file_has_every_collection(services: Services, tmp_path: Path) -> None:
    await tables(services).to_file(tmp_path / "all.parquet", await records(services))
    first, second, *rest = ids(tmp_path / "all.parquet")
    assert ([first, second], set(rest), len(rest)) == (["c", "d"], numbered(), ITEMS)


async def test_an_earlier_export_is_not_overwritten_unasked(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("mine")
    with pytest.raises(Conflict, match="--overwrite"):
        await tables(services).to_file(path, await records(services))
    assert path.read_text() == "mine"
    await tables(services).to_file(path, await records(services), overwrite=True)
    assert len(ids(path)) == ITEMS + 2
    written = path.stat().st_mtime_ns
    await tables(services).to_file(path, await records(services), resume=True)
    assert path.stat().st_mtime_ns == written


async def test_interrupted_while_reading_it_goes_on(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graticule.ingestion.exchange.exporting.PAGES_PER_NOTE", 1)
    path = tmp_path / "t.parquet"
    with pytest.raises(Interrupted):
        await tables(services, pages=2).to_file(path, await records(services))
    assert not path.exists()
    await tables(services).to_file(path, await records(services), resume=True)
    _, _, *rest = ids(path)
    assert (set(rest), len(rest)) == (numbered(), ITEMS)
    assert files(tmp_path) == ["t.parquet"]


async def test_interrupted_while_writing_it_does_not_read_again(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise Interrupted

    path = tmp_path / "t.parquet"
    monkeypatch.setattr(exporting_tables, "write_geoparquet", interrupted)
    with pytest.raises(Interrupted):
        await tables(services).to_file(path, await records(services))
    monkeypatch.setattr(exporting_tables, "write_geoparquet", write_geoparquet)
    # One that read a page of the catalog would be interrupted; what is complete is told as a whole.
    await tables(services, pages=2).to_file(path, await records(services), resume=True)
    assert len(ids(path)) == ITEMS + 2


async def test_a_table_of_other_options_does_not_go_on_with_what_is_left(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graticule.ingestion.exchange.exporting.PAGES_PER_NOTE", 1)
    path = tmp_path / "t.parquet"
    with pytest.raises(Interrupted):
        await tables(services, pages=2).to_file(path, await records(services))
    select = parse_search({"ids": ["item-000007", "item-000300"]})
    await tables(services, select=select).to_file(path, await records(services), resume=True)
    assert sorted(ids(path)[2:]) == ["item-000007", "item-000300"]
    assert files(tmp_path) == ["t.parquet"]


@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        ({"bbox": "-150,-70,-147.5,-67.5"}, lambda one: one["bbox"][0] <= -147.5 and one["bbox"][1] <= -67.5),
        (
            {"datetime": "2020-01-05T00:00:00Z/2020-01-06T00:00:00Z"},
            lambda one: one["properties"]["datetime"][8:10] in {"05", "06"},
        ),
        ({"filter": "id LIKE 'item-0001%'", "filter-lang": "cql2-text"}, lambda one: one["id"].startswith("item-0001")),
    ],
    ids=["bbox", "datetime", "filter"],
)
async def test_part_of_the_items(services: Services, tmp_path: Path, asked: dict[str, str], holds: Any) -> None:
    path = tmp_path / "t.parquet"
    await tables(services, select=parse_search(asked)).to_file(path, await records(services))
    expected = sorted(one["id"] for one in map(item, range(ITEMS)) if holds(one))
    assert 0 < len(expected) < ITEMS
    assert sorted(ids(path)[2:]) == expected
