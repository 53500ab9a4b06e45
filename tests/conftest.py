"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from graticule.database import Database, SqliteDatabase


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    for name in list(os.environ):
        if name.startswith("GRATICULE_") and not name.startswith("GRATICULE_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real rasters and STAC documents (`GRATICULE_TEST_DATA`)."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("GRATICULE_TEST_DATA", root.parent / "shared" / "data"))
    if not (folder / "raster").is_dir():
        message = f"no test data at {folder}: set GRATICULE_TEST_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A fresh database on disk."""
    database = SqliteDatabase(tmp_path / "graticule.db")
    yield database
    database.close()
