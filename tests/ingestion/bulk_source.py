"""Static catalogs on loopback."""

from __future__ import annotations

import json
from typing import Any

from acceptance.source import Source


def catalog(*links: tuple[str, str | None], **members: Any) -> bytes:
    """A Catalog with links of (relation, href)."""
    listed = [{"rel": rel} if href is None else {"rel": rel, "href": href} for rel, href in links]
    return json.dumps({"type": "Catalog", "id": "x", "stac_version": "1.0.0", "links": listed} | members).encode()


def document(item_id: str, **members: Any) -> bytes:
    """An Item of some other collection."""
    return json.dumps(feature(item_id, **members)).encode()


def feature(item_id: str, **members: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "collection": "temporary_collection",
        "geometry": {"type": "Point", "coordinates": [5.0, 50.0]},
        "bbox": [5.0, 50.0, 5.0, 50.0],
        "properties": {"datetime": "2024-05-01T00:00:00Z"},
        "links": [{"rel": "collection", "href": "../collection.json"}],
        "assets": {},
    } | members


def flat(source: Source, count: int, *, folder: str = "flat") -> str:
    """A catalog of so many items without assets; answers its URL."""
    links = []
    for number in range(count):
        source.files[f"{folder}/{number}.json"] = document(f"{folder}-{number}")
        links.append(("item", f"./{number}.json"))
    source.files[f"{folder}/catalog.json"] = catalog(*links)
    return source.href(f"{folder}/catalog.json", signed=False)
