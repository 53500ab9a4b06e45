"""Pixel truth over all rasters of the test data: each is ingested, then drawn as rio-tiler draws the stored file.

What cannot be ingested, or has no place on the globe, is named with the reason: the test fails when that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import morecantile
import numpy as np
import pytest
import requests
from rasterio.warp import transform
from rio_tiler.io import Reader
from rio_tiler.models import ImageData

from acceptance.documents import collection
from acceptance.serving import Served
from acceptance.source import Source
from tiler.served import COLLECTION, Tiled, array, bounds_of, document

pytestmark = [pytest.mark.acceptance, pytest.mark.filterwarnings("ignore")]  # GDAL warns about some of these

WEB = morecantile.tms.get("WebMercatorQuad")
TYPES_OF_SUFFIX: Final = {
    ".tif": "image/tiff",
    ".jp2": "image/jp2",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
}

#: Files whose ingestion fails, and words of the error.
REFUSED: Final = {
    "corrupt/cog_truncated.tif": "the COG is cut off",
    "corrupt/corrupt_jpeg_tiles.tif": "the COG is cut off",
    "corrupt/naip_truncated.tif": "the COG is cut off",
    "odd/rotated_tiny.tif": "not georeferenced",  # a transform without a reference system
}
#: Files that are ingested, but have no place on the globe that a tile could be cut at, and why.
NOWHERE: Final = {
    "odd/cog_hirise_mars.tif": "it lies on Mars",
    "plain_image/389225main_sw_1965_1024.jpg": "a photograph",
    "worldfile/bahamas_l7.jpg": "its place is in a file beside it, which is no asset of the item",
    "worldfile/landsat_antarctic_16bit.png": "its place is in a file beside it, which is no asset of the item",
}
#: Files whose values have no colour.
COLOURLESS: Final = {"sar/cint16_gcps.tif": "complex numbers"}


@dataclass(frozen=True)
class Catalog:
    """A served catalog, and how the ingestion of each raster ended."""

    tiled: Tiled
    operations: dict[str, dict[str, Any]]


def rasters(folder: Path) -> dict[str, Path]:
    """Every raster, by its path; of the bands of a Landsat scene, which are alike, four of a scene."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_alike = path.name.startswith("LC08") and not path.stem.endswith(
            ("SR_B4", "QA_PIXEL", "ST_B10", "QA_AEROSOL")
        )
        if path.suffix.lower() in TYPES_OF_SUFFIX and not is_alike:
            found[name] = path
    return found


def item_id(name: str) -> str:
    return Path(name).with_suffix("").as_posix().replace("/", "-").replace(".", "-")[-100:]


@pytest.fixture(scope="module")
def files(test_data: Path) -> dict[str, Path]:
    return rasters(test_data / "raster")


@pytest.fixture(scope="module")
def catalog(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    contents = {name: path.read_bytes() for name, path in files.items()}
    folder = tmp_path_factory.mktemp("every")
    with Source(contents, token=None) as source, Served(folder, env={"GRATICULE_FETCH_ALLOW": source.host}) as served:
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection(COLLECTION)).status_code == 202
        url = f"{served.url}/stac/collections/{COLLECTION}/items"
        posted = {}
        for name, path in files.items():
            item = document(item_id(name), {"data": source.href(name)}, _around(path), "2024-05-28T10:00:00Z")
            item["assets"]["data"]["type"] = TYPES_OF_SUFFIX[path.suffix.lower()]
            posted[name] = client.post(url, json=item)
        operations = {name: served.finished(client, answer) for name, answer in posted.items()}
        yield Catalog(Tiled(served, served.client("reader")), operations)


def _around(path: Path) -> tuple[float, float, float, float]:
    try:
        bounds = bounds_of(path)
    except Exception:  # noqa: BLE001 - GDAL raises more than one kind
        return (-180.0, -90.0, 180.0, 90.0)
    west, south, east, north = bounds
    is_on_globe = all(np.isfinite(bounds)) and -180 <= west < east <= 180 and -90 <= south < north <= 90
    return bounds if is_on_globe else (-180.0, -90.0, 180.0, 90.0)


def drawable(catalog: Catalog) -> Iterator[tuple[str, str, Path]]:
    """Name, item and stored file of each raster that has pixels for a map."""
    for name in catalog.operations:
        if name not in REFUSED and name not in NOWHERE and name not in COLOURLESS:
            yield name, item_id(name), catalog.tiled.file(item_id(name), "data")


def middle(path: Path) -> tuple[float, float]:
    """Longitude and latitude of the middle, also across the antimeridian."""
    with Reader(str(path)) as reader:  # which knows where ground control points lie
        left, bottom, right, top = reader.bounds
        (longitude,), (latitude,) = transform(reader.crs, "EPSG:4326", [(left + right) / 2], [(bottom + top) / 2])
    return longitude, latitude


