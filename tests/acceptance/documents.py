"""Small STAC documents to post."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def collection(collection_id: str) -> dict[str, Any]:
    """A Collection with all that is required and nothing else."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": collection_id,
        "description": f"What tests keep in {collection_id}",
        "license": "proprietary",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


def item(
    item_id: str,
    assets: Mapping[str, Any] | None = None,
    *,
    bbox: Sequence[float] = (6.0, 46.0, 6.1, 46.1),
    moment: str = "2024-05-01T10:00:00Z",
    **members: Any,
) -> dict[str, Any]:
    """An Item whose footprint is its bbox (which may cross the antimeridian); an asset may be given as its href."""
    west, south, east, north = bbox
    east += 360 if east < west else 0
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(bbox),
        "properties": {"datetime": moment},
        "links": [],
        "assets": {
            key: {"href": asset, "type": COG, "roles": ["data"]} if isinstance(asset, str) else asset
            for key, asset in (assets or {}).items()
        },
        **members,
    }


def items(*features: Any) -> dict[str, Any]:
    """An ItemCollection."""
    return {"type": "FeatureCollection", "features": list(features)}
