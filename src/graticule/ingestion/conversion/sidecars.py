"""Owns the files beside a raster: they are laid out under the names that GDAL looks for, and nothing else is there.

GDAL's own sidecar, ``.aux.xml`` (PAM), may name other files to be opened (``OVERVIEW_FILE``): it is rewritten from an
allow-list. It is also how a georeference that GDAL would not find itself (a ``.prj`` beside a JPEG or PNG, the Item's
projection members) is put on a raster of any format without another copy of its pixels.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from graticule.ingestion.conversion.models import SidecarKind

_MAX_TEXT_BYTES = 4_000_000
_DATASET_PARTS = frozenset({"SRS", "GeoTransform", "GCPList"})
_BAND_PARTS = frozenset(
    {"NoDataValue", "Description", "ColorInterp", "UnitType", "Offset", "Scale", "CategoryNames", "ColorTable"}
)
#: Domains of plain facts; "" is the default one. Others name files or steer drivers.
_DATASET_DOMAINS = frozenset({"", "RPC", "xml:ESRI"})
_SUFFIXES = {
    # GDAL takes .wld beside every format that has world files at all.
    SidecarKind.WORLD_FILE: ".wld",
    SidecarKind.OVERVIEWS: ".ovr",
    SidecarKind.MASK: ".msk",
}


def lay_beside(raster: Path, sidecars: dict[SidecarKind, Path]) -> None:
    """Give the sidecars the names that GDAL expects beside ``raster``; the ``.prj`` is left to ``read_projection``."""
    for kind, path in sidecars.items():
        if kind is SidecarKind.PAM:
            _write_pam(raster, _read_pam(path))
        elif kind is SidecarKind.WORLD_FILE:
            path.rename(raster.with_suffix(_SUFFIXES[kind]))
        elif kind in _SUFFIXES:
            path.rename(raster.with_name(raster.name + _SUFFIXES[kind]))


def write_georeference(raster: Path, transform: Affine | None, crs: CRS | None) -> None:
    """Put transform and CRS beside ``raster``, over what its ``.aux.xml`` says so far."""
    pam = _pam_of(raster)
    root = _read_pam(pam) if pam.exists() else ET.Element("PAMDataset")
    if crs is not None:
        # Without dataAxisToSRSAxisMapping GDAL takes x, y, as rasterio and STAC do, whatever the authority defines.
        _replace(root, "SRS", crs.to_wkt())
    if transform is not None:
        _replace(root, "GeoTransform", ", ".join(repr(float(number)) for number in transform.to_gdal()))
    _write_pam(raster, root)


def read_projection(path: Path) -> CRS | None:
    """Read a ``.prj``: WKT, mostly in ESRI's dialect. None if it is neither."""
    if path.stat().st_size > _MAX_TEXT_BYTES:
        return None
    text = path.read_bytes().decode("utf-8-sig", errors="replace").strip("\0 \t\r\n")
    for is_esri in (True, False):
        try:
            return CRS.from_wkt(text, morph_from_esri_dialect=is_esri)
        except CRSError:
            continue
    return None


def _pam_of(raster: Path) -> Path:
    return raster.with_name(raster.name + ".aux.xml")


def _read_pam(path: Path) -> ET.Element:
    """Read a PAM file and keep what states a fact; an unreadable one says nothing."""
    kept = ET.Element("PAMDataset")
    if path.stat().st_size > _MAX_TEXT_BYTES:
        return kept
    try:
        root = ET.fromstring(path.read_bytes())  # noqa: S314 - in the confined child, and expat bounds entity expansion
    except (ET.ParseError, ValueError, LookupError):
        return kept
    for part in root:
        if part.tag == "PAMRasterBand":
            band = ET.SubElement(kept, "PAMRasterBand", {"band": part.get("band", "1")})
            band.extend(inner for inner in part if inner.tag in _BAND_PARTS or _is_metadata(inner, frozenset({""})))
        elif part.tag in _DATASET_PARTS or _is_metadata(part, _DATASET_DOMAINS):
            kept.append(part)
    return kept


def _is_metadata(part: ET.Element, domains: frozenset[str]) -> bool:
    return part.tag == "Metadata" and part.get("domain", "") in domains


def _write_pam(raster: Path, root: ET.Element) -> None:
    ET.ElementTree(root).write(_pam_of(raster), encoding="unicode")


def _replace(root: ET.Element, tag: str, text: str) -> None:
    for old in root.findall(tag):
        root.remove(old)
    ET.SubElement(root, tag).text = text
