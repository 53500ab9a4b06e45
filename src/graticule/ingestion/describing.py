"""An item against its rasters: what it says of them that is not so, and what it does not say and they do.

Works on documents and on facts that the conversion process read (`conversion.models.RasterFacts`); no raster is opened
here. Nothing that the item says is changed: where it errs, a remark says so. Sources: the STAC extensions projection
1.x and 2, raster 1.x and 2, file 2, and the common metadata of STAC 1.1 (`bands`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from graticule.ingestion.conversion.models import BandFacts, RasterFacts
from graticule.ingestion.remarks import Remark
from graticule.stac.documents import Item, JsonObject
from graticule.workflows.asset_entries import StoredAsset

#: What a remark about a raster names as its rule.
RASTER: Final = "raster"
#: And one about size and checksum of a file, which is never more than a warning.
FILE: Final = "file"
#: Members that follow from the file alone: when another file takes its place, they are no longer what was said of it.
OF_THE_FILE: Final = ("proj:shape", "proj:transform", "proj:bbox", "file:size", "file:checksum")

#: Outcomes of assets that are rasters on a map; what is left untouched may be any picture.
_RASTERS: Final = frozenset({"converted", "copied"})
_SITE: Final = "https://stac-extensions.github.io"
_GRID_MEMBERS: Final = ("proj:shape", "proj:transform", "proj:bbox")
_CRS_MEMBERS: Final = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson")
#: How far a transform or box may be from the raster's, in pixels: some write them with few digits.
_TOLERANCE: Final = 0.01
#: numpy's and GDAL's names of what the raster extension calls otherwise.
_DATA_TYPES: Final = {"complex_int16": "cint16", "complex64": "cfloat32", "complex128": "cfloat64"}
_FORMATS: Final = {
    "image/tiff": "GTiff",
    "image/geotiff": "GTiff",
    "image/x.geotiff": "GTiff",
    "image/vnd.stac.geotiff": "GTiff",
    "application/geotiff": "GTiff",
    "image/jpeg": "JPEG",
    "image/jpg": "JPEG",
    "image/png": "PNG",
    "image/jp2": "JP2OpenJPEG",
    "image/jpx": "JP2OpenJPEG",
    "image/jpeg2000": "JP2OpenJPEG",
}

Stored = Mapping[str, tuple[str, StoredAsset]]


def facts_by_asset(stored: Stored) -> dict[str, RasterFacts]:
    """The facts of the rasters among stored assets, by asset key."""
    return {key: RasterFacts.read(asset.facts) for key, (_, asset) in stored.items() if asset.facts is not None}


def compare(item: Item, facts: Mapping[str, RasterFacts]) -> list[Remark]:
    """Say where an item's description of its rasters is not so.

    Compared are the CRS, ``proj:shape``, ``proj:transform`` and ``proj:bbox``, the number of bands and what is said of
    each, and the media type. What an asset says is compared with its raster; what the item says for all of them has to
    be true of one that does not say otherwise.
    """
    assets = item.get("assets", {})
    remarks = [
        remark
        for key, raster in facts.items()
        if key in assets
        for remark in _of_asset(f"assets.{key}", dict(assets[key]), raster)
    ]
    properties = item.get("properties") or {}
    placed = {key: raster for key, raster in facts.items() if key in assets and raster.transform is not None}
    for names, check in ((_CRS_MEMBERS, _crs_remarks), (_GRID_MEMBERS, _grid_remarks)):
        silent = [raster for key, raster in placed.items() if not any(name in assets[key] for name in names)]
        found = [list(check("properties", properties, raster)) for raster in silent]
        if found and all(found):
            remarks += found[0]
    return remarks


def compare_files(item: Item, stored: Stored) -> list[Remark]:
    """Say where ``file:size`` and a sha2-256 ``file:checksum`` are not those of the stored file.

    Of a converted one they may well be those of the file that was sent.
    """
    remarks: list[Remark] = []
    for key, asset in item.get("assets", {}).items():
        if key not in stored:
            continue
        file = stored[key][1]
        checksum = asset.get("file:checksum")
        is_sha256 = isinstance(checksum, str) and checksum.lower().startswith("1220") and len(checksum) == 68
        what = "the COG made of it" if file.outcome == "converted" else "the file"
        if is_sha256 and str(checksum).lower() != f"1220{file.sha256}":
            remarks.append(Remark(f"assets.{key}.file:checksum", FILE, f"{what} has 1220{file.sha256}"))
        if asset.get("file:size", file.bytes_out) != file.bytes_out:
            remarks.append(Remark(f"assets.{key}.file:size", FILE, f"{what} has {file.bytes_out} bytes"))
    return remarks


def fill_in(item: Item, stored: Stored, facts: Mapping[str, RasterFacts]) -> Item:
    """The item with what it lacks: projection, bands, size and checksum of its stored files; a new document."""
    document: dict[str, Any] = {**item, "assets": {key: dict(asset) for key, asset in item.get("assets", {}).items()}}
    extensions = _Extensions(document)
    properties = document.get("properties") or {}
    for key, asset in document["assets"].items():
        if key not in stored:
            continue
        _, file = stored[key]
        before = set(asset)
        asset.setdefault("file:size", file.bytes_out)
        # Multihash: 0x12 is sha2-256, 0x20 its length (file extension, file:checksum).
        asset.setdefault("file:checksum", f"1220{file.sha256}")
        if (raster := facts.get(key)) is not None and file.outcome in _RASTERS:
            _fill_projection(asset, properties, raster, extensions.projection)
            _fill_bands(asset, raster, extensions.raster)
        extensions.note(set(asset) - before, asset)
    extensions.write(document)
    return document  # type: ignore[return-value]  # an Item with more members


# --- extensions ------------------------------------------------------------------------------------------------------


class _Extensions:
    """Which versions of the extensions an item has, or would get, and which it needs in the end."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._listed: list[str] = list(document.get("stac_extensions") or [])
        is_newer = str(document.get("stac_version", "1.0.0")).startswith("1.1")
        #: Major version.
        self.projection = self._major("projection") or (2 if is_newer else 1)
        self.raster = self._major("raster") or (2 if is_newer else 1)
        self._needed: dict[str, str] = {}

    def _major(self, name: str) -> int | None:
        for url in self._listed:
            start, _, rest = url.partition(f"/{name}/v")
            if rest and "stac-extensions" in start and rest[0].isdigit():
                return int(rest[0])
        return None

    def note(self, added: set[str], asset: Mapping[str, Any]) -> None:
        """These members came to an asset."""
        versions = {
            "proj": ("projection", "2.0.0" if self.projection >= 2 else "1.1.0"),
            "raster": ("raster", "2.0.0" if self.raster >= 2 else "1.1.0"),
            "file": ("file", "2.1.0"),
        }
        prefixes = {name.partition(":")[0] for name in added if ":" in name}
        if any(name.startswith("raster:") for band in asset.get("bands") or () for name in _object(band)):
            prefixes.add("raster")
        for prefix in prefixes & versions.keys():
            name, version = versions[prefix]
            self._needed[name] = f"{_SITE}/{name}/v{version}/schema.json"

    def write(self, document: dict[str, Any]) -> None:
        """List what is needed and not listed in any version."""
        missing = [url for name, url in sorted(self._needed.items()) if self._major(name) is None]
        if missing:
            document["stac_extensions"] = [*self._listed, *missing]


