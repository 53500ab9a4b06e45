"""One suite over the local folder, memory, Azure Blob and S3; then what is particular to the folder."""

# ruff: noqa: ASYNC240 - small files, and nothing else runs

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from bucket_servers import Azurite, Moto, container_sas
from graticule.errors import BlobConflict, InternalError, InternalIntermittentError, NotFound, SettingsError
from graticule.settings import load_settings
from graticule.storage import AssetStore, buckets
from graticule.storage.remote import SEND_PART as PART

C = "scenes-0a1b2c3d"
KEY = "00ff00ff00ff/item/image.tif"
BODY = os.urandom(3 << 20)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(params=["local", "memory", "azure", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AssetStore:
    if request.param == "local":
        return AssetStore.open(load_settings(data_dir=tmp_path))
    if request.param == "memory":
        return AssetStore(MemoryStore())
    if request.param == "azure":
        azurite: Azurite = request.getfixturevalue("azurite")
        bucket = azurite.new_container("/a/prefix")
    else:
        moto: Moto = request.getfixturevalue("moto")
        bucket = moto.new_bucket("/a/prefix")
    for name, value in bucket.settings().items():
        monkeypatch.setenv(name, value)
    return AssetStore.open(load_settings(data_dir=tmp_path))


@pytest.fixture
def local(tmp_path: Path) -> AssetStore:
    return AssetStore.local(tmp_path / "assets")


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    file = tmp_path / "staged.tif"
    file.write_bytes(BODY)
    return file


async def content(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def listed(store: AssetStore) -> list[tuple[str, str, int]]:
    return sorted([entry async for entry in store.list_all()])


async def test_a_usable_store_passes_the_check(store: AssetStore) -> None:
    await store.check()
    await store.put_bytes(C, KEY, b"x", None)
    await store.check()


async def test_a_large_file_comes_whole(store: AssetStore, tmp_path: Path) -> None:
    body = os.urandom(2 * PART + 12345)
    (tmp_path / "large").write_bytes(body)
    sha256 = hashlib.sha256(body).hexdigest()
    blob = await store.put_file(C, KEY, tmp_path / "large", "image/tiff", sha256)
    assert (blob.size, blob.sha256) == (len(body), sha256)
    assert await content(await store.open_range(C, KEY, 0, len(body))) == body
    assert await content(await store.open_range(C, KEY, PART - 5, 2 * PART + 7)) == body[PART - 5 : 2 * PART + 7]
    assert await store.part(C, KEY, PART - 1, PART + 1) == (len(body), body[PART - 1 : PART + 1])
    assert await store.part(C, KEY, len(body) - 1, PART * 9) == (len(body), body[-1:])


async def test_every_legal_name_is_its_own(store: AssetStore) -> None:
    keys = ["a/b+c,(d).e-f_g.tif", "a/B+c,(d).e-f_g.tif", "x", f"{'n' * 150}/{'m' * 150}.tif"]
    for key in keys:
        await store.put_bytes(C, key, key.encode(), "text/plain; charset=utf-8")
    assert await listed(store) == sorted((C, key, len(key)) for key in keys)
    for key in keys:
        assert await content(await store.open_range(C, key, 0, len(key))) == key.encode()


async def test_a_media_type_that_is_no_header_is_left_out(store: AssetStore) -> None:
    await store.put_bytes(C, KEY, b"x", "image/tiff\r\nX-Evil: 1")
    assert await store.size(C, KEY) == 1


async def test_an_object_is_copied(store: AssetStore, staged: Path) -> None:
    await store.put_file(C, KEY, staged, "image/tiff", SHA)
    copied = await store.copy((C, KEY), "other-0a1b2c3d", "00/item/copy.tif", len(BODY), SHA, "image/tiff")
    assert (copied.size, copied.sha256) == (len(BODY), SHA)
    assert await store.copy((C, KEY), "other-0a1b2c3d", "00/item/copy.tif", len(BODY), SHA, None) == copied
    await store.delete(C, KEY)
    assert await content(await store.open_range("other-0a1b2c3d", "00/item/copy.tif", 0, len(BODY))) == BODY
    with pytest.raises(NotFound):
        await store.copy((C, KEY), "other-0a1b2c3d", "00/item/gone.tif", len(BODY), SHA, None)
    with pytest.raises(BlobConflict):
        await store.put_bytes("other-0a1b2c3d", "00/item/copy.tif", b"other", None)


async def test_services_copy_bytes_themselves(store: AssetStore, staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(store._store, MemoryStore):
        pytest.skip("memory is no service")
    await store.put_file(C, KEY, staged, "image/tiff", SHA)

    async def sent(*_args: object) -> None:
        raise AssertionError("the bytes were sent")

    monkeypatch.setattr(store._remote, "_send", sent)
    monkeypatch.setattr(store._remote, "_send_parts", sent)
    copied = await store.copy((C, KEY), C, "00/item/copy.tif", len(BODY), SHA, "image/tiff")
    assert copied.size == await store.size(C, "00/item/copy.tif")


async def test_azure_fetches_what_a_url_answers(
    azurite: Azurite, staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, other = azurite.new_container(), azurite.new_container().url.removeprefix("az://")
    for name, value in bucket.settings().items():
        monkeypatch.setenv(name, value)
    store = AssetStore.open(load_settings(data_dir=tmp_path))
    origin = f"{azurite.url}/{other}/image.tif"
    azurite.upload(other, "image.tif", BODY, "image/tiff")
    azurite.upload(other, "changed.tif", b"other bytes", "image/tiff")
    send, sent = store._remote._send, []

    async def counted(name: str, *rest: Any) -> str:
        sent.append(name.rpartition("/")[2])
        return await send(name, *rest)

    monkeypatch.setattr(store._remote, "_send", counted)
    assert store.may_fetch(origin)
    assert not store.may_fetch("https://example.net/image.tif")
    tried = {
        "copied": f"{origin}?{container_sas(other)}",
        "gone": f"{azurite.url}/{other}/gone.tif?{container_sas(other)}",
        "changed": f"{azurite.url}/{other}/changed.tif?{container_sas(other)}",
    }
    for name, url in tried.items():
        blob = await store.put_file(C, name, staged, "image/tiff", SHA, origin=url)
        assert (blob.size, blob.sha256) == (len(BODY), SHA)
        assert await content(await store.open_range(C, name, 0, len(BODY))) == BODY
    assert sent == ["gone", "changed"]


@pytest.mark.parametrize("kind", ["azure", "s3"])
async def test_a_service_that_is_away_or_refuses_is_told_without_secrets(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue("azurite" if kind == "azure" else "moto")
    bucket = server.new_container() if kind == "azure" else server.new_bucket()
    for name, value in bucket.env.items():
        monkeypatch.setenv(name, value)
    scheme = "az" if kind == "azure" else "s3"
    gone = AssetStore.open(load_settings(data_dir=tmp_path, storage_url=f"{scheme}://not-there"))
    with pytest.raises(SettingsError, match=r"ContainerNotFound|NoSuchBucket"):
        await gone.check()
    with pytest.raises(InternalIntermittentError, match=r"404 Not Found, (ContainerNotFound|NoSuchBucket)"):
        await gone.put_bytes(C, KEY, b"x", None)
    monkeypatch.setattr(buckets, "_RETRIES", {"max_retries": 0})
    away = f"{'http://127.0.0.1:1'}/{'devstoreaccount1' if kind == 'azure' else ''}"
    store = AssetStore.open(load_settings(data_dir=tmp_path, storage_url=bucket.url, storage_endpoint=away))
    for work in (store.check(), store.put_bytes(C, KEY, b"x", None), store.size(C, KEY), store.delete(C, KEY)):
        with pytest.raises(InternalIntermittentError, match="no connection") as caught:
            await work
        assert caught.value.__cause__ is None


def test_a_reason_holds_nothing_of_addresses() -> None:
    refused = (
        "Generic S3 error: Error performing GET http://host/b?X-Amz-Security-Token=secret in 3ms - Server returned"
        " non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><StringToSign>secret"
    )
    roleless = "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token - HTTP error: sending"
    assert buckets.reason(ValueError(refused)) == "403 Forbidden, SignatureDoesNotMatch"
    assert "no credentials" in buckets.reason(ValueError(roleless))
    assert buckets.reason(ValueError("secret")) == "ValueError"


async def test_a_copy_of_other_bytes_is_none(store: AssetStore) -> None:
    await store.put_bytes(C, KEY, b"first", None)
    with pytest.raises(InternalIntermittentError):
        await store.copy((C, KEY), "other-0a1b2c3d", KEY, 5, "0" * 64, None)
    assert await listed(store) == [(C, KEY, 5)]


async def test_a_file_is_stored_as_it_is(store: AssetStore, staged: Path) -> None:
    blob = await store.put_file(C, KEY, staged, "image/tiff", SHA)
    assert (blob.size, blob.sha256) == (len(BODY), SHA)
    assert blob.etag == f'"{SHA[:32]}"'
    assert await content(await store.open_range(C, KEY, 0, len(BODY))) == BODY
    assert await store.size(C, KEY) == len(BODY)
    assert await listed(store) == [(C, KEY, len(BODY))]


async def test_a_file_that_nobody_has_read_is_digested_as_it_is_stored(store: AssetStore, staged: Path) -> None:
    first = await store.put_file(C, KEY, staged, "image/tiff", None)
    assert (first.size, first.sha256) == (len(BODY), SHA)
    assert await store.put_file(C, KEY, staged, "image/tiff", None) == first
    staged.rename(staged.with_suffix(".again"))
    staged.write_bytes(b"other")
    with pytest.raises(BlobConflict):
        await store.put_file(C, KEY, staged, "image/tiff", None)


async def test_a_range_is_read(store: AssetStore, staged: Path) -> None:
    await store.put_file(C, KEY, staged, None, SHA)
    assert await content(await store.open_range(C, KEY, 1_000_000, 2_500_001)) == BODY[1_000_000:2_500_001]
    assert await content(await store.open_range(C, KEY, 5, 5)) == b""


async def test_bytes_are_stored(store: AssetStore) -> None:
    blob = await store.put_bytes(C, KEY, b"thumbnail", "image/png")
    assert blob.size == 9
    assert await store.put_bytes(C, KEY, b"thumbnail", "image/png") == blob


async def test_storing_again_after_a_crash_is_no_error(store: AssetStore, staged: Path) -> None:
    first = await store.put_file(C, KEY, staged, None, SHA)
    assert await store.put_file(C, KEY, staged, None, SHA) == first
    staged.rename(staged.with_suffix(".again"))
    staged.write_bytes(BODY)  # the same bytes, downloaded anew
    assert await store.put_file(C, KEY, staged, None, SHA) == first


async def test_other_bytes_are_not_overwritten(store: AssetStore, staged: Path) -> None:
    await store.put_bytes(C, KEY, b"first", None)
    with pytest.raises(BlobConflict):
        await store.put_file(C, KEY, staged, None, SHA)
    with pytest.raises(BlobConflict):
        await store.put_bytes(C, KEY, b"other", None)
    assert await content(await store.open_range(C, KEY, 0, 5)) == b"first"


async def test_bytes_that_were_never_recorded_may_be_replaced(store: AssetStore, staged: Path) -> None:
    await store.put_bytes(C, KEY, b"first", None)
    await store.put_file(C, KEY, staged, None, SHA, replace=True)
    assert await store.size(C, KEY) == len(BODY)
    await store.put_bytes(C, KEY, b"third", None, replace=True)
    assert await listed(store) == [(C, KEY, 5)]


async def test_a_staged_file_with_other_bytes_is_not_stored(store: AssetStore, staged: Path) -> None:
    with pytest.raises(InternalIntermittentError):
        await store.put_file(C, KEY, staged, None, "0" * 64)
    assert await listed(store) == []


async def test_a_staged_link_is_not_followed(store: AssetStore, staged: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.tif"
    link.symlink_to(staged)
    with pytest.raises(InternalIntermittentError):
        await store.put_file(C, KEY, link, None, SHA)
    with pytest.raises(InternalIntermittentError):
        await store.put_file(C, KEY, tmp_path, None, SHA)


async def test_a_missing_object_is_not_found(store: AssetStore) -> None:
    with pytest.raises(NotFound):
        await store.open_range(C, KEY, 0, 1)
    assert await store.size(C, KEY) is None


async def test_deleting_answers_what_is_freed_and_twice_is_no_error(store: AssetStore) -> None:
    await store.put_bytes(C, KEY, b"12345", None)
    assert await store.delete(C, KEY) == 5
    assert await store.delete(C, KEY) == 0
    assert await listed(store) == []


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a/.", "a\0b"])
async def test_no_key_leads_out_of_the_store(key: str, store: AssetStore) -> None:
    with pytest.raises(InternalError):
        await store.put_bytes(C, key, b"x", None)
    with pytest.raises(InternalError):
        await store.open_range(C, key, 0, 1)
    with pytest.raises(InternalError):
        await store.delete(C, key)


# --- the folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_file", [True, False])
async def test_nothing_is_written_after_a_cancelled_call_has_ended(
    as_file: bool, local: AssetStore, staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    link = os.link

    def slow(*args: Any, **kwargs: Any) -> None:
        begun.set()
        assert go_on.wait(10)
        link(*args, **kwargs)

    monkeypatch.setattr(os, "link", slow)
    put = local.put_file(C, KEY, staged, None, SHA) if as_file else local.put_bytes(C, KEY, BODY, None)
    task = asyncio.create_task(put)
    assert await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await local.delete(C, KEY) == len(BODY)  # what is there is there already, for the sweep to find
    assert await listed(local) == []


async def test_a_staged_file_stays_and_shares_its_bytes(local: AssetStore, staged: Path) -> None:
    await local.put_file(C, KEY, staged, None, SHA)
    path = local.path(C, KEY)
    assert path is not None
    assert path.samefile(staged)


async def test_a_staged_file_of_another_file_system_is_copied(
    local: AssetStore, staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, calls = os.link, []

    def first_fails(*args: Any, **kwargs: Any) -> None:  # two file systems are more than a test can ask for
        calls.append(args)
        if len(calls) == 1:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(*args, **kwargs)

    monkeypatch.setattr(os, "link", first_fails)
    await local.put_file(C, KEY, staged, None, SHA)
    path = local.path(C, KEY)
    assert path is not None
    assert path.read_bytes() == BODY
    assert not path.samefile(staged)


async def test_without_nameless_files_a_hidden_one_is_used_and_tidied(
    local: AssetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def no_nameless(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return open_file(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", no_nameless)
    await local.put_bytes(C, KEY, b"12345", None)
    incoming = tmp_path / "assets" / ".incoming"
    assert list(incoming.iterdir()) == []
    for name, age in (("old", 7200), ("new", 0)):
        (incoming / name).write_bytes(b"half")
        os.utime(incoming / name, times=(incoming.stat().st_mtime - age,) * 2)
    assert await listed(local) == [(C, KEY, 5)]
    await local.tidy()
    assert [path.name for path in incoming.iterdir()] == ["new"]


async def test_deleting_prunes_empty_folders_only(local: AssetStore, tmp_path: Path) -> None:
    await local.put_bytes(C, "a/b/1", b"1", None)
    await local.put_bytes(C, "a/2", b"2", None)
    await local.delete(C, "a/b/1")
    assert sorted(path.name for path in (tmp_path / "assets" / C / "a").iterdir()) == ["2"]
    await local.delete(C, "a/2")
    assert list((tmp_path / "assets").iterdir()) == []


async def test_links_inside_the_folder_lead_nowhere(local: AssetStore, staged: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.key").write_bytes(b"secret")
    container = tmp_path / "assets" / C
    container.mkdir()
    (container / "file").symlink_to(outside / "secret.key")
    (container / "folder").symlink_to(outside)
    (container / "dangling").symlink_to(tmp_path / "nowhere")
    for key in ("file", "folder/secret.key"):
        with pytest.raises(InternalError, match="symbolic link"):
            await local.open_range(C, key, 0, 6)
        with pytest.raises(InternalError, match="symbolic link"):
            local.path(C, key)
        with pytest.raises(InternalError, match="symbolic link"):
            await local.size(C, key)
    with pytest.raises(InternalIntermittentError):
        await local.put_file(C, "folder/new", staged, None, SHA)
    with pytest.raises(BlobConflict):
        await local.put_file(C, "file", staged, None, SHA)
    assert await listed(local) == []
    await local.delete(C, "folder/secret.key")
    await local.delete(C, "file")
    assert (outside / "secret.key").read_bytes() == b"secret"
    assert [path.name for path in outside.iterdir()] == ["secret.key"]


async def test_a_folder_in_a_files_place_is_reported(local: AssetStore) -> None:
    await local.put_bytes(C, "a/b", b"1", None)
    with pytest.raises(BlobConflict):
        await local.put_bytes(C, "a", b"1", None)
    with pytest.raises(InternalIntermittentError):
        await local.put_bytes(C, "a/b/c", b"1", None)
    with pytest.raises(InternalIntermittentError):
        await local.delete(C, "a")
    assert await local.delete(C, "a/b/c") == 0
