"""Conversion against GDAL's own COG driver on the same cores, and what the way through the catalog adds to it."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks.ingest.serving import made_item, source, token
from benchmarks.service import GDAL_COMMAND, catalog, collection, scene
from graticule.ingestion.conversion import ConversionRequest
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.settings import Settings


@dataclass(frozen=True)
class Conversions:
    """Files, and what they took, seconds: a list of rounds each."""

    files: int
    bytes: int  #: of all of them
    ours: list[float]
    #: A process for each core with one thread, all at once.
    gdal_side_by_side: list[float]
    #: One after the other, with a thread for each core.
    gdal_in_turn: list[float]

    @property
    def ratios(self) -> list[float]:
        """Our rate to GDAL's better one, by rounds."""
        pairs = zip(self.ours, self.gdal_side_by_side, self.gdal_in_turn, strict=True)
        return sorted(min(one, other) / ours for ours, one, other in pairs)


def conversions(folder: Path, *, files: int, side: int, rounds: int) -> Conversions:
    """Convert the same files by turns: checks and the comparison of all pixels are part of ours."""
    sources = []
    for number in range(files):
        sources.append(folder / f"large-{number}.tif")
        scene(sources[-1], side, driver="GTiff", count=3, seed=number)
    cores = len(os.sched_getaffinity(0))
    ours, beside, in_turn = [], [], []
    for _ in range(rounds):
        ours.append(asyncio.run(_ours(folder, sources)))
        beside.append(_side_by_side(sources, cores))
        begun = time.perf_counter()
        for path in sources:
            _gdal(path, cores).wait()
        in_turn.append(time.perf_counter() - begun)
    return Conversions(files, sum(path.stat().st_size for path in sources), ours, beside, in_turn)


async def _ours(folder: Path, sources: list[Path]) -> float:
    async with ConversionPool(Settings(data_dir=folder / "pool"), folder / "pool") as pool:
        begun = time.perf_counter()
        await asyncio.gather(*(_convert(pool, path) for path in sources))
        return time.perf_counter() - begun


async def _convert(pool: ConversionPool, path: Path) -> None:
    output = path.with_suffix(".ours.tif")
    result = await pool.convert(ConversionRequest(source=path, output=output, name="image", roles=("data",)))
    if result.outcome != "converted":
        raise SystemExit(f"not converted: {result}")


def _side_by_side(sources: list[Path], cores: int) -> float:
    begun = time.perf_counter()
    left = list(sources)
    running: list[subprocess.Popen[bytes]] = []
    while left or running:
        running = [process for process in running if process.poll() is None]
        while left and len(running) < cores:
            running.append(_gdal(left.pop(), 1))
        time.sleep(0.005)
    return time.perf_counter() - begun


def _gdal(path: Path, threads: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", GDAL_COMMAND, str(path), str(path.with_suffix(".gdal.tif")), str(threads)]
    )


@dataclass(frozen=True)
class Overhead:
    """Seconds by rounds for one asset."""

    bytes: int
    #: From the post until the item can be read.
    through: list[float]
    #: Download to a file, made durable, and the conversion, by themselves.
    bare: list[float]

    @property
    def shares(self) -> list[float]:
        """What the catalog adds, to the bare time, by rounds."""
        return sorted(one / other - 1 for one, other in zip(self.through, self.bare, strict=True))


def overhead(folder: Path, *, side: int, rounds: int) -> Overhead:
    """One asset of about 3 * side**2 bytes through the catalog, and by hand, by turns."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    large = files / "asset.tif"
    scene(large, side, driver="GTiff", count=3)
    scene(files / "small.tif", 64, driver="COG")
    through, bare = [], []
    with source(files) as host, catalog(folder / "catalog", GRATICULE_FETCH_ALLOW=host) as (url, _, _):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token(folder / 'catalog')}"
        session.post(f"{url}/stac/collections", json=collection()).raise_for_status()
        _through(session, url, f"http://{host}/small.tif", -1)  # libraries are loaded
        for number in range(rounds):
            through.append(_through(session, url, f"http://{host}/asset.tif", number))
            bare.append(asyncio.run(_bare(folder, f"http://{host}/asset.tif", files / "small.tif")))
    return Overhead(large.stat().st_size, through, bare)


def _through(session: requests.Session, url: str, href: str, number: int) -> float:
    asset: dict[str, Any] = {"href": href, "type": "image/tiff", "roles": ["data"]}
    document = made_item(f"asset-{number}", number, asset)
    begun = time.perf_counter()
    accepted = session.post(f"{url}/stac/collections/bench/items", json=document)
    accepted.raise_for_status()
    while session.get(f"{url}/stac/collections/bench/items/{document['id']}").status_code != 200:
        if session.get(accepted.headers["location"]).json()["status"] == "Failed":
            raise SystemExit(f"ingestion failed: {session.get(accepted.headers['location']).json()}")
        time.sleep(0.01)
    return time.perf_counter() - begun


async def _bare(folder: Path, href: str, warm: Path) -> float:
    path = folder / "bare.tif"
    async with ConversionPool(Settings(data_dir=folder / "pool"), folder / "pool") as pool:
        # The catalog's conversion process runs already; so does this one.
        await pool.convert(ConversionRequest(warm, folder / "warm.tif", "warm", roles=("data",)))
        begun = time.perf_counter()
        await asyncio.to_thread(_download, href, path)
        await _convert(pool, path)
        result = path.with_suffix(".ours.tif")
        await asyncio.to_thread(_sync, result)
        return time.perf_counter() - begun


def _download(href: str, path: Path) -> None:
    with urllib.request.urlopen(href) as answer, path.open("wb") as file:  # noqa: S310 - our own source
        shutil.copyfileobj(answer, file, 1 << 20)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def median(values: list[float]) -> float:
    """Of rounds."""
    return statistics.median(values)
