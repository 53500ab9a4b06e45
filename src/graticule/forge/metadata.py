"""Owns: what a scene's metadata files say: Landsat's MTL (text, JSON, XML), Sentinel's SAFE, any other JSON or XML."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from graticule.stac.documents import JsonObject

#: A larger file is an inventory of pixels, and nothing is looked for in it.
MAX_BYTES: Final = 4_000_000
_ODL: Final = re.compile(r"^\s*([A-Z0-9_]+)\s*=\s*\"?([^\"\n]*)\"?\s*$", re.MULTILINE)


def read_members(path: Path) -> dict[str, str]:
    """The leaves of a JSON, XML or ODL file: name → text, the first of each name; of a broken file, none."""
    if path.stat().st_size > MAX_BYTES:
        return {}
    text = path.read_bytes()
    try:
        if path.suffix.lower() in {".json", ".geojson"}:
            return _first(_json_leaves(json.loads(text)))
        if path.suffix.lower() == ".xml":
            root = ET.fromstring(text)  # noqa: S314 - the user's own file, and expat bounds entity expansion
            return _first((_local(part.tag), (part.text or "").strip()) for part in root.iter() if len(part) == 0)
    except (ValueError, ET.ParseError, LookupError, RecursionError):
        return {}
    decoded = text.decode("utf-8", errors="replace")
    return _first(_ODL.findall(decoded)) if "END_GROUP" in decoded else {}


def item_properties(members: Mapping[str, str]) -> JsonObject:
    """Platform and instruments (STAC common metadata), and members of the eo and view extensions."""
    properties: JsonObject = {}
    platform = members.get("SPACECRAFT_ID") or members.get("SPACECRAFT_NAME")
    if platform:
        properties["platform"] = platform.lower().replace("_", "-")
    if sensor := members.get("SENSOR_ID"):
        properties["instruments"] = sensor.lower().split("_")
    numbers = {
        "eo:cloud_cover": (("CLOUD_COVER", "Cloud_Coverage_Assessment"), 0, 100),
        "view:sun_azimuth": (("SUN_AZIMUTH",), -360, 360),
        "view:sun_elevation": (("SUN_ELEVATION",), -90, 90),
    }
    for name, (keys, least, most) in numbers.items():
        value = _number(next((members[key] for key in keys if key in members), None))
        if value is not None and least <= value <= most:
            # MTL counts azimuths from -180 to 180, the view extension from 0 to 360.
            properties[name] = value % 360 if name == "view:sun_azimuth" else value
    return properties


def _first(leaves: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in leaves:
        found.setdefault(name, text)
    return found


def _json_leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _json_leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _json_leaves(inner, name)
    elif value is not None and name:
        yield name, str(value)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
