"""Whole viewports of a mosaic of many small COGs, and what 10,000 tiles leave in memory.

    make bench-viewports                 # or: python -m benchmarks.viewports [--items 5000] [--tiles 10000]

Items are ingested through the service. A viewport is 9 x 7 tiles, asked for by 8 connections, on a search that was
registered; at each zoom once with the collection's tile settings as they are, once with all items of a tile let in.
Then tiles of zooms 8 to 12 are drawn with recycling of render processes off, and the memory of the whole process tree
(unique, USS) is read after the first tenth and after the last tile. Prints Markdown tables; wall times are only
comparable within one run on one machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

import morecantile
import numpy as np
import psutil
import rasterio
import requests
from rasterio.transform import from_bounds

from benchmarks.service import GRATICULE, catalog, collection, memory, source

_WEB: Final = morecantile.tms.get("WebMercatorQuad")
#: South-west corner of the first scene, and a scene's side, degrees.
_WEST: Final = 2.0
_SOUTH: Final = 42.0
_SIDE: Final = 0.12
_PIXELS: Final = 256
_ROWS: Final = 50
_BATCH: Final = 250
_CONNECTIONS: Final = 8


def box(number: int) -> tuple[float, float, float, float]:
    """Where a scene lies: they tile a rectangle, each overlapping the next a little."""
    column, row = divmod(number, _ROWS)
    west, south = _WEST + column * _SIDE, _SOUTH + row * _SIDE
    return west, south, west + _SIDE * 1.05, south + _SIDE * 1.05


def write(path: Path, number: int) -> None:
    """One scene, a COG of three bands with a corner that has no data."""
    rng = np.random.default_rng(number)
    pixels = (rng.integers(20, 230, (3, 1, 1)) + rng.integers(-15, 15, (3, _PIXELS, _PIXELS))).astype("uint8")
    pixels[:, :40, :40] = 0
    profile = {"driver": "COG", "count": 3, "dtype": "uint8", "width": _PIXELS, "height": _PIXELS, "nodata": 0}
    transform = from_bounds(*box(number), _PIXELS, _PIXELS)
    with rasterio.open(path, "w", crs="EPSG:4326", transform=transform, compress="deflate", **profile) as dataset:
        dataset.write(pixels)


def item(number: int, host: str) -> dict[str, Any]:
    """Its Item."""
    west, south, east, north = box(number)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"scene-{number:05}",
        "collection": "bench",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": f"2024-05-{number % 28 + 1:02}T10:00:00Z"},
        "links": [],
        "assets": {
            "image": {
                "href": f"http://{host}/{number}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
            }
        },
    }


def ingest(url: str, session: requests.Session, items: int, host: str) -> None:
    """All scenes, in batches."""
    session.post(f"{url}/stac/collections", json=collection()).raise_for_status()
    locations = []
    for first in range(0, items, _BATCH):
        features = [item(number, host) for number in range(first, min(first + _BATCH, items))]
        body = {"type": "FeatureCollection", "features": features}
        answer = session.post(f"{url}/stac/collections/bench/items", json=body)
        answer.raise_for_status()
        locations.append(answer.headers["location"])
    for location in locations:
        while (operation := session.get(location).json())["status"] in {"Pending", "Running"}:
            time.sleep(0.1)
        if operation["status"] != "Succeeded":
            raise SystemExit(f"ingestion failed: {json.dumps(operation)[:1000]}")


def viewport(items: int, zoom: int) -> list[morecantile.Tile]:
    """9 x 7 tiles around the middle of the scenes."""
    west, south, _, _ = box(0)
    _, _, east, north = box(items - 1)
    middle = _WEB.tile((west + east) / 2, (south + north) / 2, zoom)
    side = 2**zoom
    return [
        morecantile.Tile((middle.x + x) % side, min(max(middle.y + y, 0), side - 1), zoom)
        for y in range(-3, 4)
        for x in range(-4, 5)
    ]


def draw(session: requests.Session, template: str, tiles: list[morecantile.Tile]) -> tuple[Counter[int], list[float]]:
    """How often each status came, and the seconds of each tile."""

    def one(tile: morecantile.Tile) -> tuple[int, float]:
        begun = time.perf_counter()
        try:
            status = session.get(template.format(z=tile.z, x=tile.x, y=tile.y), timeout=120).status_code
        except requests.RequestException:
            status = 0
        return status, time.perf_counter() - begun

    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        found = list(threads.map(one, tiles))
    return Counter(status for status, _ in found), [seconds for _, seconds in found]


def viewports(url: str, session: requests.Session, administrator: requests.Session, items: int) -> None:
    """The first table."""
    made = session.post(f"{url}/data/mosaic/register", json={"collections": ["bench"]}).json()["searchid"]
    document = f"{url}/data/mosaic/searches/{made}/tilejson.json"
    settings = f"{url}/stac/collections/bench/configurations/tile-settings"
    print(
        "| zoom | most items of a tile | statuses | viewport (s) | slowest tile (s) |\n| --- | --- | --- | --- | --- |"
    )
    for most in (35, items):
        body = {"minZoom": 0, "maxItemsPerTile": most, "defaultLocation": None}
        administrator.put(settings, json=body).raise_for_status()
        query = {"assets": "image", "items_limit": str(min(most, 10_000)), "tile_format": "png"}
        (template,) = session.get(document, params=query).json()["tiles"]
        for zoom in (4, 6, 8):
            begun = time.perf_counter()
            statuses, seconds = draw(session, template, viewport(items, zoom))
            took = time.perf_counter() - begun
            told = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
            print(f"| {zoom} | {most} | {told} | {took:.1f} | {max(seconds):.1f} |", flush=True)


def steadiness(url: str, session: requests.Session, process: psutil.Process, items: int, tiles: int) -> None:
    """The second table."""
    random = Random(1)  # noqa: S311 - places to look at, no secret
    west, south, _, _ = box(0)
    _, _, east, north = box(items - 1)

    def endless() -> Any:
        while True:
            place = random.uniform(west, east), random.uniform(south, north)
            yield _WEB.tile(*place, random.randint(8, 12))

    template = f"{url}/data/mosaic/collections/bench/tiles/{{z}}/{{x}}/{{y}}.png?assets=image"
    source_of_tiles = endless()
    statuses: Counter[int] = Counter()
    readings = []
    print("\n| tiles | memory of the process tree (MiB) | of which |\n| --- | --- | --- |")
    for _ in range(10):
        found, _ = draw(session, template, list(islice(source_of_tiles, tiles // 10)))
        statuses += found
        each = memory(process)
        readings.append(sum(mib for _, mib in each))
        parts = ", ".join(f"{name} {mib:.0f}" for name, mib in each)
        print(f"| {sum(statuses.values())} | {readings[-1]:.0f} | {parts} |", flush=True)
    growth = readings[-1] / readings[0] - 1
    print(f"\nstatuses {dict(statuses)}; growth from the first tenth to the last: {growth:+.1%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--tiles", type=int, default=10_000, help="of the second table; 0: none")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="graticule-bench-"))
    try:
        files = folder / "files"
        files.mkdir()
        for number in range(arguments.items):
            write(files / f"{number}.tif", number)
        settings = {"GRATICULE_RENDER_JOBS_PER_PROCESS": "0"}
        with source(files) as host, catalog(folder / "catalog", GRATICULE_FETCH_ALLOW=host, **settings) as running:
            url, process, _ = running
            command = [*GRATICULE, "token", "--data-dir", str(folder / "catalog"), "--expires-in", "12h"]
            token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            session = requests.Session()
            session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
            session.headers["Authorization"] = f"Bearer {token}"
            ingest(url, session, arguments.items, host)
            viewports(url, session, session, arguments.items)
            if arguments.tiles:
                steadiness(url, session, process, arguments.items, arguments.tiles)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
