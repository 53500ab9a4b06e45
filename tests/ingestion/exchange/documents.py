"""Collections and Items for the tests of load and export."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def collection(collection_id: str = "c", **members: Any) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": collection_id,
        "description": "d",
        "license": "x",
        "links": [],
        "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}},
    } | members


def item(number: int, collection_id: str | None = "c", **members: Any) -> dict[str, Any]:
    x, y = number % 300 - 150, number % 140 - 70
    named = {} if collection_id is None else {"collection": collection_id}
    return (
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"item-{number:06}",
            "geometry": {"type": "Polygon", "coordinates": [[[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1], [x, y]]]},
            "bbox": [x, y, x + 1, y + 1],
            "properties": {"datetime": f"2020-01-{number % 28 + 1:02}T00:00:00Z", "gsd": 10.0, "ä": [1, 2.5, None]},
            "links": [{"rel": "license", "href": "https://x.test/licence"}],
            "assets": {"b1": {"href": f"https://x.test/{number}.tif?token=1%2F2", "roles": ["data"]}},
        }
        | named
        | members
    )


def write(path: Path, documents: Iterable[Any]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(document if isinstance(document, str) else json.dumps(document))
            file.write("\n")
    return path


def lines(path: Path) -> list[bytes]:
    """The lines of a file in an order that does not depend on how it came about."""
    return sorted(path.read_bytes().splitlines())
