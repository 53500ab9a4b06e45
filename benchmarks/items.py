"""Made-up STAC Items that look like those of a satellite archive: the same for everyone, however many are asked for.

    python benchmarks/items.py --items 100000 --folder scenes      # collections.ndjson and items.ndjson

Three collections (two optical, one radar), five years, about 8 kB an Item. Scenes lie on tiles on land, and a few
regions have far more of them than others, as in real archives. Scene number n depends on n alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

#: Collections with their share of the scenes, width of a tile in degrees, and platforms.
SERIES: Final = (
    ("bench-optical-10m", 0.5, 0.9, ("Aurora-1A", "Aurora-1B")),
    ("bench-optical-30m", 0.3, 1.7, ("Meridian-8", "Meridian-9")),
    ("bench-radar-10m", 0.2, 2.3, ("Borealis-1", "Borealis-2")),
)
COLLECTIONS: Final = tuple(name for name, *_ in SERIES)
BEGIN: Final = datetime(2020, 1, 1, tzinfo=UTC)
#: Five years, milliseconds.
SPAN_MS: Final = 1826 * 86_400_000

#: Where there is land, roughly: west, south, east, north, and how often it is looked at.
_LAND: Final = (
    (-124, 31, -75, 49, 5), (-140, 50, -65, 68, 3), (-105, 16, -88, 30, 1), (-76, -50, -58, -20, 2),
    (-70, -20, -40, 5, 4), (-9, 37, 20, 56, 8), (5, 56, 30, 69, 2), (20, 42, 60, 60, 4), (60, 45, 140, 68, 4),
    (-15, 8, 35, 34, 3), (10, -33, 40, 6, 4), (35, 15, 58, 35, 1), (68, 9, 90, 32, 6), (98, 0, 120, 22, 3),
    (100, 22, 122, 45, 6), (129, 32, 142, 44, 2), (115, -36, 152, -14, 4), (167, -46, 178, -35, 1),
)  # fmt: skip
_CLUSTERS: Final = 300
_OPTICAL: Final = (
    ("coastal", 0.443, 60), ("blue", 0.490, 10), ("green", 0.560, 10), ("red", 0.665, 10), ("rededge", 0.704, 20),
    ("nir", 0.842, 10), ("nir08", 0.865, 20), ("nir09", 0.945, 60), ("swir16", 1.610, 20), ("swir22", 2.190, 20),
)  # fmt: skip
_COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_EXTENSIONS: Final = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("eo/v1.1.0", "projection/v2.0.0", "raster/v1.1.0", "view/v1.0.0", "sat/v1.0.0", "file/v2.1.0")
]


@dataclass(frozen=True, slots=True)
class Scene:
    """What of an Item can be searched for; the Item is made of it."""

    number: int
    id: str
    collection: str
    platform: str
    #: Milliseconds since `BEGIN`.
    at_ms: int
    #: Closed, counter-clockwise, 5 positions.
    ring: tuple[tuple[float, float], ...]
    #: Percent; None for radar.
    cloud: float | None

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """West, south, east, north."""
        xs, ys = [x for x, _ in self.ring], [y for _, y in self.ring]
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def datetime(self) -> str:
        """RFC 3339, milliseconds."""
        return stamp(self.at_ms)


def stamp(at_ms: int) -> str:
    """A time of the archive, RFC 3339."""
    return (BEGIN + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def _clusters() -> tuple[list[tuple[float, float, float]], list[float]]:
    """Centres and radii of the regions, and their weights: a few are very busy (as ranks of cities are)."""
    random = Random("clusters")  # noqa: S311 - data, not secrets
    lands = random.choices(_LAND, weights=[land[4] for land in _LAND], k=_CLUSTERS)
    places = [
        (random.uniform(west, east), random.uniform(south, north), random.uniform(1.0, 6.0))
        for west, south, east, north, _ in lands
    ]
    return places, [1 / (rank + 3) ** 0.8 for rank in range(_CLUSTERS)]


def scene(number: int) -> Scene:
    """Scene `number` of the archive."""
    random = Random(number * 0x9E3779B97F4A7C15 + 0x5CE4E)  # noqa: S311 - data, not secrets
    draw = random.random()
    index = 0 if draw < SERIES[0][1] else 1 if draw < SERIES[0][1] + SERIES[1][1] else 2
    collection, _, width, platforms = SERIES[index]
    places, weights = _clusters()
    x, y, radius = random.choices(places, weights)[0]
    x = min(max(x + random.gauss(0, radius / 2), -178.0), 176.0)
    y = min(max(y + random.gauss(0, radius / 2), -78.0), 78.0)
    column, row = math.floor(x / width), math.floor(y / width)
    # Tiles are the same at each visit; the swath's edge moves a little.
    west, south = column * width + random.uniform(-0.02, 0.02), row * width + random.uniform(-0.02, 0.02)
    wide, high, slant = width * 1.1 / max(math.cos(math.radians(y)), 0.35) * 0.8, width * 1.1, width * 0.15
    corners = [
        (west, south),
        (west + wide, south + slant / 3),
        (west + wide + slant, south + high),
        (west + slant, south + high - slant / 3),
    ]
    ring = tuple((round(px, 6), round(py, 6)) for px, py in (*corners, corners[0]))
    at_ms = random.randrange(SPAN_MS)
    platform = platforms[random.getrandbits(1)]
    cloud = None if index == 2 else round(100 * random.random() ** 1.7, 2)
    day = (BEGIN + timedelta(milliseconds=at_ms)).strftime("%Y%m%dT%H%M%S")
    name = f"{platform.replace('-', '').upper()}_{day}_C{column + 400:03d}R{row + 200:03d}_{number:08d}"
    return Scene(number, name, collection, platform, at_ms, ring, cloud)


def item(one: Scene) -> dict[str, Any]:
    """The Item of a scene."""
    random = Random(one.number + 0x17E4)  # noqa: S311 - data, not secrets
    zone = int((one.ring[0][0] + 180) // 6) + 1
    epsg = (32600 if one.ring[0][1] >= 0 else 32700) + zone
    folder = f"https://archive.example.org/{one.collection}/{zone:02d}/{one.datetime[:10].replace('-', '/')}/{one.id}"
    properties: dict[str, Any] = {
        "datetime": one.datetime,
        "created": stamp(one.at_ms + 21_600_000),
        "updated": stamp(one.at_ms + 64_800_000),
        "platform": one.platform,
        "constellation": one.platform.partition("-")[0].lower(),
        "proj:code": f"EPSG:{epsg}",
        "proj:centroid": {"lat": round(one.ring[0][1] + 0.5, 5), "lon": round(one.ring[0][0] + 0.5, 5)},
        "sat:orbit_state": "descending" if random.getrandbits(1) else "ascending",
        "sat:relative_orbit": random.randrange(1, 144),
        "view:sun_azimuth": round(random.uniform(0, 360), 6),
        "view:sun_elevation": round(random.uniform(5, 85), 6),
        "processing:level": "L2A" if one.cloud is not None else "RTC",
        "bench:granule": f"{one.id}_N{random.randrange(100, 600):04d}",
        "bench:quality": {"degraded": round(random.random(), 6), "nodata": round(random.uniform(0, 40), 6)},
    }
    if one.cloud is not None:
        properties |= {"eo:cloud_cover": one.cloud, "instruments": ["msi"], "gsd": 10}
    else:
        properties |= {"sar:polarizations": ["VV", "VH"], "sar:instrument_mode": "IW", "instruments": ["c-sar"]}
    assets = _bands(one, folder, random)
    assets["thumbnail"] = {
        "href": f"{folder}/thumb.jpg",
        "type": "image/jpeg",
        "roles": ["thumbnail"],
        "title": "Quick look",
    }
    assets["metadata"] = {"href": f"{folder}/scene.xml", "type": "application/xml", "roles": ["metadata"]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _EXTENSIONS,
        "id": one.id,
        "collection": one.collection,
        "geometry": {"type": "Polygon", "coordinates": [one.ring]},
        "bbox": one.bbox,
        "properties": properties,
        "assets": assets,
        "links": [{"rel": "license", "href": "https://archive.example.org/license", "type": "text/html"}],
    }


def _bands(one: Scene, folder: str, random: Random) -> dict[str, Any]:
    optical = one.cloud is not None
    x, y = 300_000 + random.randrange(5_000) * 60, 1_000_000 + random.randrange(100_000) * 60
    bands = (
        _OPTICAL
        if optical
        else tuple(
            (f"{name}-{part}", 5.5, 10)
            for name in ("vv", "vh")
            for part in ("gamma0", "angle", "area", "mask", "noise")
        )
    )
    assets: dict[str, Any] = {}
    for name, wavelength, gsd in bands:
        side = 109_800 // gsd
        low, high = random.uniform(0, 900), random.uniform(2_000, 16_000)
        assets[name] = {
            "href": f"{folder}/{one.id}_{name}.tif",
            "type": _COG,
            "title": f"{name}, {gsd} m",
            "roles": ["data", "reflectance" if optical else "backscatter"],
            "gsd": gsd,
            "proj:shape": [side, side],
            "proj:transform": [float(gsd), 0.0, float(x), 0.0, float(-gsd), float(y)],
            "raster:bands": [
                {
                    "data_type": "uint16" if optical else "float32",
                    "nodata": 0,
                    "spatial_resolution": gsd,
                    "scale": 0.0001,
                    "offset": -0.1,
                    "statistics": {
                        "minimum": round(low, 3),
                        "maximum": round(high, 3),
                        "mean": round((low + high) / 3, 4),
                    },
                }
            ],
            "file:size": random.randrange(10_000_000, 200_000_000),
        }
        if optical:
            assets[name]["eo:bands"] = [
                {
                    "name": name,
                    "common_name": name,
                    "center_wavelength": wavelength,
                    "full_width_half_max": round(wavelength / 9, 4),
                }
            ]
    return assets


def collection(name: str) -> dict[str, Any]:
    """The Collection of a series."""
    platforms = next(entry[3] for entry in SERIES if entry[0] == name)
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "title": name,
        "description": f"Made-up scenes of {' and '.join(platforms)}.",
        "license": "CC0-1.0",
        "links": [],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[stamp(0), stamp(SPAN_MS)]]},
        },
        "summaries": {"platform": list(platforms)},
    }


def documents(items: int) -> Iterator[bytes]:
    """Lines of JSON: the Items of the first scenes."""
    for number in range(items):
        yield orjson.dumps(item(scene(number)), option=orjson.OPT_APPEND_NEWLINE)


def write(folder: Path, items: int) -> tuple[Path, Path]:
    """Files of the collections and of the Items, made once: what is there is taken as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    collections, lines = folder / "collections.ndjson", folder / f"items-{items}.ndjson"
    collections.write_bytes(b"".join(orjson.dumps(collection(name)) + b"\n" for name in COLLECTIONS))
    if not lines.exists():
        partial = lines.with_suffix(".partial")
        with partial.open("wb", buffering=1 << 20) as file:
            file.writelines(documents(items))
        partial.rename(lines)
    return collections, lines


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    for path in write(arguments.folder, arguments.items):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
