"""Files of a bucket: what a render process asks of its parent, what it is given, and what it is not."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import rasterio

from graticule.errors import NotFound, OutsideData, RenderCrashed, Unavailable
from graticule.settings import load_settings
from graticule.tiler import Job, Layer, Source, parse_parameters, select
from graticule.tiler.pool import RenderPool
from graticule.tiler.process import RenderProcess
from graticule.tiler.remote import BLOCK, FOLDER, MOST, Part, RemoteFile, RemoteFiles, RemotePath

PLACE = f"{FOLDER}/c-0a1b2c3d/00ff00ff00ff/scene/image.tif"


class Bucket:
    """Objects by path, and what was asked for."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects
        self.asked: list[tuple[str, int, int]] = []
        self.is_away = False
        self.vanish_after: int | None = None

    def ask(self, path: str, start: int, end: int) -> Part | None:
        self.asked.append((path, start, end))
        if self.vanish_after is not None and len(self.asked) > self.vanish_after:
            self.objects.pop(path, None)
        body = self.objects.get(path)
        return None if body is None else Part(len(body), body[start:end])

    async def read(self, path: str, start: int, end: int) -> Part:
        if self.is_away:
            raise Unavailable("Managed storage is away.")
        part = self.ask(path, start, end)
        if part is None:
            raise NotFound("gone")
        return part


# --- blocks


def test_any_range_is_what_lies_there() -> None:
    body = os.urandom(40 * BLOCK + 123)
    bucket = Bucket(a=body)
    files = RemoteFiles(bucket.ask, 4 * BLOCK)
    for start, end in ((0, 10), (BLOCK - 1, BLOCK + 1), (0, len(body)), (len(body) - 5, len(body) + 5), (7, 7)):
        assert files.read("a", start, end) == body[start:end]
    assert files.size("a") == len(body)
    assert all(end - start <= MOST and end <= len(body) for _, start, end in bucket.asked)


def test_what_was_read_is_kept_and_the_oldest_goes() -> None:
    bucket = Bucket(a=os.urandom(10 * BLOCK))
    files = RemoteFiles(bucket.ask, 4 * BLOCK)
    for at in (0, 5, 2 * BLOCK, 2 * BLOCK + 9, 5):
        files.read("a", at, at + 10)
    assert [start for _, start, _ in bucket.asked] == [0, 2 * BLOCK]
    files.read("a", 4 * BLOCK, 8 * BLOCK)
    files.read("a", 0, 10)
    assert [(start, end) for _, start, end in bucket.asked[2:]] == [(4 * BLOCK, 8 * BLOCK), (0, BLOCK)]


def test_a_file_is_read_as_files_are() -> None:
    body = os.urandom(BLOCK + 100)
    files = RemoteFiles(Bucket(**{PLACE: body}).ask, BLOCK)
    path = RemotePath(files, PurePosixPath(PLACE))
    assert (path.name, path.stat().st_size, path.read_bytes()) == ("image.tif", len(body), body)
    assert path.is_file()
    assert not (path.parent / "other.tif").is_file()
    with path.open() as file:
        assert file.seek(-10, os.SEEK_END) == len(body) - 10
        assert (file.read(100), file.read(1), file.tell()) == (body[-10:], b"", len(body))
        file.seek(5)
        buffer = bytearray(20)
        assert file.readinto(memoryview(buffer)) == 20
        assert buffer == body[5:25]
    with pytest.raises(FileNotFoundError):
        (path.parent / "other.tif").open()


def test_native_code_hears_of_a_lost_object_as_of_a_short_one() -> None:
    bucket = Bucket(a=os.urandom(3 * BLOCK))
    files = RemoteFiles(bucket.ask, BLOCK)
    forgiving, strict = RemoteFile(files, "a", 3 * BLOCK, forgiving=True), RemoteFile(files, "a", 3 * BLOCK)
    assert len(forgiving.read(10)) == 10
    bucket.objects.clear()
    forgiving.seek(2 * BLOCK)
    assert (forgiving.read(10), files.has_lost) == (b"", True)
    strict.seek(2 * BLOCK)
    with pytest.raises(FileNotFoundError):
        strict.read(10)


# --- processes


@pytest.fixture
def image(test_data: Path) -> Path:
    return test_data / "raster" / "sentinel2" / "B01.tif"


