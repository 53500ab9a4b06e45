"""The journal: states of an operation, counts, what cancelling does, and what is forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from graticule.database import Connection, Database
from graticule.errors import CanceledOperation, InvalidInputData, NotFound
from graticule.workflows import asset_entries, cancelling, item_entries, journal
from graticule.workflows.asset_entries import StoredAsset
from graticule.workflows.journal import Operation

T = TypeVar("T")


@pytest.fixture
def database(each_database: Database) -> Database:
    """On SQLite and on PostgreSQL."""
    return each_database


class Journal:
    """The journal's functions, each in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self.write = database.write_now

    def create(self, total: int | None = 1, *, collection: str = "naip", accepted: bool = True) -> Operation:
        def create(tx: Connection) -> Operation:
            operation = journal.create(tx, "AddItem", collection, total=total, accepted=accepted)
            item_entries.add(tx, operation.pk, [(seq, f"i{seq}", b"sealed") for seq in range(total or 0)])
            return operation

        return self.write(create)

    def do(self, function: Callable[..., Any], operation: Operation, *arguments: Any, **options: Any) -> Operation:
        """Call a function with the operation as it stands; answers it as it is then."""

        def call(tx: Connection) -> Operation:
            function(tx, journal.get(tx, operation.id), *arguments, **options)
            return journal.get(tx, operation.id)

        return self.write(call)

    def start(self, operation: Operation, *seqs: int) -> Operation:
        def start(tx: Connection, current: Operation) -> None:
            journal.start(tx, current)
            for seq in seqs:
                item_entries.start(tx, current.pk, seq)

        return self.do(start, operation)

    def end(self, operation: Operation, seq: int, error: Exception | None = None) -> Operation:
        return self.do(lambda tx, current: item_entries.end(tx, current.pk, seq, error), operation)  # type: ignore[arg-type]

    def count(self, table: str) -> int:
        return int(self.write(lambda tx: tx.value(f"SELECT count(*) FROM {table}")))


@pytest.fixture
def book(database: Database) -> Journal:
    return Journal(database)


def words(operation: Operation) -> list[str]:
    return [entry["status"] for entry in operation.history]


WRONG = InvalidInputData("Item 'i0' is wrong.")


def test_success_ends_the_history_with_finished(book: Journal) -> None:
    operation = book.create()
    book.start(operation, 0)
    operation = book.end(operation, 0)
    assert operation.status == "Succeeded"
    assert words(operation) == ["Pending", "Running", "Finished"]
    assert operation.started is not None
    assert operation.finished is not None
    assert (operation.succeeded, operation.failed, operation.pending) == (1, 0, 0)


def test_a_single_failure_is_the_operations_own(book: Journal) -> None:
    operation = book.end(book.create(), 0, WRONG)
    assert (operation.status, operation.error_code, operation.error_message) == (
        "Failed",
        "InvalidInputData",
        WRONG.message,
    )
    assert words(operation) == ["Pending", "Running", "Failed"]
    assert operation.history[-1]["errorCode"] == "InvalidInputData"


def test_a_batch_names_its_failures_and_stays_a_sentence(book: Journal) -> None:
    operation = book.create(total=20)
    for seq in range(20):
        operation = book.end(operation, seq, InvalidInputData("x" * 100_000) if seq % 2 else None)
    assert (operation.status, operation.error_code) == ("Failed", "ErrorsInBatchOperation")
    assert (operation.succeeded, operation.failed) == (10, 10)
    assert operation.error_message is not None
    assert "10 of 20 items failed: item 'i1': InvalidInputData" in operation.error_message
    assert operation.error_message.endswith("and 5 more")
    assert len(operation.error_message) < 4000


def test_an_item_ends_once(book: Journal) -> None:
    operation = book.create(total=2)
    book.end(operation, 0)
    operation = book.end(operation, 0, WRONG)
    assert (operation.succeeded, operation.failed, operation.status) == (1, 0, "Pending")


