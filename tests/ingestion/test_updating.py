"""Replacing and patching items: what stays in place, what is fetched, and who wins a race."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from graticule.database import Connection
from graticule.errors import InvalidInputData, PatchValidation, SourceNotFound
from graticule.ingestion.copying import ItemWork
from graticule.ingestion.updating import Change, merge_patch
from graticule.services import Services, open_services
from graticule.settings import Settings
from graticule.storage import layout, ledger
from graticule.workflows import item_entries
from graticule.workflows.asset_entries import StoredAsset
from graticule.workflows.journal import Operation
from ingestion.test_service import COLLECTION, count, item, submit
from ingestion.test_workflows import ended, until, working

BASE = "http://catalog.test"


class Bringing:
    """In the place of the copier: enters blobs into the ledger, without bytes; a call may be held at its asset."""

    def __init__(self, services: Services) -> None:
        self.services = services
        #: (item, asset key) that were asked for.
        self.brought: list[tuple[str, str]] = []
        #: Hrefs that are not there before their event is set.
        self.held: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()

    async def copy_assets(self, work: ItemWork) -> dict[str, tuple[str, StoredAsset]]:
        return {
            key: await self._bring(work, key, asset["href"])
            for key, asset in work.item["assets"].items()
            if key not in work.kept
        }

    async def _bring(self, work: ItemWork, key: str, href: str) -> tuple[str, StoredAsset]:
        self.brought.append((work.item_id, key))
        if href in self.held:
            await self.held[href].wait()
        if href in self.failing:
            raise SourceNotFound(f"Item '{work.item_id}', asset '{key}': gone.")
        name = layout.item_asset_key(work.operation.id, work.item_id, key, ".txt")
        owner = {"collection_id": work.collection_id, "item_id": work.item_id, "operation_id": work.operation.id}

        def enter(tx: Connection) -> None:
            ledger.plan(tx, container=work.container, key=name, asset_key=key, media_type="text/plain", **owner)
            ledger.stored(tx, work.container, name, size=1, sha256="0" * 64, etag=None)

        await self.services.database.write(enter)
        stored = StoredAsset(key, "copied", work.container, name, "text/plain", 1, 1, "0" * 64)
        return self.services.hrefs.stored(work.container, name), stored


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with open_services(Settings(data_dir=tmp_path / "catalog", max_item_assets=3)) as services:
        await services.ingestion.create_collection(dict(COLLECTION), ())
        yield services


async def put(services: Services, document: Any, item_id: str = "a") -> Operation:
    return await services.ingestion.replace_item("c", item_id, document, (BASE,))


async def patch(services: Services, document: Any, item_id: str = "a") -> Operation:
    return await services.ingestion.patch_item("c", item_id, document, (BASE,))


async def read(services: Services, item_id: str = "a") -> dict[str, Any]:
    """As a client of `BASE` reads it."""
    stored = await services.catalog.item("c", item_id)
    document: dict[str, Any] = orjson.loads(services.hrefs.unfold(stored, BASE))
    return document


async def live(services: Services, item_id: str = "a") -> dict[str, str]:
    """Asset key → public href of an item's live blobs."""
    blobs = await services.database.read(lambda tx: ledger.of_item(tx, "c", item_id))
    return {blob.asset_key: services.hrefs.public(blob.container, blob.key, BASE) for blob in blobs}


async def staged(services: Services) -> int:
    return int(await services.database.read(lambda tx: tx.value("SELECT count(*) FROM blobs WHERE state='staged'")))


async def test_a_replacement_without_anything_to_fetch_is_there_when_the_answer_is(services: Services) -> None:
    await submit(services, item("a"))
    before = await read(services)
    operation = await put(services, item("a", properties={"datetime": "2021-01-01T00:00:00Z", "x": 1}))
    assert (operation.status, operation.type, operation.total, operation.succeeded) == ("Succeeded", "UpdateItem", 1, 1)
    after = await read(services)
    assert after["properties"] == {"datetime": "2021-01-01T00:00:00Z", "x": 1}
    assert after["_msft:etag"] != before["_msft:etag"]
    assert after["_msft:ts"] > before["_msft:ts"]
    assert await count(services, "procrastinate_jobs") == 0
    assert await services.catalog.item_count("c") == 1


