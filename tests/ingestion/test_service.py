"""Submitting and cancelling: what is promised, in which slices, and what other requests do meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from graticule.database import Connection
from graticule.errors import NotFound, TooManyRequests
from graticule.ingestion import service
from graticule.services import Services, open_services
from graticule.settings import Settings
from graticule.workflows import item_entries, journal
from graticule.workflows.journal import Operation

COLLECTION: dict[str, Any] = {
    "type": "Collection",
    "id": "c",
    "description": "d",
    "license": "x",
    "links": [],
    "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}},
}


def item(item_id: str, *, assets: int = 0, **members: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "geometry": None,
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": {f"a{number}": {"href": f"https://x.test/{number}?sig=hunter22"} for number in range(assets)},
    } | members


def batch(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "catalog", max_pending_items=150, max_item_bytes=5000, max_item_assets=3)


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    async with open_services(settings) as services:
        await services.ingestion.create_collection(dict(COLLECTION), ())
        yield services


async def submit(services: Services, document: Any) -> Operation:
    return await services.ingestion.submit_items("c", document, ())


async def count(services: Services, table: str) -> int:
    return int(await services.database.read(lambda tx: tx.value(f"SELECT count(*) FROM {table}")))


async def test_an_item_without_assets_is_there_when_the_answer_is(services: Services) -> None:
    operation = await submit(services, item("a"))
    assert operation.status == "Succeeded"
    assert b'"id":"a"' in await services.catalog.item("c", "a")
    assert await count(services, "procrastinate_jobs") == 0


async def test_an_item_with_assets_waits_sealed_with_its_job(services: Services) -> None:
    operation = await submit(services, item("a", assets=1))
    assert operation.status == "Pending"
    sealed = await services.database.read(lambda tx: item_entries.document(tx, operation.pk, 0))
    assert sealed is not None
    assert b"hunter22" not in sealed
    assert await count(services, "procrastinate_jobs") == 1


async def test_a_batch_is_settled_item_by_item(services: Services) -> None:
    await submit(services, item("there"))
    operation = await submit(
        services,
        batch(
            item("new"),
            item("new"),
            item("there"),
            item("waits", assets=1),
            item("many", assets=4),
            item("large", properties={"datetime": "2020-01-01T00:00:00Z", "x": "y" * 6000}),
            item("timeless", properties={}),
            {"id": 7},
            None,
        ),
    )
    assert (operation.status, operation.total, operation.succeeded, operation.failed) == ("Pending", 9, 1, 7)
    entries = await services.database.read(lambda tx: item_entries.listing(tx, operation.pk))
    assert [entry.code for entry in entries] == [
        None,
        "ItemAlreadyExistsInCollection",
        "ItemAlreadyExistsInCollection",
        None,
        "TotalAssetsExceeded",
        "ItemSizeExceeded",
        "StacValidationFailed",
        "InvalidInputData",
        "InvalidInputData",
    ]
    assert await count(services, "procrastinate_jobs") == 1
    assert await count(services, "submissions") == 1


async def test_a_large_batch_is_written_in_slices(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SLICE", 3)
    operation = await submit(services, batch(*(item(f"i{number}", assets=number % 2) for number in range(10))))
    assert (operation.total, operation.succeeded, operation.status) == (10, 5, "Pending")
    assert await count(services, "procrastinate_jobs") == 5
    assert await count(services, "items") == 5


def test_slices_hold_few_items_and_few_bytes() -> None:
    sent = [service._Sent(seq, None, sealed=b"x" * 900_000) for seq in range(5)]
    assert [len(part) for part in service._slices(sent)] == [2, 2, 1]
    small = [service._Sent(seq, None) for seq in range(250)]
    assert [len(part) for part in service._slices(small)] == [100, 100, 50]


async def test_too_many_waiting_items_are_refused_and_ready_ones_are_not(services: Services) -> None:
    await submit(services, batch(*(item(f"i{number}", assets=1) for number in range(150))))
    with pytest.raises(TooManyRequests, match="GRATICULE_MAX_PENDING_ITEMS"):
        await submit(services, item("one", assets=1))
    assert (await submit(services, item("two"))).status == "Succeeded"


async def test_a_post_that_comes_after_the_deletion_is_refused_whole(services: Services) -> None:
    """The check and the promise are one transaction, so that nothing waits for a collection that has gone."""
    await services.ingestion.delete_collection("c")
    for document in (item("a", assets=1), batch(item("a"), item("b", assets=1))):
        with pytest.raises(NotFound):
            await submit(services, document)
    assert await count(services, "operation_items") == 0


async def test_deleting_a_collection_cancels_what_waits_for_it(services: Services) -> None:
    waiting = await submit(services, item("a", assets=1))
    await services.ingestion.delete_collection("c")
    assert (await services.ingestion.operation(waiting.id)).status == "Canceled"


async def test_cancel_all_cancels_more_than_a_slice_and_spares_deletions(services: Services) -> None:
    def many(tx: Connection) -> None:
        for _ in range(230):
            operation = journal.create(tx, "AddItem", "c", total=1)
            item_entries.add(tx, operation.pk, [(0, "i", None)])

    await services.database.write(many)
    await services.ingestion.create_collection(COLLECTION | {"id": "d"}, ())
    deletion = await services.ingestion.delete_collection("d")
    await services.ingestion.cancel_all()
    pending = await services.ingestion.operations(top=10, skip=0, collection_id=None, status="Pending")
    assert [operation.id for operation in pending] == [deletion.id]
