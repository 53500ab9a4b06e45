"""The service on this machine: start, idle memory, ingestion end to end, conversion against GDAL's own command.

    make bench                                   # or: python benchmarks/service.py [--items 200] [--side 8192]

Prints one Markdown table. Wall times are only comparable within one run on one machine; the last row is a ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
import requests
from rasterio.transform import from_origin

from graticule.ingestion.conversion import ConversionRequest
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.settings import Settings

GRATICULE = [sys.executable, "-m", "graticule"]

#: GDAL's COG driver with our creation options, in a process of its own, as a user would run gdal_translate.
GDAL_COMMAND = """
import sys, rasterio, rasterio.shutil
with rasterio.Env(GDAL_NUM_THREADS=sys.argv[3]):
    rasterio.shutil.copy(sys.argv[1], sys.argv[2], driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=512,
                         BIGTIFF="IF_SAFER", OVERVIEW_RESAMPLING="AVERAGE", NUM_THREADS=sys.argv[3])
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def source(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; answers host:port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


@contextmanager
def catalog(folder: Path, **settings: str) -> Iterator[tuple[str, psutil.Process, float]]:
    """A running `graticule serve`: URL, process, and seconds until /healthz answered."""
    url_file = folder / "serve.json"
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*GRATICULE, "serve", "--data-dir", str(folder), "--port", "0"],
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
    )
    try:
        while not url_file.exists():
            time.sleep(0.01)
        url = json.loads(url_file.read_text())["url"]
        while not answers(url):
            time.sleep(0.01)
        yield url, psutil.Process(process.pid), time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Does it listen yet? Its address is known a little before."""
    try:
        requests.get(f"{url}/healthz", timeout=10).raise_for_status()
    except requests.ConnectionError:
        return False
    return True


def scene(path: Path, side: int, *, driver: str, count: int = 1, seed: int = 1) -> None:
    """A raster with structure at every scale, as images have it: not noise, not flat."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 215, (count, side // 64 + 1, side // 64 + 1))
    profile = {
        "driver": driver,
        "width": side,
        "height": side,
        "count": count,
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": from_origin(500_000, 5_000_000, 10, 10),
    }
    with rasterio.open(path, "w", **profile) as dataset:
        for band in range(count):
            base = np.kron(coarse[band], np.ones((64, 64), "int16"))[:side, :side]
            dataset.write((base + rng.integers(-12, 12, (side, side))).clip(0, 255).astype("uint8"), band + 1)


def collection() -> dict[str, Any]:
    """A minimal Collection."""
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": "bench",
        "description": "Benchmark",
        "license": "CC0-1.0",
        "links": [],
        "extent": extent,
    }


def item(number: int, href: str) -> dict[str, Any]:
    """A minimal Item with one COG."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"item-{number}",
        "collection": "bench",
        "geometry": {"type": "Point", "coordinates": [15.0, 45.0]},
        "bbox": [15.0, 45.0, 15.0, 45.0],
        "properties": {"datetime": "2024-05-01T00:00:00Z"},
        "links": [],
        "assets": {"image": {"href": href, "type": "image/tiff; application=geotiff", "roles": ["data"]}},
    }


def memory(process: psutil.Process) -> list[tuple[str, float]]:
    """Unique memory (USS) of each process of the service, MiB."""
    return [
        (
            next((part for part in each.cmdline() if part in {"serve", "_api", "worker"}), "?"),
            each.memory_full_info().uss / 2**20,
        )
        for each in [process, *process.children(recursive=True)]
    ]


def ingest(url: str, token: str, items: int, host: str) -> float:
    """Items per second from the first post to the last item published, in batches of 100."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    session.post(f"{url}/stac/collections", json=collection()).raise_for_status()
    begun = time.perf_counter()
    locations = []
    for start in range(0, items, 100):
        features = [item(n, f"http://{host}/small.tif") for n in range(start, min(start + 100, items))]
        answer = session.post(
            f"{url}/stac/collections/bench/items", json={"type": "FeatureCollection", "features": features}
        )
        answer.raise_for_status()
        locations.append(answer.headers["location"])
    for location in locations:
        while (operation := session.get(location).json())["status"] in {"Pending", "Running"}:
            time.sleep(0.02)
        if operation["status"] != "Succeeded":
            raise SystemExit(f"ingestion failed: {operation}")
    return items / (time.perf_counter() - begun)


async def convert(pool: ConversionPool, path: Path, output: Path) -> float:
    """Seconds for one conversion, checks and verification of the pixels included."""
    begun = time.perf_counter()
    result = await pool.convert(ConversionRequest(source=path, output=output, name="image", roles=("data",)))
    if result.outcome != "converted":
        raise SystemExit(f"not converted: {result}")
    return time.perf_counter() - begun


def gdal(path: Path, output: Path, threads: int) -> float:
    """Seconds for GDAL's own command on the same file."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", GDAL_COMMAND, str(path), str(output), str(threads)], check=True)
    return time.perf_counter() - begun


async def conversion(folder: Path, side: int, rounds: int) -> tuple[float, float, float, int]:
    """Median seconds of ours and of GDAL's, the median ratio of the pairs, and the size of the file."""
    path = folder / "large.tif"
    scene(path, side, driver="GTiff", count=3)
    settings = Settings(data_dir=folder / "pool", conversion_processes=1)
    ours, theirs = [], []
    async with ConversionPool(settings, folder) as pool:
        for number in range(rounds):
            ours.append(await convert(pool, path, folder / f"ours-{number}.tif"))
            theirs.append(gdal(path, folder / "theirs.tif", os.cpu_count() or 1))
    ratios = [ours_s / theirs_s for ours_s, theirs_s in zip(ours, theirs, strict=True)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios), path.stat().st_size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--side", type=int, default=8192, help="pixels of the large raster's side")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="graticule-bench-"))
    rows: list[tuple[str, str]] = []
    try:
        files = folder / "files"
        files.mkdir()
        scene(files / "small.tif", 256, driver="COG")
        digest = hashlib.sha256((files / "small.tif").read_bytes()).hexdigest()[:8]
        with source(files) as host, catalog(folder / "catalog", GRATICULE_FETCH_ALLOW=host) as (url, process, seconds):
            rows.append(("start to /healthz, first start (s)", f"{seconds:.1f}"))
            time.sleep(3)
            idle = memory(process)
            each = ", ".join(f"{name} {mib:.0f}" for name, mib in idle)
            rows.append(("idle memory, unique, all processes (MiB)", f"{sum(mib for _, mib in idle):.0f} ({each})"))
            command = [*GRATICULE, "token", "--data-dir", str(folder / "catalog")]
            token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            rate = ingest(url, token, arguments.items, host)
            size = (files / "small.tif").stat().st_size // 1024
            rows.append(
                (f"{arguments.items} items of one COG ({size} KiB, {digest}), end to end (items/s)", f"{rate:.0f}")
            )
        ours, theirs, ratio, size = asyncio.run(conversion(folder, arguments.side, arguments.rounds))
        name = f"conversion of {arguments.side} x {arguments.side} x 3 bytes, striped ({size // 2**20} MiB)"
        rows.append((f"{name} (s)", f"{ours:.1f}"))
        rows.append((f"the same by GDAL's COG driver, {os.cpu_count()} threads too (s)", f"{theirs:.1f}"))
        rows.append(("ratio, ours to GDAL's, median of pairs", f"{ratio:.2f}"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| what | figure |\n| --- | --- |")
    for what, figure in rows:
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
