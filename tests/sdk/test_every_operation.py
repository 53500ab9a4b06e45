"""Every operation of the data group, through both versions of the official SDK, in both of their colours."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import morecantile
import pytest

from sdk.operations import OF_PREVIEW, OPERATIONS, PREVIEW, STABLE, Call, arguments
from servers import preview_sdk_folder
from tiler.served import COLLECTION, Tiled, bounds_of, colours, tiled

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

WALK: Final = Path(__file__).with_name("walk.py")
ITEM: Final = "scene"
MODES: Final = ("sync", "async")
EVERY: Final = [(version, mode, name) for version, calls in OPERATIONS.items() for mode in MODES for name in calls]

Answers = Callable[[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def catalog(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    """Two items, one above the other."""
    items = {name: {"image": test_data / "raster" / "striped" / "RGB.byte.tif"} for name in ("other", ITEM)}
    with tiled(tmp_path_factory.mktemp("sdk"), items) as running:
        yield running


@pytest.fixture(scope="module")
def values(catalog: Tiled) -> dict[str, Any]:
    """What every operation is asked about."""
    west, south, east, north = bounds_of(catalog.file(ITEM, "image"))
    box = (west + (east - west) / 3, south + (north - south) / 3, east - (east - west) / 3, north - (north - south) / 3)
    tile = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, 9)
    return {"box": box, "tile": (tile.z, tile.x, tile.y)}


@pytest.fixture(scope="module")
def answers(catalog: Tiled, values: dict[str, Any]) -> Answers:
    """The answers of one version in one mode: each is walked once."""

    @cache
    def walked(version: str, mode: str) -> dict[str, Any]:
        path = [os.environ.get("PYTHONPATH", "")]
        if version == PREVIEW:
            folder = preview_sdk_folder()
            if not (folder / "azure" / "planetarycomputer").is_dir():
                pytest.skip("the SDK's preview version is not installed: run tests/servers.py")
            path.insert(0, str(folder))
        job = {
            "url": catalog.served.url,
            "token": catalog.served.token("reader"),
            "mode": mode,
            "calls": {name: dict(call.options) for name, call in OPERATIONS[version].items()},
            "arguments": arguments(COLLECTION, ITEM, **values),
        }
        done = subprocess.run(
            [sys.executable, str(WALK)],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return walked


@pytest.fixture(scope="module")
def served_paths(catalog: Tiled) -> set[str]:
    return set(catalog.client.get(f"{catalog.served.url}/openapi.json").json()["paths"])


@pytest.mark.parametrize("version", OPERATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_the_table_has_every_operation_of_the_sdk(answers: Answers, version: str, mode: str) -> None:
    assert set(answers(version, mode)["operations"]) == set(OPERATIONS[version])


@pytest.mark.parametrize(("version", "mode", "name"), EVERY)
def test_an_operation_is_answered(
    answers: Answers, values: dict[str, Any], served_paths: set[str], version: str, mode: str, name: str
) -> None:
    if _is_of_searches(name) and "/data/mosaic/register" not in served_paths:
        pytest.skip("registered searches are not served yet")
    call, answer = OPERATIONS[version][name], answers(version, mode)["answers"][name]
    assert "error" not in answer, answer
    CHECKS[call.check](answer, call, values)


def _is_of_searches(name: str) -> bool:
    return any(word in name for word in ("_search", "_mosaics")) or name == "get_collection_info"


# --- checks ----------------------------------------------------------------------------------------------------------


def _picture(answer: Any, call: Call, _values: Any) -> None:
    body = base64.b64decode(answer["bytes"])
    assert body[:3] == b"\xff\xd8\xff" or body[:8] == b"\x89PNG\r\n\x1a\n"
    rows, columns, _ = colours(body).shape
    if call.size is not None:
        assert (columns, rows) == call.size
    else:
        assert max(columns, rows) == 64
    assert colours(body).any(), "all black"


def _tile_matrix_sets(answer: Any, _call: Call, _values: Any) -> None:
    assert answer["json"] == sorted(morecantile.tms.list())


def _tile_matrix_set(answer: Any, _call: Call, _values: Any) -> None:
    assert (answer["type"], answer["json"]["id"]) == ("TileMatrixSet", "WebMercatorQuad")
    assert len(answer["json"]["tileMatrices"]) == 25


def _class_map(answer: Any, _call: Call, _values: Any) -> None:
    assert answer["json"]["4"] == [255, 0, 0, 255]


def _interval_map(answer: Any, _call: Call, _values: Any) -> None:
    assert answer["json"][0] == [[-2, 0], [0, 0, 0, 0]]


def _registration(answer: Any, _call: Call, _values: Any) -> None:
    found = answer["json"]
    assert len(found["searchid"]) == 32
    assert {link["rel"] for link in found["links"]} >= {"metadata", "tilejson", "wmts"}


def _search_info(answer: Any, _call: Call, _values: Any) -> None:
    found = answer["json"]
    assert found["search"]["hash"]
    assert found["search"]["metadata"]["type"] == "mosaic"


def _items(answer: Any, _call: Call, _values: Any) -> None:
    items = answer["json"]
    assert items  # of two items at one place the older one is hidden
    assert {item["id"] for item in items} <= {ITEM, "other"}
    for item in items:
        assert item["collection"] == COLLECTION
        assert len(item["bbox"]) == 4
        assert list(item["assets"]) == ["image"]


def _tilesets(answer: Any, _call: Call, _values: Any) -> None:
    assert "WebMercatorQuad" in [entry["title"] for entry in answer["json"]["tilesets"]]


def _tileset(answer: Any, _call: Call, values: Any) -> None:
    z, x, y = values["tile"]
    (limits,) = (entry for entry in answer["json"]["tileMatrixSetLimits"] if entry["tileMatrix"] == str(z))
    assert limits["minTileCol"] <= x <= limits["maxTileCol"]
    assert limits["minTileRow"] <= y <= limits["maxTileRow"]


def _tilejson(answer: Any, _call: Call, _values: Any) -> None:
    found = answer["json"]
    assert (answer["type"], found["tilejson"], found["scheme"]) == ("TileJsonMetadata", "2.2.0", "xyz")
    (template,) = found["tiles"]
    assert "{z}/{x}/{y}" in template
    assert "assets=image" in template
    assert len(found["bounds"]) == 4
    assert found["minzoom"] <= found["maxzoom"]


def _wmts(answer: Any, _call: Call, _values: Any) -> None:
    body = base64.b64decode(answer["bytes"])
    assert body.startswith(b"<Capabilities")
    assert b"{TileMatrix}/{TileCol}/{TileRow}" in body


def _point(answer: Any, _call: Call, values: Any) -> None:
    west, south, east, north = values["box"]
    found = answer["json"]
    assert found["coordinates"] == [(west + east) / 2, (south + north) / 2]
    assert found["band_names"] == ["image_b1", "image_b2", "image_b3"]
    assert len(found["values"]) == 3


def _bounds(answer: Any, _call: Call, values: Any) -> None:
    west, south, east, north = answer["json"]["bounds"]
    assert west < values["box"][0] < values["box"][2] < east
    assert south < values["box"][1] < values["box"][3] < north


def _assets(answer: Any, _call: Call, _values: Any) -> None:
    assert answer["json"] == ["image"]


def _info(answer: Any, _call: Call, _values: Any) -> None:
    assert (answer["json"]["image"]["dtype"], answer["json"]["image"]["count"]) == ("uint8", 3)


def _info_geojson(answer: Any, _call: Call, _values: Any) -> None:
    assert answer["json"]["id"] == ITEM
    assert answer["json"]["properties"]["image"]["count"] == 3


def _is_counted(bands: dict[str, Any], names: tuple[str, ...]) -> None:
    assert tuple(bands) == names
    for band in bands.values():
        assert band["min"] <= band["percentile_2"] <= band["median"] <= band["percentile_98"] <= band["max"]
        assert len(band["histogram"][0]) == 10


def _statistics(answer: Any, _call: Call, _values: Any) -> None:
    _is_counted(answer["json"], ("image_b1", "image_b2", "image_b3"))


def _feature_statistics(answer: Any, _call: Call, _values: Any) -> None:
    assert answer["json"]["geometry"]["type"] == "Polygon"
    _is_counted(answer["json"]["properties"]["statistics"], ("image_b1", "image_b2", "image_b3"))


def _asset_statistics(answer: Any, _call: Call, _values: Any) -> None:
    _is_counted(answer["json"]["image"], ("b1", "b2", "b3"))


def _static_image(answer: Any, _call: Call, _values: Any) -> None:
    assert f"/data/collections/{COLLECTION}/image/static/" in answer["json"]["url"]


CHECKS: Final[dict[str, Callable[[Any, Call, Any], None]]] = {
    "picture": _picture,
    "legend": _picture,
    "tile_matrix_sets": _tile_matrix_sets,
    "tile_matrix_set": _tile_matrix_set,
    "class_map": _class_map,
    "interval_map": _interval_map,
    "registration": _registration,
    "search_info": _search_info,
    "items": _items,
    "tilesets": _tilesets,
    "tileset": _tileset,
    "tilejson": _tilejson,
    "wmts": _wmts,
    "point": _point,
    "bounds": _bounds,
    "assets": _assets,
    "info": _info,
    "info_geojson": _info_geojson,
    "statistics": _statistics,
    "feature_statistics": _feature_statistics,
    "asset_statistics": _asset_statistics,
    "static_image": _static_image,
}


def test_both_versions_are_of_their_api() -> None:
    assert list(OPERATIONS) == [STABLE, PREVIEW]
    assert len(OPERATIONS[STABLE]) == 85
    assert len(OF_PREVIEW) == 31