@pytest.fixture
def bucket(image: Path) -> Bucket:
    return Bucket(**{PLACE: image.read_bytes()})


@pytest.fixture
async def pool(bucket: Bucket, tmp_path: Path) -> AsyncIterator[RenderPool]:
    pool = RenderPool(load_settings(data_dir=tmp_path, render_processes=1), read=bucket.read)
    yield pool
    await pool.close()


def job(path: str = PLACE, **parameters: Any) -> Job:
    asked = parse_parameters([("assets", "a"), *((name, str(value)) for name, value in parameters.items())])
    return Job("image", (Layer("c", "i", (("a", Source(path)),)),), select(asked, ["a"]), asked)


async def test_a_picture_is_drawn_from_ranges_once_asked_for(pool: RenderPool, bucket: Bucket, image: Path) -> None:
    answer = await pool.run(job(format="npy", max_size=4096))
    with rasterio.open(image) as dataset:
        expected = dataset.read(1)
    drawn = np.load(io.BytesIO(answer.body))
    assert (drawn[0] == expected).all()
    asked = len(bucket.asked)
    await pool.run(job(format="npy", max_size=512))
    assert len(bucket.asked) == asked, "blocks are kept between jobs"


async def test_an_object_that_is_gone_is_told(pool: RenderPool) -> None:
    with pytest.raises(OutsideData, match="gone"):
        await pool.run(job(PLACE.replace("image", "other")))


async def test_a_storage_that_is_away_is_told_and_comes_back(pool: RenderPool, bucket: Bucket) -> None:
    bucket.is_away = True
    with pytest.raises(Unavailable, match="away"):
        await pool.run(job(max_size=16))
    bucket.is_away = False
    assert (await pool.run(job(max_size=16))).header["media_type"] == "image/png"


async def test_an_object_that_goes_while_it_is_drawn_is_no_half_picture(pool: RenderPool, bucket: Bucket) -> None:
    body = np.random.default_rng(1).integers(0, 255, (2048, 2048), dtype="uint8")
    with rasterio.MemoryFile() as memory:
        place = rasterio.transform.from_origin(500_000, 5_000_000, 10, 10)
        options = {"width": 2048, "height": 2048, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
        with rasterio.open(memory.name, "w", driver="GTiff", tiled=True, transform=place, **options) as dataset:
            dataset.write(body, 1)
        bucket.objects[PLACE] = memory.read()
    bucket.vanish_after = 3
    with pytest.raises(OutsideData, match="gone"):
        await pool.run(job(format="npy", max_size=4096))


@pytest.mark.parametrize(
    "wanted",
    [
        [f"{FOLDER}/c-0a1b2c3d/00ff00ff00ff/other/image.tif", 0, 10],
        [f"{FOLDER}/c-0a1b2c3d/00ff00ff00ff/scene/../other/image.tif", 0, 10],
        [PLACE, 0, MOST + 1],
        [PLACE, -1, 10],
        [PLACE, 10, 10],
        [PLACE, "0", "10"],
        PLACE,
        None,
    ],
)
async def test_a_process_is_given_nothing_but_its_jobs_files(wanted: object, bucket: Bucket) -> None:
    process = object.__new__(RenderProcess)
    said: list[str] = []
    process._log = lambda action, *_: said.append(action)  # type: ignore[method-assign]
    with pytest.raises(RenderCrashed):
        await process._supply(job(), wanted, bucket.read)
    with pytest.raises(RenderCrashed):
        await process._supply(job(), [PLACE, 0, 10], None)
    assert said == ["nonsense", "nonsense"]
    assert bucket.asked == []


async def test_a_file_beside_the_jobs_is_given(bucket: Bucket) -> None:
    process = object.__new__(RenderProcess)
    sent: list[bytes] = []

    async def send(message: bytes) -> None:
        sent.append(message)

    process._send = send  # type: ignore[method-assign]
    beside = replace(job(), layers=(Layer("c", "i", (("a", Source(PLACE.replace("image.tif", "image.json"))),)),))
    await process._supply(beside, [PLACE, 0, 4], bucket.read)
    body = bucket.objects[PLACE]
    assert sent == [(12).to_bytes(4, "big") + len(body).to_bytes(8, "big") + body[:4]]
