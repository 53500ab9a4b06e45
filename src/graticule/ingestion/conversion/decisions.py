"""Owns the decisions about conversion that an Item alone allows, before any byte is read.

No rasterio here: these run in the worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from graticule.ingestion.conversion.models import Georeference, SidecarKind
from graticule.stac.documents import Asset, Item, JsonObject

_MEDIA_TYPES = frozenset(
    {
        "image/tiff",
        "image/geotiff",
        "image/x.geotiff",
        "image/vnd.stac.geotiff",
        "application/geotiff",
        "image/jpeg",
        "image/jpg",
        "image/jp2",
        "image/jpx",
        "image/jpeg2000",
        "image/png",
    }
)
# These say nothing about the content; the extension does.
_VAGUE_MEDIA_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/x-download"})
_EXTENSIONS = frozenset({".tif", ".tiff", ".gtiff", ".geotiff", ".jpg", ".jpeg", ".jp2", ".j2k", ".jpx", ".png"})
# Shown to people or kept for reading: never turned into something else. Both spellings of visual-preview are in use.
_ROLES_LEFT_ALONE = frozenset({"thumbnail", "overview", "visual-preview", "visual_preview", "tiles", "metadata"})

_WORLD_FILES = {
    ".tif": {".tfw", ".tifw"},
    ".tiff": {".tfw", ".tifw", ".tiffw"},
    ".jpg": {".jgw", ".jpgw", ".jpegw"},
    ".jpeg": {".jgw", ".jpgw", ".jpegw"},
    ".png": {".pgw", ".pngw"},
    ".jp2": {".j2w", ".jp2w"},
}
_ANY_WORLD_FILE = frozenset().union(*_WORLD_FILES.values()) | {".wld"}
_SIDECAR_ENDINGS = {
    ".prj": SidecarKind.PROJECTION,
    ".ovr": SidecarKind.OVERVIEWS,
    ".msk": SidecarKind.MASK,
    ".aux.xml": SidecarKind.PAM,
}


def wants_conversion(asset_key: str, asset: Asset, href: str) -> bool:
    """Is this asset a raster that belongs on a map, as far as its description says?

    The media type decides (parameters and case ignored); where it is missing or says nothing, the path's extension.
    """
    del asset_key  # the keys in use (tilejson, rendered_preview, thumbnail) carry the roles that decide
    roles = {str(role).lower() for role in asset.get("roles") or ()}
    if roles & _ROLES_LEFT_ALONE:
        return False
    name = _file_name(href)
    if _sidecar_kind(name, None) is not None:
        return False
    media_type = asset.get("type")
    plain_type = media_type.split(";", 1)[0].strip().lower() if isinstance(media_type, str) else ""
    if plain_type in _VAGUE_MEDIA_TYPES:
        return PurePosixPath(name.lower()).suffix in _EXTENSIONS
    return plain_type in _MEDIA_TYPES


def sidecars_of(
    asset_key: str, assets: Mapping[str, Asset], hrefs: Mapping[str, str] | None = None
) -> dict[SidecarKind, str]:
    """Find the assets that complete a raster from beside it: kind to asset key.

    A sidecar shares the raster's file stem (``a.tif``: ``a.tfw``, ``a.prj``, ``a.tif.ovr``, ``a.tif.aux.xml``). Of two
    of a kind the one in the raster's own folder wins, then the first. Without ``hrefs`` the assets' own are used.
    """
    places = {key: (hrefs or {}).get(key) or asset.get("href", "") for key, asset in assets.items()}
    raster = _file_name(places[asset_key])
    folder = _folder(places[asset_key])
    found: dict[SidecarKind, str] = {}
    for key, href in places.items():
        kind = _sidecar_kind(_file_name(href), raster) if key != asset_key else None
        if kind is None:
            continue
        if kind not in found or (_folder(href) == folder != _folder(places[found[kind]])):
            found[kind] = key
    return found


def georeference_of(item: Item, asset_key: str) -> Georeference | None:
    """Say where the asset's raster lies by the projection extension, the asset's members before the Item's.

    A ``proj:transform`` of the Item is not used for an asset that has a ``proj:shape`` of its own which differs.
    """
    asset: Mapping[str, Any] = item["assets"][asset_key]
    properties: Mapping[str, Any] = item.get("properties") or {}
    own_shape, item_shape = _shape(asset.get("proj:shape")), _shape(properties.get("proj:shape"))
    shape = own_shape or item_shape
    transform = _transform(asset.get("proj:transform"))
    if transform is None and (own_shape is None or own_shape == item_shape or item_shape is None):
        transform = _transform(properties.get("proj:transform"))
    crs = _crs(asset) or _crs(properties)
    if transform is None and crs is None:
        return None
    return Georeference(transform=transform, crs=crs, shape=shape)


def has_classes(asset: Mapping[str, Any]) -> bool:
    """Does the asset, or one of its bands, list what its values mean? Then they are classes: not to be averaged."""
    return any(
        part.get(name)
        for part in _asset_and_bands(asset)
        for name in ("file:values", "classification:classes", "classification:bitfields")
    )


def _asset_and_bands(asset: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield asset
    for name in ("bands", "raster:bands", "eo:bands"):
        bands = asset.get(name)
        if isinstance(bands, list):
            yield from (band for band in bands if isinstance(band, dict))


def _file_name(href: str) -> str:
    return unquote(urlsplit(href).path).rsplit("/", 1)[-1]


def _folder(href: str) -> str:
    parts = urlsplit(href)
    return f"{parts.netloc}{parts.path.rpartition('/')[0]}"


def _sidecar_kind(name: str, raster: str | None) -> SidecarKind | None:
    """Say what ``name`` is beside ``raster``; without one, beside any raster."""
    lower = name.lower()
    for ending, kind in _SIDECAR_ENDINGS.items():
        if lower.endswith(ending):
            stem = name[: -len(ending)]
            return kind if raster is None or stem in (raster, PurePosixPath(raster).stem) else None
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if suffix not in _ANY_WORLD_FILE:
        return None
    if raster is not None:
        own = PurePosixPath(raster)
        fitting = _WORLD_FILES.get(own.suffix.lower(), _ANY_WORLD_FILE) | {".wld"}
        if path.stem not in (own.stem, raster) or suffix not in fitting:
            return None
    return SidecarKind.WORLD_FILE


def _transform(value: Any) -> tuple[float, float, float, float, float, float] | None:
    """Six or nine numbers, row by row (projection extension, proj:transform)."""
    if not isinstance(value, list) or len(value) not in (6, 9) or not all(_is_number(number) for number in value):
        return None
    a, b, c, d, e, f = (float(number) for number in value[:6])
    return None if a * e == b * d else (a, b, c, d, e, f)


def _shape(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list) and len(value) == 2 and all(_is_number(number) for number in value):
        return int(value[0]), int(value[1])
    return None


def _crs(members: JsonObject | Mapping[str, Any]) -> str | None:
    code, epsg = members.get("proj:code"), members.get("proj:epsg")
    wkt2, projjson = members.get("proj:wkt2"), members.get("proj:projjson")
    if isinstance(code, str) and code:
        return code
    if isinstance(epsg, int) and not isinstance(epsg, bool):
        return f"EPSG:{epsg}"
    if isinstance(wkt2, str) and wkt2:
        return wkt2
    return json.dumps(projjson) if isinstance(projjson, dict) and projjson else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
