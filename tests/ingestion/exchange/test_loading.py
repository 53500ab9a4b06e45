"""Loading: what comes in, what is refused and why, what is there already, and whose hrefs are whose."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from graticule.database import Connection
from graticule.errors import CollectionDoesNotExist, InvalidParameter
from graticule.ingestion.burying import defer_sweep
from graticule.ingestion.exchange import Exporter, IfPresent, Loader, Refusal, Tally, find_files, loading
from graticule.services import Services, open_services
from graticule.settings import Settings
from graticule.storage import ledger
from ingestion.exchange.documents import collection, item, lines, write

BASE = "http://127.0.0.1:8080"

Load = Callable[..., Awaitable[Tally]]


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with open_services(Settings(data_dir=tmp_path / "catalog", max_item_bytes=5000)) as services:
        yield services


@pytest.fixture
def refusals() -> list[Refusal]:
    return []


@pytest.fixture
def load(services: Services, refusals: list[Refusal]) -> Load:
    return loader_of(services, refusals)


def loader_of(services: Services, refusals: list[Refusal]) -> Load:
    async def load(path: Path, if_present: str = "error", **options: Any) -> Tally:
        loader = Loader(
            settings=services.settings,
            database=services.database,
            catalog=services.catalog,
            sweep=partial(defer_sweep, services.engine),
            hrefs=services.hrefs,
            bases=[BASE],
            if_present=IfPresent(if_present),
            on_refusal=refusals.append,
            **options,
        )
        return await loader.load(find_files(path))

    return load


async def stored(services: Services, item_id: str) -> Any:
    return orjson.loads(await services.catalog.item("c", item_id))


async def count(services: Services, collection_id: str = "c") -> int:
    return await services.catalog.item_count(collection_id)


# --- what comes in


async def test_items_follow_their_collection_in_one_file(services: Services, load: Load, tmp_path: Path) -> None:
    documents = [collection("c"), item(1), item(2, None), collection("d"), item(1, None)]
    tally = await load(write(tmp_path / "all.ndjson", documents))
    assert (tally.collections, tally.loaded, tally.refused) == (2, 3, 0)
    assert await count(services, "c") == 2
    assert await count(services, "d") == 1


async def test_an_item_keeps_its_members_and_foreign_hrefs(services: Services, load: Load, tmp_path: Path) -> None:
    await load(write(tmp_path / "all.ndjson", [collection(), item(1)]))
    document = await stored(services, "item-000001")
    uuid.UUID(document.pop("_msft:etag"))
    assert document.pop("_msft:ts")
    assert document == item(1)


async def test_no_operation_and_no_job_is_made(services: Services, load: Load, tmp_path: Path) -> None:
    await load(write(tmp_path / "all.ndjson", [collection(), item(1)]))

    def rows(tx: Connection) -> int:
        return int(tx.value("SELECT (SELECT count(*) FROM operations) + (SELECT count(*) FROM procrastinate_jobs)"))

    assert await services.database.read(rows) == 0


async def test_a_folder_of_collections_is_loaded(services: Services, load: Load, tmp_path: Path) -> None:
    for name in ("c", "d"):
        folder = tmp_path / "in" / f"folder of {name}"
        folder.mkdir(parents=True)
        (folder / "collection.json").write_text(json.dumps(collection(name), indent=2))
        write(folder / "items.ndjson", [item(number, None) for number in range(3)])
    tally = await load(tmp_path / "in")
    assert (tally.collections, tally.loaded) == (2, 6)
    assert await count(services, "d") == 3


async def test_a_collection_describes_the_items_of_its_own_folder_only(
    load: Load, refusals: list[Refusal], tmp_path: Path
) -> None:
    for name in ("1", "2"):
        (tmp_path / "in" / name).mkdir(parents=True)
        write(tmp_path / "in" / name / "items.ndjson", [item(1, None)])
    write(tmp_path / "in" / "1" / "collection.json", [collection("c")])
    assert (await load(tmp_path / "in")).loaded == 1
    assert [refusal.file for refusal in refusals] == [str(tmp_path / "in" / "2" / "items.ndjson")]


@pytest.mark.parametrize("indent", [None, 1])
async def test_an_item_collection_is_loaded_item_by_item(
    services: Services, load: Load, refusals: list[Refusal], tmp_path: Path, indent: int | None
) -> None:
    await load(write(tmp_path / "all.ndjson", [collection()]))
    bad = item(1)
    bad["properties"]["datetime"] = "yesterday"
    members = {"links": [{"rel": "next", "href": "https://example.com/next"}], "numberReturned": 4}
    document = {"type": "FeatureCollection", "features": [item(0), bad, item(2), 3], **members}
    (tmp_path / "found.json").write_text(json.dumps(document, indent=indent))
    tally = await load(tmp_path / "found.json")
    assert (tally.loaded, tally.refused) == (2, 2)
    assert [(refusal.line, refusal.id) for refusal in refusals] == [(2, bad["id"]), (4, None)]
    assert orjson.loads(await services.catalog.item("c", item(2)["id"]))["properties"] == item(2)["properties"]
    (tmp_path / "none.json").write_text(json.dumps({"type": "FeatureCollection", "features": []}, indent=indent))
    assert (await load(tmp_path / "none.json")).refused == 0


async def test_an_item_collection_is_no_line(load: Load, refusals: list[Refusal], tmp_path: Path) -> None:
    document = {"type": "FeatureCollection", "features": [item(0)]}
    assert (await load(write(tmp_path / "all.ndjson", [collection(), document, item(1)]))).loaded == 1
    assert [(refusal.line, refusal.code) for refusal in refusals] == [(2, "InvalidInputData")]
    assert "ends in .json" in refusals[0].message


async def test_one_collection_of_many_is_loaded(services: Services, load: Load, tmp_path: Path) -> None:
    documents = [collection("c"), item(1), collection("d"), item(1, "d"), item(2, None)]
    tally = await load(write(tmp_path / "all.ndjson", documents), only="c")
    assert (tally.loaded, tally.passed_over, tally.refused) == (1, 3, 0)
    assert [record.id for record in await services.catalog.collections()] == ["c"]


async def test_items_need_a_collection_that_exists_or_may_be_made(
    services: Services, load: Load, tmp_path: Path
) -> None:
    file = write(tmp_path / "items.ndjson", [item(1)])
    with pytest.raises(CollectionDoesNotExist, match="--create"):
        await load(file)
    tally = await load(file, create=True)
    assert (tally.collections, tally.loaded) == (1, 1)
    assert await count(services) == 1


async def test_items_without_a_collection_take_the_one_that_is_asked_for(
    services: Services, load: Load, refusals: list[Refusal], tmp_path: Path
) -> None:
    file = write(tmp_path / "items.ndjson", [item(1, None)])
    await load(file)
    assert [(refusal.line, refusal.code) for refusal in refusals] == [(1, "InvalidInputData")]
    assert "--collection" in refusals[0].message
    await load(file, only="c", create=True)
    assert await count(services) == 1


async def test_byte_order_marks_blank_lines_and_record_separators_are_no_part_of_documents(
    load: Load, tmp_path: Path
) -> None:
    text = f"\ufeff{json.dumps(collection())}\r\n\n\x1e{json.dumps(item(1))}\r\n   \n{json.dumps(item(2))}"
    (tmp_path / "all.ndjson").write_bytes(text.encode())
    assert (await load(tmp_path / "all.ndjson")).loaded == 2


@pytest.mark.parametrize("name", ["missing", "empty"])
async def test_a_path_with_nothing_to_load_is_refused(load: Load, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidParameter, match=name):
        await load(tmp_path / name)


# --- what is refused


@pytest.mark.parametrize(
    ("line", "code", "item_id"),
    [
        ("{not json", "InvalidInputData", None),
        ("[1, 2]", "InvalidInputData", None),
        ({"type": "Feature"}, "InvalidInputData", None),
        (item(2, id="a/b"), "InvalidInputData", "a/b"),
        (item(2, bbox=None), "StacValidationFailed", "item-000002"),
        (item(2, properties={"datetime": "yesterday"}), "StacValidationFailed", "item-000002"),
        (item(2, geometry={"type": "Point", "coordinates": ["x"]}), "StacValidationFailed", "item-000002"),
        (item(2, stac_version="0.9.0"), "StacValidationFailed", "item-000002"),
        (item(2, title="x" * 5000), "ItemSizeExceeded", "item-000002"),
        (item(2, title="x" * 100_000), "ItemSizeExceeded", None),
        (item(2, assets={"a": {}}), "InvalidInputData", "item-000002"),
    ],
    ids=str,
)
async def test_a_wrong_line_is_told_and_the_others_are_loaded(
    load: Load, refusals: list[Refusal], tmp_path: Path, line: Any, code: str, item_id: str | None
) -> None:
    file = write(tmp_path / "all.ndjson", [collection(), item(1), line, item(3)])
    tally = await load(file)
    assert (tally.loaded, tally.refused) == (2, 1)
    (refusal,) = refusals
    assert (refusal.file, refusal.line, refusal.id, refusal.code) == (str(file), 3, item_id, code)
    assert "token=" not in refusal.message
    assert tally.bytes_read == file.stat().st_size


async def test_a_collection_that_is_none_is_refused(load: Load, refusals: list[Refusal], tmp_path: Path) -> None:
    await load(write(tmp_path / "all.ndjson", [collection(extent={}), collection("d")]))
    assert [(refusal.line, refusal.id, refusal.code) for refusal in refusals] == [(1, "c", "InvalidInputData")]


# --- what is there already


async def test_loading_again_changes_nothing(services: Services, load: Load, tmp_path: Path) -> None:
    file = write(tmp_path / "all.ndjson", [collection(), *map(item, range(450))])
    assert (await load(file)).loaded == 450
    before = await services.catalog.item("c", "item-000007")
    tally = await load(file)
    assert (tally.loaded, tally.unchanged, tally.refused, tally.collections) == (0, 451, 0, 0)
    assert await services.catalog.item("c", "item-000007") == before


async def test_an_id_with_other_contents_is_refused(
    services: Services, load: Load, refusals: list[Refusal], tmp_path: Path
) -> None:
    await load(write(tmp_path / "all.ndjson", [collection(), item(1)]))
    tally = await load(write(tmp_path / "all.ndjson", [collection(title="t"), item(1, bbox=[0, 0, 9, 9]), item(2)]))
    assert (tally.loaded, tally.refused) == (1, 2)
    told = [(refusal.line, refusal.id, refusal.code) for refusal in refusals]
    assert told == [(1, "c", "Conflict"), (2, "item-000001", "ItemAlreadyExistsInCollection")]
    assert (await stored(services, "item-000001"))["bbox"] == item(1)["bbox"]


async def test_an_id_with_other_contents_is_skipped_where_that_is_asked(
    services: Services, load: Load, tmp_path: Path
) -> None:
    await load(write(tmp_path / "all.ndjson", [collection(), item(1)]))
    changed = [collection(title="t"), item(1, bbox=[0, 0, 9, 9]), item(2)]
    tally = await load(write(tmp_path / "all.ndjson", changed), "skip")
    assert (tally.loaded, tally.skipped, tally.refused) == (1, 2, 0)
    assert (await stored(services, "item-000001"))["bbox"] == item(1)["bbox"]


async def test_an_id_with_other_contents_is_replaced_where_that_is_asked(
    services: Services, load: Load, tmp_path: Path
) -> None:
    await load(write(tmp_path / "all.ndjson", [collection(), item(1)]))
    changed = [collection(title="t"), item(1, bbox=[0, 0, 9, 9]), item(2)]
    tally = await load(write(tmp_path / "all.ndjson", changed), "replace")
    assert (tally.loaded, tally.replaced, tally.collections, tally.refused) == (1, 1, 1, 0)
    assert (await stored(services, "item-000001"))["bbox"] == [0, 0, 9, 9]
    assert orjson.loads((await services.catalog.collection("c")).doc)["title"] == "t"


async def test_of_an_id_that_comes_twice_the_rule_decides(
    services: Services, load: Load, refusals: list[Refusal], tmp_path: Path
) -> None:
    file = write(tmp_path / "all.ndjson", [collection(), item(1), item(1), item(1, bbox=[0, 0, 9, 9])])
    tally = await load(file)
    assert (tally.loaded, tally.unchanged, tally.refused) == (1, 1, 1)
    assert refusals[0].line == 4
    assert (await load(file, "replace")).replaced == 1
    assert (await stored(services, "item-000001"))["bbox"] == [0, 0, 9, 9]


async def test_other_contents_never_keep_an_etag(services: Services, load: Load, tmp_path: Path) -> None:
    await load(write(tmp_path / "all.ndjson", [collection(), item(1)]))
    document = await stored(services, "item-000001")
    changed = document | {"bbox": [0, 0, 9, 9]}
    await load(write(tmp_path / "all.ndjson", [changed]), "replace")
    assert (await stored(services, "item-000001"))["_msft:etag"] != document["_msft:etag"]


async def test_slices_are_bounded_by_number_and_bytes(
    services: Services, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    add = services.catalog.add_new_items

    def counting(tx: Connection, items: Any) -> None:
        sizes.append(sum(map(len, items.values())))
        add(tx, items)

    monkeypatch.setattr(services.catalog, "add_new_items", counting)
    monkeypatch.setattr(loading, "SLICE", 200)
    file = write(tmp_path / "all.ndjson", [collection(), *map(item, range(450))])
    await load(file)
    assert sizes == [200, 200, 50]
    monkeypatch.setattr(loading, "SLICE_BYTES", 5 * len(json.dumps(item(1))))
    sizes.clear()
    await load(write(tmp_path / "more.ndjson", map(item, range(1000, 1020))))
    assert max(sizes) <= 6
    assert await count(services) == 470


# --- hrefs


async def managed(services: Services, item_id: str = "item-000001") -> tuple[str, str]:
    """A live blob of an item: its stored href and its public one."""

    def add(tx: Connection) -> tuple[str, str]:
        container = ledger.container_of(tx, "c")
        assert container is not None
        key, names = f"0123456789ab/{item_id}/b1.tif", {"collection_id": "c", "item_id": item_id}
        ledger.plan(
            tx, container=container, key=key, operation_id="o", asset_key="b1", media_type="image/tiff", **names
        )
        ledger.stored(tx, container, key, size=1, sha256="0" * 64, etag="e")
        ledger.publish(tx, "o", item_id)
        return services.hrefs.stored(container, key), services.hrefs.public(container, key, BASE)

    return await services.database.write(add)


async def test_an_href_of_a_managed_asset_is_folded_back(services: Services, load: Load, tmp_path: Path) -> None:
    await load(write(tmp_path / "c.ndjson", [collection()]))
    inside, outside = await managed(services)
    await load(write(tmp_path / "all.ndjson", [item(1, assets={"b1": {"href": f"{outside}?sig=1"}})]))
    assert (await stored(services, "item-000001"))["assets"]["b1"]["href"] == inside


async def test_an_href_of_another_catalog_under_the_same_url_stays(
    services: Services, load: Load, tmp_path: Path
) -> None:
    foreign = f"{BASE}/blobs/c-01234567/0123456789ab/item-000001/b1.tif"
    await load(write(tmp_path / "all.ndjson", [collection(), item(1, assets={"b1": {"href": foreign}})]))
    assert (await stored(services, "item-000001"))["assets"]["b1"]["href"] == foreign


async def test_bytes_that_a_replaced_item_no_longer_names_are_given_up(
    services: Services, load: Load, tmp_path: Path
) -> None:
    await load(write(tmp_path / "c.ndjson", [collection()]))
    _, outside = await managed(services)
    mine = item(1, assets={"b1": {"href": outside}})
    await load(write(tmp_path / "all.ndjson", [mine]))

    await load(write(tmp_path / "all.ndjson", [mine | {"bbox": [0, 0, 9, 9]}]), "replace")
    assert len(await services.database.read(lambda tx: ledger.of_item(tx, "c", "item-000001"))) == 1
    await load(write(tmp_path / "all.ndjson", [item(1)]), "replace")
    assert await services.database.read(lambda tx: ledger.of_item(tx, "c", "item-000001")) == []


# --- round trip


async def test_a_round_trip_through_another_catalog_changes_no_byte(
    services: Services, load: Load, refusals: list[Refusal], tmp_path: Path
) -> None:
    await load(write(tmp_path / "c.ndjson", [collection(), *map(item, range(2, 420))]))
    _, outside = await managed(services)
    await load(write(tmp_path / "one.ndjson", [item(1, assets={"b1": {"href": outside}})]))

    async def export(services: Services, name: str) -> Path:
        exporter = Exporter(catalog=services.catalog, hrefs=services.hrefs, base=BASE)
        await exporter.to_file(tmp_path / f"{name}.ndjson", await services.catalog.collections())
        await exporter.to_folder(tmp_path / name, await services.catalog.collections())
        return tmp_path / name

    first = await export(services, "first")
    assert outside.encode() in (first / "c" / "items.ndjson").read_bytes()
    async with open_services(Settings(data_dir=tmp_path / "other")) as other:
        await loader_of(other, refusals)(first)
        second = await export(other, "second")
    assert refusals == []
    assert len(lines(first / "c" / "items.ndjson")) == 419
    assert lines(second / "c" / "items.ndjson") == lines(first / "c" / "items.ndjson")
    assert (second / "c" / "collection.json").read_bytes() == (first / "c" / "collection.json").read_bytes()
    assert lines(tmp_path / "second.ndjson") == lines(tmp_path / "first.ndjson")
