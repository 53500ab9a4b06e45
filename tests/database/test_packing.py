"""Documents as SQLite keeps them, and as they are read."""

from __future__ import annotations

from pathlib import Path

import lz4.block
import orjson
import pytest

from graticule.database import SqliteDatabase, packed
from graticule.database.packing import plain

LONG = orjson.dumps({"id": "é", "assets": {f"B{n:02}": {"href": f"https://example.com/{n}.tif"} for n in range(99)}})


@pytest.mark.parametrize("document", [b"{}", b'{"id": "short"}', LONG, LONG * 300, b"\0" * 10_000, b""])
def test_a_document_comes_back_as_it_was(document: bytes) -> None:
    assert plain(packed(document)) == document


def test_a_long_one_is_packed_and_a_short_one_is_not() -> None:
    assert len(packed(LONG)) < len(LONG) / 3
    assert packed(LONG)[:1] != b"{"
    assert packed(b'{"id": "short"}') == b'{"id": "short"}'


def test_what_is_damaged_is_no_document() -> None:
    with pytest.raises(lz4.block.LZ4BlockError):
        plain(packed(LONG)[:-20])


def test_documents_are_read_as_they_were_also_those_from_before(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "catalog.db")
    try:
        for pk, stored in enumerate([LONG, packed(LONG), b"{}"]):
            database.write_now(
                lambda tx, pk=pk, stored=stored: tx.insert("bodies", ("pk", "doc"), [(pk, stored)])  # type: ignore[misc]
            )
        read = database.read_now(lambda tx: tx.tuples("SELECT pk, doc FROM documents ORDER BY pk"))
        assert read == [(0, LONG), (1, LONG), (2, b"{}")]
        plan = database.read_now(lambda tx: tx.tuples("EXPLAIN QUERY PLAN SELECT doc FROM documents WHERE pk = 1"))
        assert "SEARCH bodies USING INTEGER PRIMARY KEY" in plan[0][3]
    finally:
        database.close()
