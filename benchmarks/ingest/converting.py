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
from typing import Any, Final

import requests

from benchmarks.ingest.serving import made_item, source, token
from benchmarks.service import GDAL_COMMAND, catalog, collection, scene
from graticule.ingestion.conversion import ConversionRequest
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.settings import Settings

#: Small assets of a round.
_SMALL: Final = 7
#: Seconds between two looks for an item.
_LOOK: Final = 0.005
#: Seconds until an item counts as lost.
_PATIENCE: Final = 120


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
        time.sleep(_LOOK)
    return time.perf_counter() - begun


def _gdal(path: Path, threads: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", GDAL_COMMAND, str(path), str(path.with_suffix(".gdal.tif")), str(threads)]
    )


@dataclass(frozen=True)
class Overhead:
    """Seconds by rounds for one asset, and for a small one that takes the same way."""

    bytes: int
    #: From the post until the item can be read.
    through: list[float]
    #: Download to a file, conversion, and the result made durable, by themselves.
    bare: list[float]
    #: The same two of an asset of some KB, which is a COG already: what is left are the steps themselves.
    small_through: list[float]
    small_bare: list[float]

    @property
    def shares(self) -> list[float]:
        """What the catalog adds, to the bare time, by rounds."""
        return sorted(one / other - 1 for one, other in zip(self.through, self.bare, strict=True))

    @property
    def steps(self) -> float:
        """What queue and journal add, seconds: it does not depend on the size of the asset."""
        return median(self.small_through) - median(self.small_bare)

    @property
    def step_shares(self) -> list[float]:
        """As `shares`, of queue and journal alone."""
        pairs = zip(self.small_through, self.small_bare, self.bare, strict=True)
        return sorted((one - other) / bare for one, other, bare in pairs)


def overhead(folder: Path, *, side: int, rounds: int) -> Overhead:
    """One asset of about 3 * side**2 bytes through the catalog, and by hand, by turns."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    large = files / "asset.tif"
    scene(large, side, driver="GTiff", count=3)
    scene(files / "small.tif", 64, driver="COG")
    result = Overhead(large.stat().st_size, [], [], [], [])
    with source(files) as host, catalog(folder / "catalog", GRATICULE_FETCH_ALLOW=host) as (url, _, _):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token(folder / 'catalog')}"
        session.post(f"{url}/stac/collections", json=collection()).raise_for_status()
        _through(session, url, f"http://{host}/small.tif", "warm")  # libraries are loaded
        for number in range(rounds):
            small, whole = asyncio.run(_bare(folder, f"http://{host}/small.tif", f"http://{host}/asset.tif"))
            result.small_bare.append(small)
            result.bare.append(whole)
            several = [_through(session, url, f"http://{host}/small.tif", f"{number}-{n}") for n in range(_SMALL)]
            result.small_through.append(median(several))
            # No look before it can be there: a client that asks all the time takes a good part of a core.
            not_before = 0.95 * min(result.bare)
            result.through.append(_through(session, url, f"http://{host}/asset.tif", f"{number}", not_before))
    return result


def _through(session: requests.Session, url: str, href: str, name: str, not_before: float = 0.0) -> float:
    asset: dict[str, Any] = {"href": href, "type": "image/tiff", "roles": ["data"]}
    document = made_item(f"asset-{name}", len(name), asset)
    begun = time.perf_counter()
    accepted = session.post(f"{url}/stac/collections/bench/items", json=document)
    accepted.raise_for_status()
    time.sleep(not_before)
    while session.get(f"{url}/stac/collections/bench/items/{document['id']}").status_code != 200:
        if time.perf_counter() - begun > _PATIENCE:
            raise SystemExit(f"not ingested: {session.get(accepted.headers['location']).json()}")
        time.sleep(_LOOK)
    return time.perf_counter() - begun


async def _bare(folder: Path, small: str, large: str) -> tuple[float, float]:
    """Seconds for each of two, by one process that has been at work before, as the catalog's has."""
    async with ConversionPool(Settings(data_dir=folder / "pool"), folder / "pool") as pool:
        await _by_hand(pool, small, folder / "warm.tif")
        several = [await _by_hand(pool, small, folder / f"small-{n}.tif") for n in range(_SMALL)]
        return median(several), await _by_hand(pool, large, folder / "bare.tif")


async def _by_hand(pool: ConversionPool, href: str, path: Path) -> float:
    begun = time.perf_counter()
    await asyncio.to_thread(_download, href, path)
    request = ConversionRequest(source=path, output=path.with_suffix(".ours.tif"), name="image", roles=("data",))
    result = await pool.convert(request)
    await asyncio.to_thread(_sync, result.path)
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