def test_an_ended_operation_is_not_ended_again(book: Journal) -> None:
    operation = book.end(book.create(), 0)
    assert book.do(cancelling.cancel, operation) == operation
    assert book.do(journal.start, operation) == operation


def test_a_document_is_erased_when_its_item_ends(book: Journal) -> None:
    operation = book.create(total=2)
    book.end(operation, 0)
    assert book.write(lambda tx: item_entries.document(tx, operation.pk, 0)) is None
    assert book.write(lambda tx: item_entries.document(tx, operation.pk, 1)) == b"sealed"


def test_cancelled_while_pending_it_has_only_that_entry(book: Journal) -> None:
    operation = book.do(cancelling.cancel, book.create(total=3))
    assert (operation.status, words(operation)) == ("Canceled", ["Canceled"])
    assert operation.history[0]["errorCode"] == "CanceledOperation"
    assert operation.started is None
    assert operation.error_code is None
    assert (operation.canceled, operation.pending) == (3, 3)


def test_cancelled_while_running_it_waits_for_what_is_in_hand(book: Journal) -> None:
    operation = book.create(total=3)
    book.start(operation, 1)
    operation = book.do(cancelling.cancel, operation)
    assert (operation.status, operation.canceled) == ("Canceling", 2)
    with pytest.raises(CanceledOperation):
        journal.check_not_canceled(operation)
    again = book.do(cancelling.cancel, operation)
    assert again == operation
    operation = book.end(operation, 1, CanceledOperation())
    assert (operation.status, operation.canceled) == ("Canceled", 3)
    assert words(operation) == ["Pending", "Running", "Canceling", "Canceled"]


def test_what_succeeds_while_it_is_cancelled_counts_as_succeeded(book: Journal) -> None:
    operation = book.create(total=2)
    book.start(operation, 0)
    book.do(cancelling.cancel, operation)
    operation = book.end(operation, 0)
    assert (operation.status, operation.succeeded, operation.canceled) == ("Canceled", 1, 1)


def test_a_slice_of_cancelling_spares_deletions_and_others_collections(book: Journal) -> None:
    mine = [book.create() for _ in range(3)]
    deletion = book.create(total=None)
    other = book.create(collection="other")
    half_written = book.create(total=2, accepted=False)
    assert book.write(lambda tx: cancelling.cancel_some(tx, collection_id="naip")) is None

    def status(operation: Operation) -> str:
        return book.write(lambda tx: journal.get(tx, operation.id)).status

    assert [status(operation) for operation in mine] == ["Canceled"] * 3
    assert [status(operation) for operation in (deletion, other, half_written)] == ["Pending"] * 3


def test_cancelling_many_goes_on_where_the_slice_ended(book: Journal) -> None:
    def many(tx: Connection) -> None:
        for _ in range(250):
            operation = journal.create(tx, "AddItem", "naip", total=1)
            item_entries.add(tx, operation.pk, [(0, "i", None)])

    book.write(many)
    slices, below = 0, None
    while slices == 0 or below is not None:
        below = book.write(lambda tx, below=below: cancelling.cancel_some(tx, below=below))  # type: ignore[misc]
        slices += 1
    assert slices == 3
    assert book.write(lambda tx: journal.listing(tx, top=1, skip=0, status="Pending")) == []


def test_a_cancelled_slice_has_a_bounded_number_of_items(book: Journal) -> None:
    for _ in range(3):
        book.create(total=900)
    below = book.write(cancelling.cancel_some)
    assert below is not None
    assert len(book.write(lambda tx: journal.listing(tx, top=10, skip=0, status="Pending"))) == 1


def test_listing_is_newest_first_and_hides_what_is_half_written(book: Journal) -> None:
    first, second = book.create(), book.create(collection="other")
    book.create(accepted=False)
    assert [one.id for one in book.write(lambda tx: journal.listing(tx, top=10, skip=0))] == [second.id, first.id]
    assert [one.id for one in book.write(lambda tx: journal.listing(tx, top=1, skip=1))] == [first.id]
    found = book.write(lambda tx: journal.listing(tx, top=10, skip=0, collection_id="naip", status="Pending"))
    assert [one.id for one in found] == [first.id]


