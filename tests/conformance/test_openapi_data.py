"""Requests made up from the OpenAPI document of the tiler: no failure of ours, no status that is not told.

Schemathesis, which does this for the rest (`test_openapi`), takes seconds to think of a request with fifty parameters;
here a few of them at a time are drawn by chance, right and wrong ones, about items that are there and that are not.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tiler.served import COLLECTION, Tiled, bounds_of, tiled

EXAMPLES = 3
#: Texts that were trouble for somebody.
NASTY = (
    *(
        "",
        "0",
        "-1",
        "1e400",
        "nan",
        "-inf",
        "1.5",
        "9" * 40,
        "null",
        "[]",
        "{}",
        '{"a":[[[]]]}',
        "a" * 3000,
        "é\u0000",
    ),
    *("1,2", "1,2,3,4", "a|1", "a|0,-1", "|", "../../etc/passwd", "/vsicurl/http://127.0.0.1:9", "__import__('os')"),
    *(
        "image_b1**image_b1",
        "image_b9",
        "image|99",
        "b1;b2;b3",
        "true",
        "epsg:0",
        "epsg:999999",
        "EPSG:3857",
        "%",
        "😀",
    ),
)
#: Values that fit, of parameters that the document describes as mere texts.
FITTING = {
    "assets": ("image",),
    "expression": ("image_b1/image_b2", "image_b1;image_b2;image_b3"),
    "asset_bidx": ("image|1,2,3", "image|1"),
    "asset_expression": ("image|b1*2",),
    "nodata": ("0", "nan"),
    "color_formula": ("gamma RGB 2.5, saturation 1.2",),
    "rescale": ("0,255",),
    "colormap_name": ("viridis", "io-lulc", "modis-64A1"),
    "colormap": ('{"1":[1,2,3,4]}', '[[[0,10],"#fff"]]'),
    "algorithm_params": ('{"azimuth":45}',),
    "coord_crs": ("epsg:4326", "epsg:3857"),
    "dst_crs": ("epsg:3857", "epsg:32618"),
    "TileMatrixSetId": ("WebMercatorQuad", "WGS1984Quad"),
    "histogram_bins": ("5", "0,10,100"),
    "histogram_range": ("0,100",),
    "ids": ("scene",),
    "bbox": ("-80,20,-70,30",),
    "datetime": ("2024-05-28T10:00:00Z", "../2025-01-01"),
    "sortby": ("-datetime",),
    "query": ('{"gsd":{"lt":10}}',),
}


@pytest.fixture(scope="module")
def catalog(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    items = {"scene": {"image": test_data / "raster" / "mosaic4" / "rgb1.tif"}}
    limits = {"GRATICULE_RENDER_MAX_PIXELS": "300000", "GRATICULE_RENDER_PROCESSES": "2"}
    with tiled(tmp_path_factory.mktemp("openapi"), items, **limits) as running:
        yield running


@pytest.fixture(scope="module")
def described(catalog: Tiled) -> dict[str, Any]:
    document: dict[str, Any] = catalog.client.get(f"{catalog.served.url}/openapi.json").json()
    return document


@pytest.mark.acceptance
def test_made_up_requests_are_answered_as_described(catalog: Tiled, described: dict[str, Any]) -> None:
    rng = random.Random(5)
    known = _known(catalog)
    answered: Counter[int] = Counter()
    wrong = []
    operations = [
        (path, method, operation)
        for path, methods in described["paths"].items()
        if path.startswith("/data")
        for method, operation in methods.items()
    ]
    assert len(operations) >= 75
    for path, method, operation in operations:
        for _ in range(EXAMPLES):
            response = _send(catalog, rng, known, path, method, operation)
            answered[response.status_code] += 1
            if problem := _problem(response, operation):
                wrong.append(f"{method} {response.url[:600]}: {problem}")
    assert not wrong, "\n".join(wrong)
    assert answered[200] > len(operations) / 2, "most were refused: that tests little"
    assert answered[400] > 20
    assert catalog.served.is_healthy()
    assert "Traceback" not in catalog.served.log_text()


@pytest.mark.acceptance
def test_no_parameter_is_told_twice(described: dict[str, Any]) -> None:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            told = [(parameter["in"], parameter["name"]) for parameter in operation["parameters"]]
            assert len(told) == len(set(told)), f"{method} {path}"


def _known(catalog: Tiled) -> dict[str, tuple[Any, ...]]:
    """Values of path parameters that name what is there."""
    west, south, east, north = bounds_of(catalog.file("scene", "image"))
    return {
        "collectionId": (COLLECTION,),
        "itemId": ("scene",),
        "tileMatrixSetId": ("WebMercatorQuad", "WGS1984Quad"),
        "classmapName": ("mtbs-severity", "modis-64A1"),
        "colorMapName": ("viridis", "modis-64A1"),
        "minx": (west,),
        "miny": (south,),
        "maxx": (east,),
        "maxy": (north,),
        "longitude": ((west + east) / 2,),
        "latitude": ((south + north) / 2,),
        "z": (0, 1.0),
        "x": (0, 0.0),
        "y": (0, 0.0),
        "scale": (1, 2.0),
        "width": (32, 64.0),
        "height": (32,),
        "format": ("png", "npy", "webp", "jpg", "tif", "jp2", "pngraw"),
    }


def _send(
    catalog: Tiled, rng: random.Random, known: dict[str, tuple[Any, ...]], path: str, method: str, operation: Any
) -> requests.Response:
    # Left to chance, no id would be one that is there: nearly all are.
    def in_path(match: re.Match[str]) -> str:
        values = known.get(match[1], ())
        value = rng.choice(values) if values and rng.random() < 0.96 else rng.choice(NASTY) or "x"
        return quote(str(value), safe="")

    query: list[tuple[str, str]] = [("max_size", "64")]
    if rng.random() < 0.85:
        query.append(("assets", "image"))
    optional = [parameter for parameter in operation["parameters"] if parameter["in"] == "query"]
    some = rng.sample(optional, min(len(optional), rng.choice((0, 0, 1, 1, 2, 4))))
    query += [(parameter["name"], _value(rng, parameter)) for parameter in some]
    west, south, east, north = (known[name][0] for name in ("minx", "miny", "maxx", "maxy"))
    ring = [[west, south], [east, south], [east, north], [west, south]]
    body: Any = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    if rng.random() < 0.3:
        body = rng.choice([None, [], {}, {**body, "geometry": None}, {**body, "properties": 3}, {**body, "type": "x"}])
    url = catalog.served.url + re.sub(r"\{(\w+)\}", in_path, path)
    sent = {"json": body} if method == "post" else {}
    return catalog.client.request(method, url, params=query, timeout=60, **sent)


def _value(rng: random.Random, parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    schema = schema.get("items", schema) if parameter["name"] not in FITTING else schema
    if rng.random() < 0.3:
        return rng.choice(NASTY)
    if parameter["name"] in FITTING:
        return rng.choice(FITTING[parameter["name"]])
    if "enum" in schema:
        return str(rng.choice(schema["enum"]))
    if schema["type"] == "boolean":
        return rng.choice(("true", "false"))
    if schema["type"] in {"integer", "number"}:
        least = schema.get("minimum", 0)
        return str(rng.choice((least, least + 1, schema.get("maximum", 100), 2.5)))
    return rng.choice(NASTY)


def _problem(response: requests.Response, operation: dict[str, Any]) -> str | None:
    status = str(response.status_code)
    if response.status_code >= 500 or status not in operation["responses"]:
        return f"{status}: {response.text[:300]}"
    if response.status_code >= 400:
        error = response.json().get("error", {})
        if not (error.get("code") and error.get("message")):
            return f"no envelope: {response.text[:300]}"
    return None
