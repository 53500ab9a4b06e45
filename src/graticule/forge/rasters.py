"""Owns: what one raster file says of itself.

A file is opened with the one driver that its first bytes name (GeoTIFF, JPEG, PNG, JPEG 2000), never as a VRT, and GDAL
may open nothing over the network: a file that names other files, wherever they lie, cannot make us read them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError, NotGeoreferencedWarning

from graticule.errors import GraticuleError, NotForged
from graticule.forge import footprints
from graticule.forge.footprints import Footprint
from graticule.ingestion.conversion import SidecarKind, rasters, tiff
from graticule.ingestion.conversion.cogs import is_cog
from graticule.ingestion.conversion.models import COG_MEDIA_TYPE
from graticule.ingestion.conversion.sidecars import read_projection
from graticule.stac.documents import JsonObject

_NAMES_OF_BANDS: Final = {
    ColorInterp.red: "red",
    ColorInterp.green: "green",
    ColorInterp.blue: "blue",
    ColorInterp.alpha: "alpha",
}
#: More than a classification has that people made names for; a palette of more is a picture's.
_MOST_CLASSES: Final = 256


@dataclass(frozen=True)
class Facts:
    """What a raster is and where it lies."""

    width: int
    height: int
    is_cog: bool
    bands: list[JsonObject]  #: band objects of STAC 1.1, with the raster extension's members
    classes: list[JsonObject]  #: of its colour table; empty where it has none
    crs: CRS | None  #: None: it lies nowhere on a map
    transform: Affine | None  #: pixel to CRS; None also where it lies by ground control points
    footprint: Footprint | None
    tags: Mapping[str, str]  #: the file's own metadata, GDAL's IMAGERY domain among it

    @property
    def is_placed(self) -> bool:
        """Is it known where it lies?"""
        return self.footprint is not None

    def projection(self) -> JsonObject:
        """Members of the projection extension 2.0."""
        if self.crs is None:
            return {}
        code = self.crs.to_authority()
        members: JsonObject = {"proj:code": ":".join(code) if code else None}
        if not code:
            members["proj:wkt2"] = self.crs.to_wkt(version="WKT2_2019")
        members["proj:shape"] = [self.height, self.width]
        if self.transform is not None:
            members["proj:transform"] = [_plain(number) for number in tuple(self.transform)[:6]]
            xs, ys = zip(*footprints.corners(self.width, self.height, self.transform), strict=True)
            members["proj:bbox"] = [_plain(number) for number in (min(xs), min(ys), max(xs), max(ys))]
        return members


def read_crs(text: str) -> CRS:
    """A CRS by its code (``EPSG:32618``), WKT or PROJ string.

    Raises:
        NotForged: PROJ knows none of this name.
    """
    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as exc:
        raise NotForged(f"--crs {text!r} is no CRS that PROJ knows: write a code, such as EPSG:32618.") from exc


@contextmanager
def safe_environment() -> Iterator[None]:
    """GDAL's settings for files of the user's own: no network, no threads of its own."""
    options = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".nothing-remote", "PROJ_NETWORK": "OFF", "GDAL_NUM_THREADS": "1"}
    with rasterio.Env(**options), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # thumbnails have no place, and need none
        yield


def read_facts(
    path: Path, sidecars: Mapping[SidecarKind, Path], *, crs: CRS | None, valid_data: bool, place: str
) -> Facts:
    """Open a raster, with what GDAL finds beside it, and say what it is.

    Args:
        path: the file.
        sidecars: the files beside it; a ``.prj`` is read here, because GDAL reads none for JPEG and PNG.
        crs: used where neither file nor sidecar names one.
        valid_data: outline the pixels that hold data, not the whole raster.
        place: what people call the file, for messages.

    Raises:
        NotForged: it cannot be read, or is cut off; the message says what to do.
    """
    try:
        driver = rasters.driver_of(path)
        if driver == "GTiff":
            _check_whole(path)
        with rasters.open_raster(path, driver) as dataset:
            return _facts(dataset, path, driver, sidecars, crs, valid_data=valid_data)
    except GraticuleError as exc:
        raise NotForged(f"{place}: {exc.message}") from exc
    except rasters.GDAL_ERRORS as exc:
        raise NotForged(f"{place}: it cannot be read ({rasters.reason(exc)}): test it with gdalinfo -checksum") from exc
    except OSError as exc:
        raise NotForged(f"{place}: {exc.strerror}: make the file readable") from exc


def _facts(
    dataset: Any, path: Path, driver: str, sidecars: Mapping[SidecarKind, Path], crs: CRS | None, *, valid_data: bool
) -> Facts:
    placed = rasters.placement(dataset)
    projection = sidecars.get(SidecarKind.PROJECTION)
    known = placed.crs or (read_projection(projection) if projection else None) or crs
    transform = placed.transform
    footprint: Footprint | None = None
    if transform is not None:
        if known is None:
            raise NotForged(
                "it has a transform but no CRS, and no .prj lies beside it: name the CRS with --crs, such as --crs"
                " EPSG:32618"
            )
        outline = footprints.of_data(dataset, transform, known) if valid_data else None
        footprint = outline or footprints.of_grid(dataset.width, dataset.height, transform, known)
    elif placed.has_gcps:
        points, known = dataset.gcps
        footprint = footprints.of_gcps(dataset.width, dataset.height, points, known)
    return Facts(
        width=dataset.width,
        height=dataset.height,
        is_cog=driver == "GTiff" and is_cog(path),
        bands=_bands(dataset, known if transform is not None else None),
        classes=_classes(dataset) if driver == "GTiff" else [],
        crs=known if footprint is not None else None,
        transform=transform,
        footprint=footprint,
        tags={**dataset.tags(), **dataset.tags(ns="IMAGERY")},
    )


def media_type(facts: Facts, by_name: str | None) -> str | None:
    """The media type of a raster: what its name says, and whether it is a COG."""
    return COG_MEDIA_TYPE if facts.is_cog else by_name


def _check_whole(path: Path) -> None:
    try:
        outside, present = tiff.blocks_outside(tiff.read_directories(path), path.stat().st_size)
    except tiff.TiffStructureError as exc:
        raise NotForged(f"the TIFF is damaged ({exc}): copy it once more from where it came") from exc
    if outside:
        raise NotForged(
            f"the file is cut off: {outside} of its {present} blocks lie beyond its end; copy it once more from where"
            " it came"
        )


def _bands(dataset: Any, crs: CRS | None) -> list[JsonObject]:
    resolution = _resolution(dataset, crs)
    named = [_NAMES_OF_BANDS.get(color) for color in dataset.colorinterp]
    bands: list[JsonObject] = []
    for index in range(dataset.count):
        color = named[index] if named.count(named[index]) == 1 else None
        description = dataset.descriptions[index]
        band: JsonObject = {
            "name": description or color or f"b{index + 1}",
            "data_type": _data_type(dataset.dtypes[index]),
        }
        if dataset.nodatavals[index] is not None:
            band["nodata"] = _number_or_name(dataset.nodatavals[index])
        if dataset.units[index]:
            band["unit"] = dataset.units[index]
        if dataset.scales[index] != 1:
            band["raster:scale"] = dataset.scales[index]
        if dataset.offsets[index] != 0:
            band["raster:offset"] = dataset.offsets[index]
        if resolution is not None:
            band["raster:spatial_resolution"] = resolution
        band["raster:sampling"] = "point" if dataset.tags().get("AREA_OR_POINT") == "Point" else "area"
        bands.append(band)
    return bands


def _resolution(dataset: Any, crs: CRS | None) -> float | None:
    """Metres; None where the CRS counts in degrees."""
    if crs is None or not crs.is_projected:
        return None
    _, factor = crs.linear_units_factor
    transform = dataset.transform
    width, height = (abs(complex(transform.a, transform.d)), abs(complex(transform.b, transform.e)))
    return round(float(factor) * (width + height) / 2, 6)


def _classes(dataset: Any) -> list[JsonObject]:
    """The classes of a colour table: entries that are not GDAL's filling, opaque or clear black."""
    if dataset.count != 1 or dataset.colorinterp[0] is not ColorInterp.palette:
        return []
    nodata = dataset.nodatavals[0]
    black = {(0, 0, 0, 255), (0, 0, 0, 0)}
    colours = {value: rgba for value, rgba in dataset.colormap(1).items() if rgba not in black or value == nodata}
    if not 0 < len(colours) < _MOST_CLASSES:
        return []
    return [
        {
            "value": value,
            "name": f"class-{value}",
            "color_hint": "{:02X}{:02X}{:02X}".format(*rgba[:3]),
            **({"nodata": True} if value == nodata else {}),
        }
        for value, rgba in sorted(colours.items())
    ]


def _data_type(dtype: str) -> str:
    """STAC's name of a GDAL type (common metadata, data_type)."""
    complex_types = {"complex_int16": "cint16", "complex64": "cfloat32", "complex128": "cfloat64"}
    return complex_types.get(dtype, dtype)


def _number_or_name(value: float) -> float | int | str:
    """A nodata value: JSON has no NaN and no infinity, STAC writes their names."""
    if value != value:  # noqa: PLR0124 - NaN
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return _plain(value)


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)
