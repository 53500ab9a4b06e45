from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graticule.database import Connection, Database, SqliteDatabase
from graticule.storage import AssetStore, layout, ledger, orphans, sweep

OPERATION = "op-1"


@pytest.fixture
def store(tmp_path: Path) -> AssetStore:
    return AssetStore.local(tmp_path / "assets")


def plan(database: Database, asset: str, operation: str = OPERATION) -> tuple[str, str]:
    key = layout.item_asset_key(operation, "item", asset, ".bin")

    def announce(tx: Connection) -> str:
        container = ledger.open_container(tx, "scenes")
        ledger.plan(
            tx,
            container=container,
            key=key,
            collection_id="scenes",
            item_id="item",
            operation_id=operation,
            asset_key=asset,
            media_type=None,
        )
        return container

    return database.write_now(announce), key


async def write(database: Database, store: AssetStore, asset: str, operation: str = OPERATION) -> None:
    container, key = plan(database, asset, operation)
    blob = await store.put_bytes(container, key, asset.encode(), None)
    await database.write(
        lambda tx: ledger.stored(tx, container, key, size=blob.size, sha256=blob.sha256, etag=blob.etag)
    )


async def publish(database: Database, operation: str = OPERATION) -> None:
    await database.write(lambda tx: ledger.publish(tx, operation, "item"))


async def listed(store: AssetStore) -> list[str]:
    return sorted([key.rpartition("/")[2] async for _, key, _ in store.list_all()])


async def found_orphans(database: Database, store: AssetStore) -> list[tuple[str, str, int]]:
    return [orphan async for orphan in orphans(database, store)]


async def test_a_sweep_removes_dead_bytes_and_spares_the_rest(database: Database, store: AssetStore) -> None:
    for asset in ("one", "two"):
        await write(database, store, asset)
    await publish(database)
    await write(database, store, "staged", "op-2")
    await write(database, store, "gone", "op-3")
    await database.write(lambda tx: ledger.bury_operation(tx, "op-3"))
    swept = await sweep(database, store)
    assert (swept.count, swept.bytes) == (1, 4)
    assert await listed(store) == ["one.bin", "staged.bin", "two.bin"]
    assert (await sweep(database, store)).count == 0


async def test_a_sweep_does_no_more_than_it_may(database: Database, store: AssetStore) -> None:
    for number in range(5):
        await write(database, store, f"a{number}")
    await publish(database)
    await database.write(lambda tx: ledger.bury_item(tx, "scenes", "item"))
    assert [(await sweep(database, store, 2)).count for _ in range(4)] == [2, 2, 1, 0]
    assert await listed(store) == []


async def test_a_deleted_collection_leaves_nothing(database: Database, store: AssetStore, tmp_path: Path) -> None:
    for number in range(130):
        await write(database, store, f"a{number}")
    await publish(database)
    await database.write(lambda tx: ledger.bury_collection(tx, "scenes"))
    while (await sweep(database, store, 70)).count:
        pass
    assert list((tmp_path / "assets").iterdir()) == []
    assert database.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM blobs")) == 0
    assert database.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM containers")) == 0


async def test_a_row_whose_bytes_are_gone_already_is_swept_too(database: Database, store: AssetStore) -> None:
    await write(database, store, "one")
    await publish(database)
    await database.write(lambda tx: ledger.bury_item(tx, "scenes", "item"))
    for container, key, _ in [entry async for entry in store.list_all()]:
        await store.delete(container, key)
    assert (await sweep(database, store)).bytes == 0
    assert database.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM blobs")) == 0


async def test_bytes_that_a_late_writer_leaves_go_with_a_later_sweep(database: Database, store: AssetStore) -> None:
    container, key = plan(database, "late")
    await database.write(lambda tx: ledger.bury_operation(tx, OPERATION))
    await sweep(database, store)
    await store.put_bytes(container, key, b"late", None)
    assert await found_orphans(database, store) == []
    await database.write(lambda tx: tx.execute("UPDATE blobs SET updated = updated - :by", {"by": 2 * ledger.GRACE}))
    assert (await sweep(database, store)).bytes == 4
    assert database.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM blobs")) == 0


async def test_an_orphan_is_bytes_without_a_row_in_any_state(database: Database, store: AssetStore) -> None:
    await write(database, store, "staged")
    await write(database, store, "dead", "op-2")
    await database.write(lambda tx: ledger.bury_operation(tx, "op-2"))
    await store.put_bytes("scenes-00000000", "stray", b"12345", None)
    assert await found_orphans(database, store) == [("scenes-00000000", "stray", 5)]


VICTIM = """
import asyncio, sys
from pathlib import Path
from graticule.database import Database, SqliteDatabase
from graticule.storage import AssetStore, ledger, sweep
folder = Path(sys.argv[1])
database, store = SqliteDatabase(folder / "graticule.db"), AssetStore.local(folder / "assets")
C, OP = sys.argv[2], "op-1"

async def main():
    for asset in ("a", "b"):
        def plan(tx):
            ledger.plan(tx, container=C, key=f"k/{asset}", collection_id="scenes", item_id="item", operation_id=OP,
                        asset_key=asset, media_type=None)
        await database.write(plan)
        blob = await store.put_bytes(C, f"k/{asset}", asset.encode() * 1000, None)
        def stored(tx):
            ledger.stored(tx, C, f"k/{asset}", size=blob.size, sha256=blob.sha256, etag=blob.etag)
        await database.write(stored)
    await database.write(lambda tx: ledger.publish(tx, OP, "item"))
    await database.write(lambda tx: ledger.bury_item(tx, "scenes", "item"))
    await sweep(database, store)

asyncio.run(main())
database.close()
"""


@pytest.mark.crash
@pytest.mark.parametrize(
    "point",
    ["storage.link.before", "storage.link.after", "storage.sweep.before", "storage.sweep.after"],
)
@pytest.mark.parametrize("nth", [1, 2])
async def test_a_process_killed_anywhere_leaves_no_byte_without_a_row(point: str, nth: int, tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "graticule.db")
    container = database.write_now(lambda tx: ledger.open_container(tx, "scenes"))
    database.close()
    victim = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", VICTIM, str(tmp_path), container],
        env={**os.environ, "GRATICULE_CRASH_POINT": f"{point}:{nth}"},
        check=False,
    )
    assert victim.returncode == -9

    database, store = SqliteDatabase(tmp_path / "graticule.db"), AssetStore.local(tmp_path / "assets")
    try:
        assert await found_orphans(database, store) == []
        for record in database.read_now(
            lambda tx: [ledger.find(tx, container, f"k/{asset}", states=("staged", "live")) for asset in "ab"]
        ):
            if record is not None and record.size is not None:
                assert await store.size(record.container, record.key) == 1000
        # The work is given up and swept; the run that comes after it finds nothing in its way.
        await database.write(lambda tx: ledger.bury_operation(tx, "op-1"))
        await database.write(lambda tx: ledger.bury_item(tx, "scenes", "item"))
        while (await sweep(database, store)).count:
            pass
        assert await listed(store) == []
    finally:
        database.close()