def differences(catalog: Catalog, compare: Callable[[str, Path], str | None]) -> dict[str, str]:
    found = {name: compare(item, path) for name, item, path in drawable(catalog)}
    assert len(found) > 45
    return {name: text for name, text in found.items() if text is not None}


def differs(answer: requests.Response, expected: ImageData) -> str | None:
    if answer.status_code != 200:
        return answer.text[:300]
    found = array(answer)
    is_same = np.array_equal(found[-1], expected.mask) and np.array_equal(
        found[:-1], expected.array.data, equal_nan=expected.array.dtype.kind == "f"
    )
    return None if is_same else f"other pixels: {found.shape} and {expected.array.shape}"


def test_every_raster_is_ingested_or_refused_for_a_reason(catalog: Catalog) -> None:
    failed = {name: str(operation["error"]) for name, operation in catalog.operations.items() if _failed(operation)}
    assert set(failed) == set(REFUSED)
    for name, word in REFUSED.items():
        assert word in failed[name], failed[name]


def _failed(operation: dict[str, Any]) -> bool:
    return bool(operation["status"] != "Succeeded")


@pytest.mark.parametrize("up", [0, 2])
def test_tiles_are_rio_tilers(catalog: Catalog, up: int) -> None:
    def compare(item: str, path: Path) -> str | None:
        with Reader(str(path)) as reader:
            tile = WEB.tile(*middle(path), max(reader.maxzoom - up, 0))
            expected = reader.tile(tile.x, tile.y, tile.z)
        return differs(catalog.tiled.get(item, f"tiles/{tile.z}/{tile.x}/{tile.y}.npy", assets="data"), expected)

    assert differences(catalog, compare) == {}


def test_crops_are_rio_tilers(catalog: Catalog) -> None:
    def compare(item: str, path: Path) -> str | None:
        longitude, latitude = middle(path)
        with Reader(str(path)) as reader:
            west, south, east, north = reader.get_geographic_bounds("epsg:4326")
            across, down = ((east - west) % 360 or 360) / 8, (north - south) / 8
            box = (longitude - across, latitude - down, longitude + across, latitude + down)
            expected = reader.part(box, max_size=128)
        path_of_box = ",".join(map(str, box))
        return differs(catalog.tiled.get(item, f"bbox/{path_of_box}.npy", assets="data", max_size=128), expected)

    assert differences(catalog, compare) == {}


def test_points_are_rio_tilers(catalog: Catalog) -> None:
    def compare(item: str, path: Path) -> str | None:
        longitude, latitude = middle(path)
        with Reader(str(path)) as reader:
            expected = [None if value is np.ma.masked else value for value in reader.point(longitude, latitude).array]
        answer = catalog.tiled.get(item, f"point/{longitude},{latitude}", assets="data")
        if answer.status_code != 200:
            return answer.text[:300]
        found = answer.json()["values"]
        return None if found == pytest.approx(expected, nan_ok=True) else f"{found} and {expected}"

    assert differences(catalog, compare) == {}


def test_statistics_are_rio_tilers(catalog: Catalog) -> None:
    def compare(item: str, path: Path) -> str | None:
        with Reader(str(path)) as reader:
            expected = reader.statistics(max_size=128)
        answer = catalog.tiled.get(item, "statistics", assets="data", max_size=128)
        if answer.status_code != 200:
            return answer.text[:300]
        found = answer.json()
        for band, statistics in zip(found.values(), expected.values(), strict=True):
            for name in ("min", "max", "mean", "count", "std", "median", "valid_pixels", "percentile_2"):
                # JSON has no NaN, which rio-tiler says of bands without a value.
                value = np.nan if band[name] is None else band[name]
                if value != pytest.approx(getattr(statistics, name), nan_ok=True, rel=1e-9):
                    return f"{name}: {value} and {getattr(statistics, name)}"
        return None

    assert differences(catalog, compare) == {}


@pytest.mark.parametrize("path", ["tiles/0/0/0.png", "bbox/-1,-1,1,1.png", "point/0,0", "tilejson.json"])
def test_what_is_nowhere_or_has_no_colour_is_refused_in_words(catalog: Catalog, path: str) -> None:
    for name in (*NOWHERE, *COLOURLESS):
        answer = catalog.tiled.get(item_id(name), path, assets="data")
        if path == "tilejson.json" and answer.status_code == 200:
            continue
        assert 400 <= answer.status_code < 500, f"{name}: {answer.text[:300]}"
        assert answer.json()["error"]["message"]
