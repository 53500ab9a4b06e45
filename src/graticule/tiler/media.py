"""Which assets can be read as pixels, and by which reader: by media type, else by the extension of the name."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

#: The reader of each media type, its parameters left out (RFC 9110 section 8.3.1).
READERS: Final = {
    "image/tiff": "raster",
    "image/x.geotiff": "raster",
    "image/vnd.stac.geotiff": "raster",
    "image/jp2": "raster",
    "image/png": "raster",
    "image/jpeg": "raster",
    "image/jpg": "raster",
    "application/netcdf": "cube",
    "application/x-netcdf": "cube",
    "application/x-hdf": "cube",
    "application/x-hdf5": "cube",
    "application/vnd+zarr": "cube",
    "application/vnd.zarr": "cube",
    "application/grib": "grib",
    "application/x-grib": "grib",
    "application/x-grib2": "grib",
    "application/wmo-grib": "grib",
    "application/wmo-grib2": "grib",
}
_EXTENSIONS: Final = {
    **dict.fromkeys((".tif", ".tiff", ".gtiff", ".jp2", ".j2k", ".png", ".jpg", ".jpeg"), "raster"),
    **dict.fromkeys((".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".he5", ".zarr"), "cube"),
    **dict.fromkeys((".grib", ".grib2", ".grb", ".grb2", ".grb1"), "grib"),
}
#: Pictures of data, without a place: their pixels are no measurement, and there is no map to draw them on.
_PICTURES: Final = frozenset({"thumbnail", "overview"})
_PLACELESS: Final = frozenset({"image/png", "image/jpeg", "image/jpg"})


def reader_of(media_type: str | None, name: str, roles: tuple[str, ...] = ()) -> str | None:
    """Which reader opens an asset; None where none does."""
    kind = (media_type or "").split(";", 1)[0].strip().lower()
    reader = READERS.get(kind) if kind else _EXTENSIONS.get(PurePosixPath(name).suffix.lower())
    if (kind == "application/json" and "references" in roles) or name.lower().endswith(".zarr.zip"):
        return "cube"
    if kind in _PLACELESS and _PICTURES.intersection(roles):
        return None
    return reader