async def test_what_the_catalog_set_first_outlasts_a_replacement(services: Services) -> None:
    await submit(services, item("a") | {"msft:_created": "2020-01-01T00:00:00Z"})
    await put(services, item("a"))
    await patch(services, {"msft:_created": None})
    assert (await read(services))["msft:_created"] == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize("document", [item("a"), item("a", assets=1)])
async def test_a_change_of_an_unknown_item_fails_in_the_operation(services: Services, document: Any) -> None:
    replaced, patched = await put(services, document), await patch(services, document)
    assert (replaced.status, replaced.error_code) == ("Failed", "NoRecordsToUpdate")
    assert (patched.status, patched.error_code) == ("Failed", "NoRecordsToPatch")
    assert await count(services, "submissions") == 0


@pytest.mark.parametrize("document", [item("b"), item("a", collection="d"), item("a") | {"type": "x"}, [], 7])
def test_a_replacement_that_is_not_this_item_is_refused_at_once(document: Any) -> None:
    with pytest.raises(InvalidInputData):
        Change.replacement("c", "a", document)


@pytest.mark.parametrize(
    "document",
    [
        [{"op": "remove", "path": "/assets"}],
        None,
        {"id": "b"},
        {"id": None},
        {"type": None},
        {"collection": "d"},
        {"assets": {"x": {"href": None}}},
        {"assets": {"x": {"href": 7}}},
    ],
)
def test_a_patch_that_is_none_is_refused_at_once(document: Any) -> None:
    with pytest.raises(PatchValidation):
        Change.patch("c", "a", document)


@pytest.mark.parametrize(
    "document",
    [
        {"properties": None},
        {"assets": {"x": {"title": "no href"}}},
        {"assets": 7},
        {"links": {}},
        {"geometry": 3},
    ],
)
async def test_a_patch_that_leaves_no_item_fails_in_the_operation(services: Services, document: Any) -> None:
    await submit(services, item("a"))
    operation = await patch(services, document)
    assert (operation.status, operation.error_code) == ("Failed", "PatchValidation")
    assert (await read(services))["properties"] == item("a")["properties"]


async def test_contents_are_checked_as_at_creation(services: Services) -> None:
    await submit(services, item("a"))
    for operation in (
        await put(services, item("a", assets=4)),
        await patch(services, {"assets": item("a", assets=4)["assets"]}),
    ):
        assert (operation.status, operation.error_code) == ("Failed", "TotalAssetsExceeded")
    assert (await patch(services, {"stac_version": "0.9"})).error_code == "StacValidationFailed"


async def test_null_in_a_patch_removes_and_what_an_item_must_have_becomes_null(services: Services) -> None:
    start = {"start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-02-01T00:00:00Z"}
    point: dict[str, Any] = {"geometry": {"type": "Point", "coordinates": [1.0, 2.0]}, "bbox": [1.0, 2.0, 1.0, 2.0]}
    await submit(services, item("a", **point) | {"extra": {"one": 1, "two": 2}})
    change = {"geometry": None, "bbox": None, "extra": {"one": None}, "properties": {"datetime": None, **start}}
    assert (await patch(services, change)).status == "Succeeded"
    after = await read(services)
    assert (after["geometry"], after["extra"], after["properties"]) == (None, {"two": 2}, {"datetime": None, **start})
    assert "bbox" not in after


