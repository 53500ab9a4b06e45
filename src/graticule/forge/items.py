"""Owns: a scene's files → a STAC 1.1 Item with projection, raster, file and classification members."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rasterio.crs import CRS

from graticule.errors import GraticuleError, NotForged
from graticule.forge import footprints
from graticule.forge.metadata import item_properties, read_members
from graticule.forge.rasters import Facts, media_type, read_facts, safe_environment
from graticule.forge.scenes import Member, Scene
from graticule.forge.templates import ItemTemplate
from graticule.forge.times import TimeRules
from graticule.forge.walking import Kind
from graticule.ingestion.conversion.models import COG_MEDIA_TYPE
from graticule.ingestion.validation import check_shape
from graticule.stac.documents import Item, JsonObject

STAC_VERSION: Final = "1.1.0"
_EXTENSIONS: Final = {
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "eo": "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "view": "https://stac-extensions.github.io/view/v1.0.0/schema.json",
}
#: Members that move to the Item where they are the same for every raster.
_SHARED: Final = ("proj:code", "proj:wkt2", "proj:shape", "proj:transform", "proj:bbox")
#: STAC best practices: a thumbnail has at most 600 pixels a side.
_THUMBNAIL_PIXELS: Final = 600


@dataclass(frozen=True)
class Recipe:
    """What the user decides about all Items."""

    collection: str
    times: TimeRules = field(default_factory=TimeRules)
    crs: CRS | None = None  #: of rasters that name none
    valid_data: bool = False  #: outline valid data, not whole rasters
    checksum: bool = False  #: read every file once more for file:checksum
    template: ItemTemplate | None = None


@dataclass(frozen=True)
class Forged:
    """An Item, and where its files are: its hrefs are paths until a writer knows better."""

    item: Item
    files: Mapping[str, Path]  #: by asset key
    time_source: str  #: how the time is known


class Forge:
    """Makes Items."""

    def __init__(self, recipe: Recipe) -> None:
        """Take what holds for all scenes."""
        self._recipe = recipe

    def make(self, scene: Scene) -> Forged:
        """The Item of a scene.

        Raises:
            NotForged: a file cannot be described; the message names it and says what to do.
        """
        if scene.problem is not None:
            raise NotForged(f"{scene.place}: {scene.problem}")
        with safe_environment():
            facts = {member.key: self._facts(scene, member) for member in scene.rasters()}
        metadata = _metadata(scene)
        try:
            return self._made(scene, facts, metadata)
        except GraticuleError as exc:
            raise NotForged(f"{scene.place}: {exc.message}") from exc

    def _facts(self, scene: Scene, member: Member) -> Facts:
        return read_facts(
            member.file.path,
            scene.sidecars(member),
            crs=self._recipe.crs,
            valid_data=self._recipe.valid_data,
            place=member.file.place,
        )

    def _made(self, scene: Scene, facts: Mapping[str, Facts], metadata: Mapping[str, str]) -> Forged:
        placed = {key: each for key, each in facts.items() if each.is_placed}
        outlines = [each.footprint for each in placed.values() if each.footprint is not None]
        if not outlines:
            raise NotForged(
                "it is not known where it lies: the file has no transform and no ground control points. Put a world"
                " file beside it (and name the CRS with --crs), or georeference it (gdal_translate -a_ullr -a_srs)"
            )
        footprint = footprints.united(outlines)
        names = [scene.id, *(member.file.stem for member in scene.rasters())]
        tags = {name: text for each in facts.values() for name, text in each.tags.items()}
        when = self._recipe.times.when(scene.place, names, metadata, tags)
        assets = {member.key: self._asset(member, facts.get(member.key)) for member in scene.members}
        shared = _lift_shared(assets, list(placed))
        item: Item = {
            "type": "Feature",
            "stac_version": STAC_VERSION,
            "stac_extensions": [],
            "id": scene.id,
            "collection": self._recipe.collection,
            "geometry": footprints.geojson(footprint),
            "bbox": footprints.bbox(footprint),
            "properties": {**when.properties(), **item_properties(metadata), **shared},
            "links": [],
            "assets": assets,  # type: ignore[typeddict-item]  # with members of extensions
        }
        if self._recipe.template is not None:
            by_asset = {key: each.tags for key, each in facts.items()}
            item = self._recipe.template.merged(item, scene, metadata, by_asset)
        item["stac_extensions"] = sorted({*item.get("stac_extensions", ()), *_used(item)})
        check_shape(item, self._recipe.collection)
        files = {member.key: member.file.path for member in scene.members if member.key in item["assets"]}
        return Forged(item, files, when.source)

    def _asset(self, member: Member, facts: Facts | None) -> JsonObject:
        path = member.file.path
        asset: JsonObject = {"href": str(path), "type": member.file.media_type, "roles": ["metadata"]}
        if facts is not None:
            asset["type"] = media_type(facts, member.file.media_type)
            if facts.is_placed:
                asset |= {"roles": ["data"], **facts.projection(), "bands": facts.bands}
                asset |= {"classification:classes": facts.classes} if facts.classes else {}
            else:
                is_small = max(facts.width, facts.height) <= _THUMBNAIL_PIXELS
                asset["roles"] = ["thumbnail" if is_small or "thumb" in member.key.lower() else "overview"]
        asset["file:size"] = path.stat().st_size
        if self._recipe.checksum:
            asset["file:checksum"] = _multihash(path)
        return asset


def is_converted(asset: Mapping[str, Any]) -> bool:
    """Will ingestion make a COG of this raster, so that its size and checksum are others then?"""
    return "data" in asset.get("roles", ()) and asset.get("type") != COG_MEDIA_TYPE


def _metadata(scene: Scene) -> dict[str, str]:
    """What the metadata files say together; Landsat's MTL goes first: others repeat its names with other meanings."""
    files = [member.file for member in scene.members if member.file.kind is Kind.METADATA]
    files.sort(key=lambda file: "MTL" not in file.stem.upper())
    found: dict[str, str] = {}
    for file in files:
        found = {**read_members(file.path), **found}
    return found


def _lift_shared(assets: Mapping[str, JsonObject], placed: list[str]) -> JsonObject:
    """Move projection members that all rasters share from the assets to the Item.

    Shape, transform and bbox go together: a reader that finds one of them at the asset looks for the others there.
    """
    first, *others = (assets[key] for key in placed)
    grid = ("proj:shape", "proj:transform", "proj:bbox")
    same = {name for name in _SHARED if all(other.get(name) == first.get(name) for other in others)}
    if not same >= set(grid):
        same -= set(grid)
    shared: JsonObject = {name: first[name] for name in _SHARED if name in same and name in first}
    for key in placed:
        for name in shared:
            del assets[key][name]
    return shared


def _used(item: Item) -> list[str]:
    """The schemas of the extensions whose members the Item has."""
    parts: list[Mapping[str, Any]] = [item["properties"]]
    for asset in item["assets"].values():
        parts += [asset, *asset.get("bands", [])]  # type: ignore[misc]  # a member of STAC 1.1
    prefixes = {name.partition(":")[0] for part in parts for name in part if ":" in name}
    return [_EXTENSIONS[prefix] for prefix in prefixes if prefix in _EXTENSIONS]


def _multihash(path: Path) -> str:
    """SHA-256 as a multihash in hex (file extension 2.1, file:checksum)."""
    with path.open("rb") as file:
        return "1220" + hashlib.file_digest(file, "sha256").hexdigest()
