"""Local folders: what the operator opened and somebody registered can be read, and nothing else."""

# ruff: noqa: ARG001 - fixtures are arguments

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from graticule.database import SqliteDatabase
from graticule.errors import (
    AssetTooLarge,
    EmptyAsset,
    InvalidRequestBody,
    SettingsError,
    SourceError,
    SourceForbidden,
    SourceNotFound,
    SourceRefused,
)
from graticule.sealing import Sealer
from graticule.settings import Settings, load_settings
from graticule.sources import Fetcher, Sources


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """The folder that the operator opens, beside one with a secret."""
    folder = tmp_path / "opened"
    (folder / "scenes" / "sub").mkdir(parents=True)
    (folder / "scenes" / "a b.tif").write_bytes(b"pixels" * 1000)
    (folder / "scenes" / "sub" / "c.tif").write_bytes(b"c")
    (folder / "scenes" / "empty.tif").touch()
    (folder / "beside.tif").write_bytes(b"beside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"hunter22")
    return folder


@pytest.fixture
def settings(tmp_path: Path, opened: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "catalog", local_sources=(str(opened),))


@pytest.fixture
async def sources(tmp_path: Path, settings: Settings) -> AsyncIterator[Sources]:
    database = SqliteDatabase(tmp_path / "graticule.db")
    yield Sources(settings=settings, database=database, sealer=Sealer(b"k" * 32))
    database.close()


@pytest.fixture
async def fetcher(settings: Settings, sources: Sources) -> AsyncIterator[Fetcher]:
    async with Fetcher(settings, credentials=sources.credential, locate=sources.locate) as fetcher:
        yield fetcher


def document(folder: Path | str) -> dict[str, Any]:
    return {"kind": "LocalFolder", "connectionInfo": {"containerUrl": f"file://{folder}"}}


async def test_a_file_of_a_registered_folder_is_copied(
    sources: Sources, fetcher: Fetcher, opened: Path, tmp_path: Path
) -> None:
    href = f"file://{opened}/scenes/a%20b.tif"
    with pytest.raises(SourceForbidden, match="LocalFolder"):
        await fetcher.download(href, tmp_path / "file")
    made = await sources.create(document(f"{opened}/scenes/"))
    assert (made.container_url, made.warning) == (f"file://{opened}/scenes", None)
    steps: list[tuple[int, int | None]] = []
    got = await fetcher.download(href, tmp_path / "file", on_progress=lambda *step: steps.append(step))
    assert (got.bytes, got.sha256) == (6000, hashlib.sha256(b"pixels" * 1000).hexdigest())
    assert (tmp_path / "file").read_bytes() == b"pixels" * 1000
    assert steps[-1] == (6000, 6000)
    assert (await fetcher.measure(href)).bytes == 6000
    assert (await fetcher.download(f"file://{opened}/scenes/sub/c.tif", tmp_path / "file")).bytes == 1
    await sources.delete(made.id)
    with pytest.raises(SourceForbidden):
        await fetcher.download(href, tmp_path / "file")


async def test_what_is_no_file_to_copy_says_so(
    sources: Sources, fetcher: Fetcher, opened: Path, tmp_path: Path
) -> None:
    await sources.create(document(opened / "scenes"))
    os.mkfifo(opened / "scenes" / "fifo")
    for name, error in (
        ("none.tif", SourceNotFound),
        ("empty.tif", EmptyAsset),
        ("sub", SourceRefused),
        ("fifo", SourceRefused),
        ("sub/c.tif/d", SourceForbidden),
    ):
        with pytest.raises(error) as caught:
            await fetcher.download(f"file://{opened}/scenes/{name}", tmp_path / "file")
        assert not caught.value.retriable
        assert not (tmp_path / "file").exists()
    with pytest.raises(AssetTooLarge):
        await fetcher.download(f"file://{opened}/scenes/a%20b.tif", tmp_path / "file", max_bytes=100)


def _link(name: str, target: str) -> Callable[[Path], None]:
    def make(scenes: Path) -> None:
        (scenes / name).symlink_to(target)

    return make


@pytest.mark.parametrize(
    ("prepare", "path"),
    [
        (_link("l.tif", "../../secret/key"), "l.tif"),
        (_link("l.tif", "/etc/passwd"), "l.tif"),
        (_link("l.tif", "a b.tif"), "l.tif"),  # one that stays inside is none that can be told from the others in time
        (_link("up", "../.."), "up/secret/key"),
        (_link("up", "/"), "up/etc/passwd"),
        (_link("self", "self"), "self"),
        (_link("fd", "/proc/self"), "fd/environ"),
        (lambda _: None, "../beside.tif"),
        (lambda _: None, "%2e%2e/beside.tif"),
        (lambda _: None, "%2e%2e%2fbeside.tif"),
        (lambda _: None, "..%2f..%2fsecret%2fkey"),
        (lambda _: None, "sub/../../../secret/key"),
        (lambda _: None, "/etc/passwd"),
        (lambda _: None, "a b.tif%00"),
        (lambda _: None, "../scenes2/d.tif"),
    ],
)
async def test_no_path_leads_out(
    prepare: Callable[[Path], None], path: str, sources: Sources, fetcher: Fetcher, opened: Path, tmp_path: Path
) -> None:
    (opened / "scenes2").mkdir()
    (opened / "scenes2" / "d.tif").write_bytes(b"d")
    await sources.create(document(opened / "scenes"))
    prepare(opened / "scenes")
    for base in (f"file://{opened}/scenes/", f"file://localhost{opened}/scenes/"):
        with pytest.raises(SourceError) as caught:
            await fetcher.download(f"{base}{path}", tmp_path / "file")
        assert caught.value.code in {"IngestionResourceForbidden", "InvalidAssetHref"}
    assert not (tmp_path / "file").exists()


async def test_a_folder_that_turns_into_a_link_leads_nowhere(
    sources: Sources, fetcher: Fetcher, opened: Path, tmp_path: Path
) -> None:
    """Somebody who may write in the folder swaps it for a link to outside, again and again, while files are read."""
    await sources.create(document(opened / "scenes"))
    inside = opened / "scenes" / "swap"
    (opened / "scenes" / "real").mkdir()
    (opened / "scenes" / "real" / "key").write_bytes(b"harmless")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for target in ("real", "../../secret"):
                new = inside.with_name("new")
                new.symlink_to(target)
                new.replace(inside)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(50):
            with pytest.raises((SourceForbidden, SourceNotFound)):
                await fetcher.download(f"file://{opened}/scenes/swap/key", tmp_path / "file")
    finally:
        done.set()
        thread.join()


async def test_only_opened_folders_can_be_registered(sources: Sources, opened: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "secret", tmp_path, f"{opened}/../secret", f"{opened}2", "/", "/etc", "relative"):
        with pytest.raises(InvalidRequestBody) as caught:
            await sources.create(document(folder))
        assert caught.value.target == "connectionInfo.containerUrl"
    missing = await sources.create(document(opened / "none"))
    assert "there is no such file" in (missing.warning or "")
    (opened / "link").symlink_to("/etc")
    assert "symbolic link" in ((await sources.create(document(opened / "link"))).warning or "")


async def test_a_folder_that_is_closed_again_is_not_read(
    sources: Sources, opened: Path, tmp_path: Path, settings: Settings
) -> None:
    await sources.create(document(opened / "scenes"))
    closed = load_settings(data_dir=tmp_path / "catalog")
    async with Fetcher(closed, locate=sources.locate) as fetcher:
        with pytest.raises(SourceForbidden, match="GRATICULE_LOCAL_SOURCES"):
            await fetcher.download(f"file://{opened}/scenes/a%20b.tif", tmp_path / "file")


@pytest.mark.parametrize("folder", ["relative", "/data/../etc", "/"])
def test_an_operator_opens_absolute_folders(folder: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?i)local_sources"):
        load_settings(data_dir=tmp_path, local_sources=(folder,))


def test_the_data_folder_is_never_opened(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "assets", tmp_path.parent):
        with pytest.raises(SettingsError, match="keys"):
            load_settings(data_dir=tmp_path, local_sources=(str(folder),))
