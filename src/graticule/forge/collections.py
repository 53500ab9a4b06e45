"""Owns: the Collection of forged Items: extent, summaries and item_assets, summed up as they pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from graticule.forge.items import STAC_VERSION
from graticule.ingestion.validation import check_collection
from graticule.stac.documents import Collection, Item, JsonObject

#: Properties whose values are listed, and those that have a least and a most.
_LISTED: Final = ("platform", "constellation", "instruments", "proj:code", "gsd")
_RANGED: Final = ("eo:cloud_cover", "view:sun_elevation")
#: Members of an asset that are the same in each Item if they are to describe all.
_OF_ASSETS: Final = ("type", "title", "description", "roles", "bands", "classification:classes")
#: A summary of more values says nothing.
_MOST_VALUES: Final = 100


class CollectionMaker:
    """Sums Items up."""

    def __init__(self, collection_id: str, *, title: str | None, description: str | None, license_id: str) -> None:
        """Take what no Item tells.

        Raises:
            InvalidInputData: the id is none that a collection can have.
        """
        self._head: JsonObject = {"id": collection_id}
        if title:
            self._head["title"] = title
        self._head["description"] = description or f"Rasters described by graticule forge: {title or collection_id}"
        self._license = license_id
        self._boxes: list[tuple[float, float, float, float]] = []
        self._starts: list[str] = []
        self._ends: list[str] = []
        self._extensions: set[str] = set()
        self._listed: dict[str, dict[Any, None]] = defaultdict(dict)
        self._ranges: dict[str, tuple[float, float]] = {}
        self._assets: dict[str, JsonObject] = {}
        check_collection(self.document())

    def add(self, item: Item) -> None:
        """Take one Item in."""
        properties = item["properties"]
        if item["geometry"] is not None:
            box, half = item["bbox"], len(item["bbox"]) // 2  # with heights it has six numbers
            self._boxes.append((box[0], box[1], box[half], box[half + 1]))
        start = properties.get("start_datetime") or properties.get("datetime")
        end = properties.get("end_datetime") or properties.get("datetime")
        self._starts += [start] if start else []
        self._ends += [end] if end else []
        self._extensions |= set(item.get("stac_extensions", ()))
        for name in _LISTED:
            value = properties.get(name)
            for each in value if isinstance(value, list) else [value]:
                if each is not None:
                    self._listed[name][each] = None
        for name in _RANGED:
            if isinstance(value := properties.get(name), int | float):
                least, most = self._ranges.get(name, (value, value))
                self._ranges[name] = (min(least, value), max(most, value))
        for key, asset in item["assets"].items():
            self._describe(key, asset)

    def document(self) -> Collection:
        """The Collection of what was taken in."""
        summaries: JsonObject = {
            name: sorted(values) for name, values in self._listed.items() if 0 < len(values) <= _MOST_VALUES
        }
        summaries |= {name: {"minimum": least, "maximum": most} for name, (least, most) in self._ranges.items()}
        interval = [min(self._starts, default=None), max(self._ends, default=None)]
        extensions = [url for url in sorted(self._extensions) if self._speaks_of(url, summaries)]
        return {
            "type": "Collection",
            "stac_version": STAC_VERSION,
            "stac_extensions": extensions,
            **self._head,  # type: ignore[typeddict-item]  # id, title, description
            "license": self._license,
            "extent": {
                "spatial": {"bbox": [list(around(self._boxes))]},
                "temporal": {"interval": [interval]},
            },
            "summaries": summaries,
            # An Item Asset Definition has at least two members (STAC 1.1, item_assets).
            "item_assets": {key: told for key, told in self._assets.items() if len(told) > 1},
            "links": [],
        }

    def _describe(self, key: str, asset: Mapping[str, Any]) -> None:
        told = {name: asset[name] for name in _OF_ASSETS if name in asset}
        known = self._assets.setdefault(key, told)
        if known is not told:
            self._assets[key] = {name: value for name, value in known.items() if told.get(name) == value}

    def _speaks_of(self, schema: str, summaries: JsonObject) -> bool:
        """A Collection names the extensions that its own members are of."""
        prefix = {"projection": "proj"}.get(schema.split("/")[3], schema.split("/")[3])
        names = [*summaries]
        for asset in self._assets.values():
            names += [*asset, *(name for band in asset.get("bands", ()) for name in band)]
        return any(name.startswith(f"{prefix}:") for name in names)


def around(boxes: Iterable[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    """The box around boxes. It crosses the antimeridian (west above east) only if one of them does."""
    boxes = list(boxes)
    if not boxes:
        return -180, -90, 180, 90
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if all(west <= east for west, _, east, _ in boxes):
        return min(box[0] for box in boxes), south, max(box[2] for box in boxes), north
    spans = sorted((west, east if east >= west else east + 360) for west, _, east, _ in boxes)
    # Once around the globe: what the box leaves out is the widest gap.
    reach = max(east for _, east in spans) - 360
    gap, first, last = 0.0, -180.0, 180.0
    for west, east in spans:
        if west - reach > gap:
            gap, first, last = west - reach, west, reach
        reach = max(reach, east)
    return first, south, last + 360 if last < -180 else last, north