@pytest.mark.parametrize(
    ("target", "change", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merging_follows_the_examples_of_the_rfc(target: Any, change: Any, merged: Any) -> None:
    assert merge_patch(target, change) == merged


async def test_assets_that_are_sent_back_stay_where_they_are(services: Services) -> None:
    bringing = Bringing(services)
    async with working(services, bringing):
        await ended(services, await submit(services, item("a", assets=2)))
        before = await live(services)
        document = await read(services)
        document["assets"]["a0"]["href"] += "?st=2026&sig=abc"  # as read with sign=true
        document["assets"]["a1"]["title"] = "New title"
        assert (await put(services, document)).status == "Succeeded"
        assert (await patch(services, document)).status == "Succeeded"
        assert (await patch(services, {"properties": {"x": 1}})).status == "Succeeded"
    assert await live(services) == before
    after = await read(services)
    said = {"href": before["a1"], "type": "text/plain", "title": "New title"}
    assert said.items() <= after["assets"]["a1"].items()
    assert after["assets"]["a0"]["href"] == before["a0"]
    assert len(bringing.brought) == 2


async def test_only_what_is_new_is_fetched_and_what_vanishes_is_buried(services: Services) -> None:
    bringing = Bringing(services)
    async with working(services, bringing):
        await ended(services, await submit(services, item("a", assets=2)))
        before = await live(services)
        bringing.brought.clear()
        change = {"assets": {"a0": None, "new": {"href": "https://x.test/new"}}}
        operation = await patch(services, change)
        assert operation.status == "Pending"
        assert (await ended(services, operation)).status == "Succeeded"
        assert bringing.brought == [("a", "new")]
        between = await live(services)
        assert between.keys() == {"a1", "new"}
        assert between["a1"] == before["a1"]
        await ended(services, await put(services, item("a", assets=1)))
    assert (await live(services)).keys() == {"a0"}
    assert (await live(services))["a0"] != before["a0"]
    assert await count(services, "submissions") == 0


async def test_a_file_of_another_item_is_copied_and_one_that_is_gone_refused(services: Services) -> None:
    bringing = Bringing(services)
    async with working(services, bringing):
        await ended(services, await submit(services, item("a")))
        await ended(services, await submit(services, item("other", assets=1)))
        href = (await live(services, "other"))["a0"]
        bringing.brought.clear()
        operation = await patch(services, {"assets": {"mine": {"href": href}}})
        assert (await ended(services, operation)).status == "Succeeded"
        assert bringing.brought == [("a", "mine")]
    assert await live(services, "other") == {"a0": href}


async def test_a_failing_asset_leaves_the_item_as_it_was(services: Services) -> None:
    bringing = Bringing(services)
    async with working(services, bringing):
        await ended(services, await submit(services, item("a", assets=1)))
        before = await read(services)
        bringing.failing.add("https://x.test/gone")
        changed = item("a", assets=1) | {"assets": {"b": {"href": "https://x.test/b"}}}
        changed["assets"]["gone"] = {"href": "https://x.test/gone"}
        operation = await ended(services, await put(services, changed))
    assert (operation.status, operation.error_code) == ("Failed", "IngestionResourceUriNotFound")
    assert await read(services) == before
    assert await staged(services) == 0


async def test_of_two_updates_at_once_the_last_to_publish_wins_whole(services: Services) -> None:
    bringing = Bringing(services)
    held = bringing.held["https://x.test/slow"] = asyncio.Event()
    async with working(services, bringing):
        await ended(services, await submit(services, item("a")))
        slow = await put(services, item("a", properties={"datetime": "2020-01-01T00:00:00Z", "who": "slow"})
                         | {"assets": {"slow": {"href": "https://x.test/slow"}}})  # fmt: skip
        await until(services, slow, lambda current: current.status == "Running")
        quick = await put(services, item("a", properties={"datetime": "2020-01-01T00:00:00Z", "who": "quick"})
                          | {"assets": {"quick": {"href": "https://x.test/quick"}}})  # fmt: skip
        assert (await ended(services, quick)).status == "Succeeded"
        assert (await live(services)).keys() == {"quick"}
        held.set()
        assert (await ended(services, slow)).status == "Succeeded"
    after = await read(services)
    assert (after["properties"]["who"], after["assets"].keys()) == ("slow", {"slow"})
    assert (await live(services)).keys() == {"slow"}


async def test_a_patch_is_merged_into_what_was_published_meanwhile(services: Services) -> None:
    bringing = Bringing(services)
    held = bringing.held["https://x.test/slow"] = asyncio.Event()
    async with working(services, bringing):
        await ended(services, await submit(services, item("a", assets=1)))
        slow = await patch(services, {"assets": {"slow": {"href": "https://x.test/slow"}}})
        await until(services, slow, lambda current: current.status == "Running")
        assert (await patch(services, {"properties": {"x": 1}, "assets": {"a0": None}})).status == "Succeeded"
        held.set()
        assert (await ended(services, slow)).status == "Succeeded"
    after = await read(services)
    assert (after["properties"]["x"], after["assets"].keys()) == (1, {"slow"})
    assert (await live(services)).keys() == {"slow"}


async def test_an_asset_that_was_to_stay_and_is_replaced_meanwhile_fails_the_older_update(services: Services) -> None:
    bringing = Bringing(services)
    held = bringing.held["https://x.test/slow"] = asyncio.Event()
    async with working(services, bringing):
        await ended(services, await submit(services, item("a", assets=1)))
        document = await read(services)
        document["assets"]["slow"] = {"href": "https://x.test/slow"}
        slow = await put(services, document)
        await until(services, slow, lambda current: current.status == "Running")
        await ended(services, await put(services, item("a", assets=1)))
        newer = await read(services)
        held.set()
        operation = await ended(services, slow)
    assert (operation.status, operation.error_code) == ("Failed", "InvalidAssetHref")
    assert "asset 'a0'" in (operation.error_message or "")
    assert await read(services) == newer
    assert await staged(services) == 0


async def test_an_update_of_an_item_that_is_deleted_meanwhile_leaves_nothing(services: Services) -> None:
    bringing = Bringing(services)
    held = bringing.held["https://x.test/0?sig=hunter22"] = asyncio.Event()
    async with working(services, bringing):
        await ended(services, await submit(services, item("a")))
        operation = await put(services, item("a", assets=1))
        await until(services, operation, lambda current: current.status == "Running")
        await services.ingestion.delete_item("c", "a")
        held.set()
        operation = await ended(services, operation)
    assert (operation.status, operation.error_code) == ("Failed", "NoRecordsToUpdate")
    assert await staged(services) == 0
    assert await live(services) == {}
    assert await services.catalog.item_count("c") == 0


async def test_a_cancelled_update_leaves_the_item_as_it_was(services: Services) -> None:
    bringing = Bringing(services)
    bringing.held["https://x.test/0?sig=hunter22"] = asyncio.Event()
    await submit(services, item("a"))
    before = await read(services)
    waiting = await put(services, item("a", assets=1))
    sealed = await services.database.read(lambda tx: item_entries.document(tx, waiting.pk, 0))
    assert sealed is not None
    assert b"hunter22" not in sealed
    async with working(services, bringing):
        await until(services, waiting, lambda current: current.status == "Running")
        await services.ingestion.cancel(waiting.id)
        assert (await ended(services, waiting)).status == "Canceled"
    assert await read(services) == before
    assert await count(services, "submissions") == 0


async def test_an_update_waits_for_a_worker_no_longer_than_its_collection_is_there(services: Services) -> None:
    await submit(services, item("a"))
    waiting = await put(services, item("a", assets=1))
    await services.ingestion.delete_collection("c")
    assert (await services.ingestion.operation(waiting.id)).status == "Canceled"


async def test_updates_without_end_leave_one_item_and_its_files(services: Services) -> None:
    bringing = Bringing(services)
    async with working(services, bringing):
        await ended(services, await submit(services, item("a", assets=1)))
        operations = []
        for number in range(12):
            change = {"assets": {"a0": {"href": f"https://x.test/{number}"}}, "properties": {f"p{number}": number}}
            operations.append(await patch(services, change))
        for operation in operations:
            assert (await ended(services, operation)).status == "Succeeded"
    after = await read(services)
    assert {f"p{number}" for number in range(12)} <= after["properties"].keys()
    assert await live(services) == {"a0": after["assets"]["a0"]["href"]}
    assert await services.catalog.item_count("c") == 1
    assert await staged(services) == 0
