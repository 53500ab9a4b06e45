"""Exporting: where files lie, what is never overwritten, and going on after an interruption."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from graticule.catalog import OnConflict
from graticule.database import Connection
from graticule.errors import Conflict, NotFound
from graticule.ingestion.exchange import Exporter, exporting
from graticule.ingestion.exchange.files import folder_name
from graticule.services import Services, open_services
from graticule.settings import Settings
from ingestion.exchange.documents import collection, item

ITEMS = 450
BASE = "https://x.test/base"


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with open_services(Settings(data_dir=tmp_path / "catalog")) as services:
        for name in ("c", "d"):
            await services.ingestion.create_collection(collection(name), ())
        for first in range(0, ITEMS, 150):
            await put(services, *range(first, first + 150))
        yield services


async def put(services: Services, *numbers: int) -> None:
    documents: list[Any] = [item(number) for number in numbers]

    def write(tx: Connection) -> None:
        services.catalog.put_items(tx, "c", documents, on_conflict=OnConflict.ERROR)

    await services.database.write(write)


class Interrupted(Exception):
    pass


def exporter(services: Services, *, pages: int | None = None, base: str = BASE) -> Exporter:
    """One that is interrupted after so many pages."""
    told = 0

    def tell(_collection: str, count: int) -> None:
        nonlocal told
        told += count > 0
        if told == pages:
            raise Interrupted

    return Exporter(catalog=services.catalog, hrefs=services.hrefs, base=base, on_items=tell)


def ids(path: Path) -> list[str]:
    documents = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return [document["id"] for document in documents if document["type"] == "Feature"]


async def test_a_folder_has_one_of_its_own_per_collection(services: Services, tmp_path: Path) -> None:
    await exporter(services).to_folder(tmp_path / "out", await services.catalog.collections())
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert files == ["c/collection.json", "c/items.ndjson", "d/collection.json", "d/items.ndjson"]
    assert sorted(ids(tmp_path / "out" / "c" / "items.ndjson")) == [f"item-{number:06}" for number in range(ITEMS)]
    assert (tmp_path / "out" / "d" / "items.ndjson").read_bytes() == b""


async def test_a_stream_has_what_a_file_has(services: Services, tmp_path: Path) -> None:
    records = await services.catalog.collections()
    await exporter(services).to_file(tmp_path / "all.ndjson", records)
    stream = io.BytesIO()
    await exporter(services).to_stream(stream, records)
    assert stream.getvalue() == (tmp_path / "all.ndjson").read_bytes()


@pytest.mark.parametrize("collection_id", ["a", "with space:and,more", "ä" * 200, ".hidden", "x" * 256])
def test_any_id_gives_a_name_that_a_folder_can_have(tmp_path: Path, collection_id: str) -> None:
    folder = tmp_path / folder_name(collection_id)
    folder.mkdir()
    assert folder.parent == tmp_path
    assert not folder.name.startswith(".")


async def test_an_earlier_export_is_not_overwritten_unasked(services: Services, tmp_path: Path) -> None:
    records = await services.catalog.collections()
    await exporter(services).to_folder(tmp_path / "out", records)
    await exporter(services).to_file(tmp_path / "all.ndjson", records)
    with pytest.raises(Conflict, match="--overwrite"):
        await exporter(services).to_folder(tmp_path / "out", records)
    with pytest.raises(Conflict, match="--overwrite"):
        await exporter(services).to_file(tmp_path / "all.ndjson", records)
    await put(services, ITEMS)
    await exporter(services).to_folder(tmp_path / "out", records, overwrite=True)
    assert len(ids(tmp_path / "out" / "c" / "items.ndjson")) == ITEMS + 1


@pytest.mark.parametrize("pages", [1, 2, 3])
@pytest.mark.parametrize("form", ["folder", "file"])
async def test_an_interrupted_export_goes_on(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int, form: str
) -> None:
    monkeypatch.setattr(exporting, "PAGES_PER_NOTE", 2)
    records = await services.catalog.collections()
    whole, out = tmp_path / "whole", tmp_path / "out"

    async def export(path: Path, pages: int | None = None, *, resume: bool = False) -> None:
        if form == "folder":
            await exporter(services, pages=pages).to_folder(path, records, resume=resume)
        else:
            await exporter(services, pages=pages).to_file(path / "c" / "items.ndjson", records, resume=resume)

    await export(whole)
    with pytest.raises(Interrupted):
        await export(out, pages)
    assert not (out / "c" / "items.ndjson").exists()
    await export(out, resume=True)
    assert (out / "c" / "items.ndjson").read_bytes() == (whole / "c" / "items.ndjson").read_bytes()
    assert sorted(path.name for path in out.rglob("*.partial*")) == []
    await put(services, ITEMS)
    await export(out, resume=True)  # complete: it stays as it is
    assert (out / "c" / "items.ndjson").read_bytes() == (whole / "c" / "items.ndjson").read_bytes()


async def test_an_export_for_another_base_url_begins_anew(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGES_PER_NOTE", 1)
    records = await services.catalog.collections()
    with pytest.raises(Interrupted):
        await exporter(services, pages=2).to_file(tmp_path / "a.ndjson", records)
    await exporter(services, base="https://other.test").to_file(tmp_path / "a.ndjson", records, resume=True)
    assert len(ids(tmp_path / "a.ndjson")) == ITEMS


async def test_items_that_come_and_go_meanwhile_hide_no_other(services: Services, tmp_path: Path) -> None:
    told = 0

    class Changing(Exporter):
        async def _pages(self, collection_id: str, token: str | None) -> AsyncIterator[Any]:
            nonlocal told
            async for page in super()._pages(collection_id, token):
                told += 1
                await put(services, 1000 + told)
                gone = orjson.loads(page[0].items[-1])["id"]
                await services.ingestion.delete_item("c", gone)
                yield page

    records = [await services.catalog.collection("c")]
    await Changing(catalog=services.catalog, hrefs=services.hrefs, base=BASE).to_file(tmp_path / "a.ndjson", records)
    found = ids(tmp_path / "a.ndjson")
    assert len(found) == len(set(found))
    assert {f"item-{number:06}" for number in range(ITEMS)} <= set(found)


async def test_a_collection_that_vanishes_is_no_short_export(services: Services, tmp_path: Path) -> None:
    records = [await services.catalog.collection("c")]
    await services.ingestion.delete_collection("c")
    with pytest.raises(NotFound):
        await exporter(services).to_file(tmp_path / "a.ndjson", records)
    assert not (tmp_path / "a.ndjson").exists()