def test_half_written_posts_are_forgotten_after_a_while(book: Journal) -> None:
    operation = book.create(total=2, accepted=False)
    assert book.write(lambda tx: journal.discard_unaccepted(tx, older_than=600)) == 0
    assert book.write(lambda tx: journal.discard_unaccepted(tx, older_than=-1)) == 1
    assert (book.count("operation_items"), book.count("submissions")) == (0, 0)
    with pytest.raises(NotFound):
        book.write(lambda tx: journal.get(tx, operation.id))


def test_unfinished_items_are_counted(book: Journal) -> None:
    book.create(total=3)
    batch = book.create(total=4)
    book.end(batch, 0)
    book.end(batch, 1, WRONG)
    assert book.write(journal.unfinished_items) == 5


def asset(key: str) -> StoredAsset:
    return StoredAsset(
        asset_key=key, outcome="copied", container="c", key=f"k/{key}", media_type=None, bytes_in=1, bytes_out=1,
        sha256="0" * 64,
    )  # fmt: skip


def test_stored_assets_are_found_again_and_failed_ones_are_not(book: Journal) -> None:
    operation = book.create()
    book.write(lambda tx: asset_entries.write_stored(tx, operation.pk, 0, asset("a")))
    book.write(lambda tx: asset_entries.write_failed(tx, operation.pk, 0, "b", "https://x.test/b", WRONG))
    assert book.write(lambda tx: asset_entries.stored(tx, operation.pk, 0)) == {"a": asset("a")}
    book.write(lambda tx: asset_entries.write_stored(tx, operation.pk, 0, asset("b")))
    assert set(book.write(lambda tx: asset_entries.stored(tx, operation.pk, 0))) == {"a", "b"}


def test_a_raster_keeps_its_facts_for_whoever_takes_the_item_over_and_an_item_its_warnings(book: Journal) -> None:
    operation = book.create()
    raster = dataclasses.replace(asset("a"), facts={"width": 3, "bands": [{"dtype": "uint8"}]})
    book.write(lambda tx: asset_entries.write_stored(tx, operation.pk, 0, raster))
    assert book.write(lambda tx: asset_entries.stored(tx, operation.pk, 0)) == {"a": raster}
    warning = {"path": "properties", "rule": "raster", "message": "so"}
    book.write(lambda tx: item_entries.end(tx, operation.pk, 0, warnings=[warning]))
    entry = book.write(lambda tx: item_entries.get(tx, operation.pk, 0))
    assert entry is not None
    assert entry.warnings == [warning]


def test_crashes_are_counted(book: Journal) -> None:
    operation = book.create()
    assert [book.write(lambda tx: item_entries.count_crash(tx, operation.pk, 0)) for _ in range(3)] == [1, 2, 3]


def test_detail_of_old_operations_is_folded_and_the_counts_stay(book: Journal) -> None:
    ended, live = book.create(total=2), book.create()
    book.write(lambda tx: asset_entries.write_stored(tx, ended.pk, 0, asset("a")))
    book.end(ended, 0)
    book.end(ended, 1, WRONG)
    assert book.write(lambda tx: item_entries.fold(tx, older_than=600, limit=10)) == 0
    assert book.write(lambda tx: item_entries.fold(tx, older_than=-1, limit=10)) == 1
    assert book.write(lambda tx: item_entries.fold(tx, older_than=-1, limit=10)) == 0
    assert (book.count("operation_items"), book.count("operation_assets")) == (1, 0)
    operation = book.write(lambda tx: journal.get(tx, ended.id))
    assert (operation.status, operation.succeeded, operation.failed) == ("Failed", 1, 1)
    assert book.write(lambda tx: item_entries.get(tx, live.pk, 0)) is not None