# --- filling in ------------------------------------------------------------------------------------------------------


def _fill_projection(asset: JsonObject, properties: Mapping[str, Any], raster: RasterFacts, version: int) -> None:
    """What neither the asset nor the item says, and where the item speaks of another grid, this asset's own."""
    if raster.transform is None or raster.bbox is None:
        return  # ground control points, or nowhere: pixels do not lie in a CRS in straight lines
    if raster.crs is not None and not any(name in asset or name in properties for name in _CRS_MEMBERS):
        asset |= _crs_members(raster.crs, version)
    for name, value in _grid(raster).items():
        if name not in asset and not _near(properties.get(name), value, raster):
            asset[name] = value


def _grid(raster: RasterFacts) -> dict[str, list[Any]]:
    return {
        "proj:shape": [raster.height, raster.width],
        "proj:transform": list(raster.transform or ()),
        "proj:bbox": list(raster.bbox or ()),
    }


def _is_code(crs: str) -> bool:
    """Is it ``EPSG:32618`` and its like, and not WKT?"""
    return ":" in crs and "[" not in crs


def _crs_members(crs: str, version: int) -> JsonObject:
    is_code = _is_code(crs)
    if version >= 2:
        return {"proj:code": crs} if is_code else {"proj:code": None, "proj:wkt2": crs}
    if is_code and crs.startswith("EPSG:"):
        return {"proj:epsg": int(crs.removeprefix("EPSG:"))}
    # "null if the data does not have a valid EPSG code" (projection 1.1.0, proj:epsg)
    return {"proj:epsg": None} if is_code else {"proj:epsg": None, "proj:wkt2": crs}


def _fill_bands(asset: JsonObject, raster: RasterFacts, version: int) -> None:
    """``raster:bands``, or ``bands`` since raster 2 and STAC 1.1: one object a band."""
    name = "bands" if version >= 2 else "raster:bands"
    described = asset.get(name)
    if described is None:
        described = [{} for _ in raster.bands]
    if not isinstance(described, list) or len(described) != raster.count or len(described) != len(raster.bands):
        return  # `compare` tells of it
    bands = []
    for said, band in zip(described, raster.bands, strict=True):
        facts = _band_members(band, raster, version)
        # What STAC 1.1 lets an asset say for all of its bands is not said again.
        spoken = {*_object(said), *(asset if version >= 2 else ())}
        bands.append({**_object(said), **{member: value for member, value in facts.items() if member not in spoken}})
    if any(bands):
        asset[name] = bands


