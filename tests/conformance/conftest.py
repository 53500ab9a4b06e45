"""A served catalog with items of one collection, for validators that come from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.serving import Served

COLLECTION = "scenes"
STATES = ("al", "ca", "tx")


def collection() -> dict[str, Any]:
    """A valid Collection of STAC 1.1."""
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": COLLECTION,
        "title": "Scenes",
        "description": "Scenes of nowhere in particular.",
        "license": "CC0-1.0",
        "keywords": ["demo"],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]},
        },
        "links": [],
    }


def item(number: int) -> dict[str, Any]:
    """A valid Item of STAC 1.1: one square degree somewhere, one of each day."""
    west, south = -170 + 3.3 * (number % 100), -60 + 1.2 * (number % 97)
    east, north = west + 1, south + 1
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": f"scene-{number:04}",
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "datetime": f"2021-{1 + number % 12:02}-{1 + number % 28:02}T10:00:00Z",
            "title": f"Scene {number}",
            "gsd": 1.5,
            "scene:state": STATES[number % 3],
        },
        "links": [],
        "assets": {
            "image": {"href": f"https://images.invalid/{number}.tif", "type": "image/tiff; application=geotiff"}
        },
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A catalog with 200 items."""
    folder = tmp_path_factory.mktemp("conformance")
    file = folder / "scenes.ndjson"
    write(file, 200)
    with Served(folder) as served:
        served.command("load", str(file))
        yield served


def write(file: Path, count: int) -> None:
    """The collection and its items, one to a line."""
    lines = [collection(), *(item(number) for number in range(count))]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
