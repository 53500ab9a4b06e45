"""Helper processes: what they hand back is what this process would have made, in the order of the lines."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from graticule.ingestion.burying import defer_sweep
from graticule.ingestion.exchange import Loader, Refusal, Tally, find_files, helpers
from graticule.ingestion.exchange.files import Size, SourceFile
from graticule.ingestion.exchange.helpers import Batch, Helpers
from graticule.ingestion.exchange.preparing import Ready, Rules
from graticule.services import Services, open_services
from graticule.settings import Settings
from graticule.storage import ManagedHrefs
from ingestion.exchange.documents import collection, item, write

BASE = "http://127.0.0.1:8080"
#: Two or three of the items here; some have more.
CHUNK_BYTES = 1_000


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "_CHUNK", Size(3, CHUNK_BYTES))
    monkeypatch.setattr(helpers, "_CHUNK_ALONE", Size(3, CHUNK_BYTES))
    monkeypatch.setattr(helpers, "_ALONE", 1)
    monkeypatch.setattr(helpers, "_MEANWHILE", 0)


def documents() -> Iterator[Any]:
    """All that a file can hold, over and over, each at another place of its chunk."""
    yield collection("c")
    yield collection("d")
    for number in range(0, 70, 7):
        yield item(number)
        yield item(number, None)  # of the Collection before it
        yield {**item(number + 1), "geometry": {"type": "Point", "coordinates": [500, 0]}}
        yield {**item(number + 2), "geometry": None, "bbox": None}
        yield item(number + 3, "elsewhere")
        yield [number]
        yield item(number + 4, "c", assets={"a": {"href": f"{BASE}/blobs/nothing/here"}})
        yield {**item(number + 5), "collection": 5}
        yield {**item(number + 6), "properties": {"datetime": "2020-01-01T00:00:00Z", "long": "x" * 7000}}


async def loaded(folder: Path, path: Path, count: int) -> tuple[Tally, list[tuple[Any, ...]], dict[str, Any]]:
    refusals: list[Refusal] = []
    async with open_services(Settings(data_dir=folder, max_item_bytes=5000)) as services:
        loader = Loader(
            settings=services.settings,
            database=services.database,
            catalog=services.catalog,
            sweep=partial(defer_sweep, services.engine),
            hrefs=services.hrefs,
            bases=[BASE],
            create=True,
            helpers=count,
            on_refusal=refusals.append,
        )
        tally = await loader.load(find_files(path))
        stored = await all_documents(services)
    return tally, [(r.line, r.id, r.code, r.message) for r in refusals], stored


async def all_documents(services: Services) -> dict[str, Any]:
    sql = "SELECT c.id, i.id, b.doc FROM collections c JOIN items i ON i.coll = c.coll JOIN documents b ON b.pk = i.pk"
    rows = await services.database.read(lambda tx: tx.all(sql))
    found = {f"{row[0]}/{row[1]}": orjson.loads(row[2]) for row in rows}
    for document in found.values():
        del document["_msft:ts"], document["_msft:etag"]  # each load's own
    return found


async def test_helpers_change_nothing_but_the_time(tmp_path: Path) -> None:
    path = write(tmp_path / "all.ndjson", documents())
    path.write_bytes(path.read_bytes() + b"\n \n{no json\n" + b" " * 30_000 + b"x\n" + json.dumps(item(900)).encode())
    alone = await loaded(tmp_path / "alone", path, 0)
    helped = await loaded(tmp_path / "helped", path, 2)
    assert helped == alone
    assert alone[0].loaded > 20
    assert {code for _, _, code, _ in alone[1]} >= {"ItemSizeExceeded", "InvalidInputData", "StacValidationFailed"}


def items(tmp_path: Path, count: int) -> SourceFile:
    return SourceFile(write(tmp_path / "items.ndjson", [item(number) for number in range(count)]))


def rules(tmp_path: Path) -> Rules:
    return Rules(Settings(data_dir=tmp_path), ManagedHrefs("0123456789abcdef"), (BASE,), None)


def test_helpers_prepare_most_of_a_large_file(tmp_path: Path) -> None:
    with Helpers(rules(tmp_path), 1) as pool:
        found = [outcome for _, outcome in pool.prepare(items(tmp_path, 50))]
    here = [outcome for outcome in found if isinstance(outcome, Ready)]
    batches = [outcome for outcome in found if isinstance(outcome, Batch)]
    assert (len(here), len(here) + len(batches)) == (3, len(found))
    helped = [ready for batch in batches for ready in batch.ready()]
    assert len(helped) == 47
    # An item from a helper comes as bytes, and is read again when somebody asks for it.
    assert helped[0].prepared._item is None
    assert helped[0].prepared.item == orjson.loads(helped[0].prepared.doc)
    lines = [line for batch in batches for line in batch.lines()]
    assert [line.number for line in lines] == list(range(4, 51))
    assert [orjson.loads(line.text or b"")["id"] for line in lines] == [ready.id for ready in helped]


def test_a_helper_that_is_ended_ends_the_load(tmp_path: Path) -> None:
    with Helpers(rules(tmp_path), 1) as pool:
        outcomes = pool.prepare(items(tmp_path, 400))
        for _ in range(10):
            next(outcomes)
        assert pool._pool is not None
        os.kill(next(iter(pool._pool._processes)), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            list(outcomes)


def test_a_small_load_starts_no_process(tmp_path: Path) -> None:
    with Helpers(rules(tmp_path), 1) as pool:
        assert len(list(pool.prepare(items(tmp_path, 2)))) == 2
        assert pool._pool is None