def _band_members(band: BandFacts, raster: RasterFacts, version: int) -> JsonObject:
    prefix = "raster:" if version >= 2 else ""
    members: JsonObject = {"data_type": _data_type(band)}
    if band.nodata is not None:
        members["nodata"] = band.nodata
    if band.unit:
        members["unit"] = band.unit
    if (band.scale, band.offset) != (1.0, 0.0):
        members |= {f"{prefix}scale": band.scale, f"{prefix}offset": band.offset}
    if raster.resolution is not None:
        members[f"{prefix}spatial_resolution"] = raster.resolution
    if raster.is_point:
        members[f"{prefix}sampling"] = "point"
    if version >= 2 and band.description:
        members["name"] = band.description
    return members


def _data_type(band: BandFacts) -> str:
    return _DATA_TYPES.get(band.dtype, band.dtype)


# --- comparing -------------------------------------------------------------------------------------------------------


def _of_asset(path: str, asset: JsonObject, raster: RasterFacts) -> Iterator[Remark]:
    said = str(asset.get("type") or "").partition(";")[0].strip().lower()
    if (expected := _FORMATS.get(said)) is not None and expected != raster.driver:
        yield Remark(f"{path}.type", RASTER, f"{said} was said, and the file sent is {raster.driver}")
    if raster.transform is not None:
        yield from _crs_remarks(path, asset, raster)
        yield from _grid_remarks(path, asset, raster)
    for name in ("bands", "raster:bands", "eo:bands"):
        yield from _band_remarks(f"{path}.{name}", asset.get(name), raster)


def _crs_remarks(path: str, members: Mapping[str, Any], raster: RasterFacts) -> Iterator[Remark]:
    code, epsg = members.get("proj:code"), members.get("proj:epsg")
    said = code if isinstance(code, str) else f"EPSG:{epsg}" if isinstance(epsg, int) else None
    if said is None or raster.crs is None or not _is_code(raster.crs):
        return  # WKT is written in too many ways to be compared as text
    if said.upper() != raster.crs.upper():
        name = "proj:code" if isinstance(code, str) else "proj:epsg"
        yield Remark(f"{path}.{name}", RASTER, f"{said[:80]} was said, and the raster has {raster.crs}")


def _grid_remarks(path: str, members: Mapping[str, Any], raster: RasterFacts) -> Iterator[Remark]:
    for name, value in _grid(raster).items():
        said = members.get(name)
        if isinstance(said, list) and value and not _near(said, value, raster):
            yield Remark(f"{path}.{name}", RASTER, f"{_shown(said)} was said, and the raster has {_shown(value)}")


def _band_remarks(path: str, bands: Any, raster: RasterFacts) -> Iterator[Remark]:
    if not isinstance(bands, list):
        return
    # An alpha band is often not counted: it is the mask of the others.
    colors = sum(band.color != "alpha" for band in raster.bands)
    if len(bands) not in {raster.count, colors or raster.count}:
        yield Remark(path, RASTER, f"{len(bands)} bands were said, and the raster has {raster.count}")
        return
    for number, (said, band) in enumerate(zip(map(_object, bands), raster.bands, strict=False)):
        # A file that has no nodata value or scale may leave it to its metadata; one that has them does not.
        facts = {
            "data_type": _data_type(band),
            "nodata": band.nodata,
            "scale": band.scale if band.scale != 1 else None,
            "offset": band.offset if band.offset != 0 else None,
        }
        for name, value in facts.items():
            member = next((full for full in (name, f"raster:{name}") if full in said), name)
            if value is not None and said.get(member) is not None and not _equal(said[member], value):
                yield Remark(
                    f"{path}.{number}.{member}", RASTER, f"{said[member]} was said, and the raster has {value}"
                )


def _equal(said: Any, value: Any) -> bool:
    if _is_number(said) and _is_number(value):
        return math.isclose(said, value, rel_tol=1e-6)
    return bool(said == value)


def _near(said: Any, value: list[Any], raster: RasterFacts) -> bool:
    """The same numbers, but for some hundredths of a pixel; nine of a transform end with 0, 0, 1."""
    if not isinstance(said, list) or not all(_is_number(number) for number in said):
        return False
    if len(value) == 6 and len(said) == 9:
        said = said[:6]
    if len(value) == 4 and len(said) == 6:
        said = [said[0], said[1], said[3], said[4]]
    if len(said) != len(value):
        return False
    if len(value) == 2:
        return bool(said == value)
    a, b, _, d, e, _ = raster.transform or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    pixel = math.sqrt(abs(a * e - b * d)) or 1.0
    # The size of a pixel counts once for each of them across the raster, an origin or an edge once.
    sides = max(raster.width, raster.height)
    tolerances = [_TOLERANCE * pixel] * len(value)
    if len(value) == 6:
        for index in (0, 1, 3, 4):
            tolerances[index] = max(pixel * 1e-9, _TOLERANCE * pixel / sides * 10)
    return all(abs(one - other) <= room for one, other, room in zip(said, value, tolerances, strict=True))


def _shown(values: list[Any]) -> str:
    return "[" + ", ".join(f"{value:.12g}" if _is_number(value) else "…" for value in values[:9]) + "]"


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
