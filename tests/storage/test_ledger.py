from __future__ import annotations

from typing import Any

import pytest

from graticule.database import Connection, Database
from graticule.errors import CanceledOperation, CollectionDoesNotExist, InternalError
from graticule.storage import ledger


@pytest.fixture
def database(each_database: Database) -> Database:
    """On SQLite and on PostgreSQL."""
    return each_database


class Ledger:
    """The ledger's functions, each in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.container: str = self.open_container("scenes")

    def __getattr__(self, name: str) -> Any:
        function = getattr(ledger, name)
        return lambda *args, **kwargs: self._database.write_now(lambda tx: function(tx, *args, **kwargs))

    def planned(self, key: str, operation: str = "op-1", item: str | None = "item", **values: Any) -> Any:
        names: dict[str, Any] = {
            "container": self.container,
            "key": key,
            "collection_id": "scenes",
            "item_id": item,
            "operation_id": operation,
            "asset_key": key,
            "media_type": "image/tiff",
            **values,
        }
        return self.plan(**names)

    def has_stored(self, key: str, operation: str = "op-1", item: str | None = "item", size: int = 10) -> None:
        self.planned(key, operation, item)
        self.stored(self.container, key, size=size, sha256="ab", etag='"ab"')

    def state(self, key: str) -> str | None:
        record = self.find(self.container, key, states=("staged", "live", "dead"))
        return None if record is None else str(record.state)

    def age(self, microseconds: int) -> None:
        """Let time pass for every row."""

        def older(tx: Connection) -> int:
            return tx.execute("UPDATE blobs SET updated = updated - :by", {"by": microseconds})

        self._database.write_now(older)


@pytest.fixture
def book(database: Database) -> Ledger:
    return Ledger(database)


def test_a_blob_is_found_only_once_its_item_is_published(book: Ledger) -> None:
    record = book.planned("a")
    assert (record.state, record.size, record.sha256) == ("staged", None, None)
    assert book.find(book.container, "a") is None
    book.stored(book.container, "a", size=10, sha256="ab", etag='"ab"')
    assert book.find(book.container, "a") is None
    assert book.publish("op-1", "item") == 1
    record = book.find(book.container, "a")
    assert (record.state, record.size, record.sha256, record.etag) == ("live", 10, "ab", '"ab"')
    assert (record.collection_id, record.item_id, record.operation_id, record.asset_key, record.media_type) == (
        "scenes",
        "item",
        "op-1",
        "a",
        "image/tiff",
    )


def test_a_step_that_runs_twice_leaves_one_record(book: Ledger) -> None:
    book.has_stored("a")
    book.has_stored("a", size=11)
    assert book.publish("op-1", "item") == 1
    assert book.publish("op-1", "item") == 0
    assert book.totals()["scenes"] == ledger.Totals(1, 11)


def test_a_name_belongs_to_one_operation(book: Ledger) -> None:
    book.planned("a")
    with pytest.raises(InternalError, match="taken"):
        book.planned("a", "op-2")
    book.stored(book.container, "a", size=1, sha256="ab", etag=None)
    book.publish("op-1", "item")
    with pytest.raises(InternalError, match="taken"):
        book.planned("a")


def test_publishing_touches_only_that_item_of_that_operation(book: Ledger) -> None:
    book.has_stored("a", item="one")
    book.has_stored("b", item="two")
    book.has_stored("c", "op-2", item="one")
    book.has_stored("d", item=None)
    assert book.publish("op-1", "one") == 1
    assert [book.state(key) for key in "abcd"] == ["live", "staged", "staged", "staged"]
    assert book.publish("op-1", None) == 1
    assert book.state("d") == "live"


def test_what_was_planned_and_never_stored_is_buried_at_publication(book: Ledger) -> None:
    book.planned("a.bin")
    book.has_stored("a.tif")
    assert book.publish("op-1", "item") == 1
    assert (book.state("a.bin"), book.state("a.tif")) == ("dead", "live")


def test_a_replaced_item_loses_what_its_new_document_does_not_name(book: Ledger) -> None:
    for key in "ab":
        book.has_stored(key)
    book.publish("op-1", "item")
    book.has_stored("c", "op-2")
    book.has_stored("d", "op-3")
    book.publish("op-2", "item")
    assert book.bury_item("scenes", "item", except_operation="op-2", keep={(book.container, "b")}) == 1
    assert [book.state(key) for key in "abcd"] == ["dead", "live", "live", "staged"]
    assert [record.key for record in book.of_item("scenes", "item")] == ["b", "c"]


def test_a_deleted_item_spares_what_another_operation_stages(book: Ledger) -> None:
    book.has_stored("a")
    book.publish("op-1", "item")
    book.has_stored("b", "op-2")
    assert book.bury_item("scenes", "item") == 1
    assert book.bury_item("scenes", "item") == 0
    assert (book.state("a"), book.state("b")) == ("dead", "staged")


def test_a_cancelled_operation_loses_what_it_staged_and_keeps_what_it_published(book: Ledger) -> None:
    book.has_stored("a", item="one")
    book.publish("op-1", "one")
    book.has_stored("b", item="two")
    book.has_stored("c", item="three")
    assert book.bury_operation("op-1", "two") == 1
    assert [book.state(key) for key in "abc"] == ["live", "dead", "staged"]
    assert book.bury_operation("op-1") == 1
    assert [book.state(key) for key in "abc"] == ["live", "dead", "dead"]


def test_a_worker_that_was_given_up_can_record_nothing(book: Ledger) -> None:
    book.planned("a")
    book.bury_operation("op-1")
    with pytest.raises(CanceledOperation):
        book.stored(book.container, "a", size=1, sha256="ab", etag=None)
    with pytest.raises(CanceledOperation):
        book.planned("a")
    assert book.publish("op-1", "item") == 0


def test_a_collection_has_one_container_until_it_is_deleted(book: Ledger) -> None:
    assert book.container.startswith("scenes-")
    assert book.open_container("scenes") == book.container
    assert book.container_of("other") is None
    book.has_stored("a")
    book.publish("op-1", "item")
    book.has_stored("b", "op-2")
    book.bury_collection("scenes")
    assert book.container_of("scenes") is None
    assert book.find(book.container, "a") is None
    assert book.of_item("scenes", "item") == []
    assert book.totals() == {}
    with pytest.raises(CollectionDoesNotExist):
        book.planned("c")
    again = book.open_container("scenes")
    assert again != book.container
    with pytest.raises(CollectionDoesNotExist):
        book.planned("c")
    book.planned("c", container=again)


def test_blobs_of_a_deleted_collection_die_in_slices(book: Ledger) -> None:
    for key in "abc":
        book.has_stored(key)
    book.bury_collection("scenes")
    assert [book.bury_dropped(2) for _ in range(3)] == [2, 1, 0]
    assert {record.key for record in book.dead(10)} == set("abc")
    assert len(book.dead(2)) == 2


def test_a_dead_blob_is_forgotten_once_and_the_container_with_its_last(book: Ledger) -> None:
    book.has_stored("a")
    book.publish("op-1", "item")
    book.bury_collection("scenes")
    book.bury_dropped(10)
    records = book.dead(10)
    assert book.forget(records) == 1
    assert book.forget(records) == 0
    assert book.state("a") is None


def test_a_blob_buried_while_it_was_staged_is_swept_twice(book: Ledger) -> None:
    book.planned("a")
    assert book.bury(book.container, "a") == 1
    assert book.bury(book.container, "a") == 0
    records = book.dead(10)
    assert book.forget(records) == 0
    assert book.dead(10) == []
    book.age(ledger.GRACE + 1_000_000)
    assert book.dead(10)[0].key == "a"
    assert book.forget(book.dead(10)) == 1
    assert book.state("a") is None


def test_a_live_blob_is_never_forgotten(book: Ledger) -> None:
    book.has_stored("a")
    book.publish("op-1", "item")
    record = book.find(book.container, "a")
    assert book.forget([record]) == 0
    assert book.state("a") == "live"


def test_known_tells_records_in_any_state(book: Ledger) -> None:
    book.planned("a")
    assert book.known([(book.container, "a"), (book.container, "b"), ("x", "a")]) == {(book.container, "a")}


def test_totals_count_live_blobs_by_collection(book: Ledger) -> None:
    for key, size in (("a", 10), ("b", 5)):
        book.has_stored(key, size=size)
    book.publish("op-1", "item")
    book.has_stored("c", "op-2", size=100)
    assert book.totals() == {"scenes": ledger.Totals(2, 15)}
