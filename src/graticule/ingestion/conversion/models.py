"""The nouns of conversion: what is asked of a child process, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

#: The media type of what a conversion makes (OGC 21-026, STAC best practices).
COG_MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"

#: A raster that would take more than this when decoded is refused as a decompression bomb, bytes.
MAX_DECODED_BYTES = 200_000_000_000


class SidecarKind(StrEnum):
    """The files that complete a raster from beside it."""

    WORLD_FILE = "world-file"
    PROJECTION = "projection"
    OVERVIEWS = "overviews"
    MASK = "mask"
    PAM = "pam"


class Outcome(StrEnum):
    """What became of a file."""

    #: A valid COG already: store the source file as it is.
    COPIED = "copied"
    #: ``ConversionResult.path`` is a new COG with the same pixels.
    CONVERTED = "converted"
    #: An image that lies nowhere on a map: store the source file as it is.
    UNTOUCHED = "untouched"
    #: The files of a Zarr store, in one zip file.
    PACKED = "packed"
    #: A manifest of references was written beside a NetCDF or HDF5 file.
    REFERENCED = "referenced"


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies, as its Item says it."""

    #: a, b, c, d, e, f: x = a*column + b*row + c, y = d*column + e*row + f.
    transform: tuple[float, float, float, float, float, float] | None = None
    #: ``EPSG:32618``, WKT2 or PROJJSON, as text.
    crs: str | None = None
    #: Height and width of the raster that the transform belongs to.
    shape: tuple[int, int] | None = None


def _finite(value: Any) -> float:
    """A number that JSON has; raises TypeError or ValueError otherwise."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a number that is not finite")
    return number


class Compression(StrEnum):
    """How the blocks of a COG are packed."""

    DEFLATE = "deflate"
    ZSTD = "zstd"
    LZW = "lzw"
    LERC = "lerc"
    NONE = "none"
    #: Loses detail; for pictures of 8 bits.
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def is_lossy(self) -> bool:
        """Do pixels change?"""
        return self in (Compression.JPEG, Compression.WEBP)


@dataclass(frozen=True)
class ConversionProfile:
    """How the rasters of a collection are made into COGs."""

    compression: Compression = Compression.DEFLATE
    #: Of JPEG and WEBP: 1 to 100.
    quality: int = 85
    #: Of DEFLATE (1 to 9) and ZSTD (1 to 22); None: GDAL's own.
    level: int | None = None
    #: Width and height of a block, pixels.
    block_size: int = 512
    #: GDAL's name of how overviews are made; None: as it fits the raster.
    overview_resampling: str | None = None


@dataclass(frozen=True)
class ConversionRequest:
    """One raster file to look at and, if need be, to convert."""

    #: The local file. It is only read, and best lies in the staging folder: it is then linked, not copied.
    source: Path
    #: Where the COG goes, if one is made. Replaced in one step, at the end.
    output: Path
    #: The asset's key, for messages.
    name: str
    media_type: str | None = None
    roles: tuple[str, ...] = ()
    #: Local files that the Item has beside the raster.
    sidecars: Mapping[SidecarKind, Path] = field(default_factory=dict)
    #: Used where the file and its sidecars say nothing.
    georeference: Georeference | None = None
    #: The Item says that the values are classes, not quantities.
    has_classes: bool = False
    profile: ConversionProfile = field(default_factory=ConversionProfile)
    #: Seconds of wall time. Default: the pool's setting.
    timeout: float | None = None
    max_decoded_bytes: int = MAX_DECODED_BYTES


@dataclass(frozen=True)
class ReferenceRequest:
    """One NetCDF or HDF5 file to write a manifest of references for."""

    #: The local file.
    source: Path
    #: Where the manifest goes, if one is made. Replaced in one step, at the end.
    output: Path
    #: The asset's key, for messages.
    name: str
    #: What the file will be called, beside the manifest.
    file_name: str


@dataclass(frozen=True)
class BandFacts:
    """What one band of a raster is."""

    #: As numpy names it; ``complex_int16`` is GDAL's own.
    dtype: str
    #: A number, or ``nan``, ``inf``, ``-inf``; None where the band has none.
    nodata: float | int | str | None = None
    #: Value = pixel * scale + offset.
    scale: float = 1.0
    offset: float = 0.0
    #: Of the values, as the file writes it.
    unit: str | None = None
    #: The band's name.
    description: str | None = None
    #: GDAL's word: red, gray, palette, alpha, undefined …
    color: str = "undefined"

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> Self:
        """As `asdict` wrote it, taking over no other types than these; raises KeyError, TypeError or ValueError."""
        nodata = members["nodata"]
        if not isinstance(nodata, str):
            nodata = None if nodata is None else nodata if isinstance(nodata, int) else _finite(nodata)
        elif nodata not in ("nan", "inf", "-inf"):
            raise ValueError("a nodata value that is no number")
        texts = {name: None if members[name] is None else str(members[name]) for name in ("unit", "description")}
        scale, offset = _finite(members["scale"]), _finite(members["offset"])
        color = str(members["color"])
        return cls(str(members["dtype"]), nodata, scale, offset, texts["unit"], texts["description"], color)


@dataclass(frozen=True)
class RasterFacts:
    """What a raster is: the stored one, after conversion."""

    #: GDAL's short name of the format of the file that was sent.
    driver: str
    width: int
    height: int
    count: int
    dtype: str
    #: ``EPSG:32618`` where the CRS has a code, else WKT2; of the GCPs where there is no transform; None if unknown.
    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    size_bytes: int
    #: West, south, east, north in the CRS; None without a transform.
    bbox: tuple[float, float, float, float] | None = None
    #: Metres per pixel, the mean of both sides; None where the CRS is not one of lengths.
    resolution: float | None = None
    #: Do pixels stand for points (``AREA_OR_POINT``)?
    is_point: bool = False
    bands: tuple[BandFacts, ...] = ()

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> Self:
        """As `asdict` wrote it, taking over no other types than these; raises KeyError, TypeError or ValueError."""
        transform, bbox, resolution = members["transform"], members["bbox"], members["resolution"]
        if transform is not None:
            a, b, c, d, e, f = (_finite(number) for number in transform)
            transform = (a, b, c, d, e, f)
        if bbox is not None:
            west, south, east, north = (_finite(number) for number in bbox)
            bbox = (west, south, east, north)
        return cls(
            driver=str(members["driver"]),
            width=int(members["width"]),
            height=int(members["height"]),
            count=int(members["count"]),
            dtype=str(members["dtype"]),
            crs=None if members["crs"] is None else str(members["crs"]),
            transform=transform,
            size_bytes=int(members["size_bytes"]),
            bbox=bbox,
            resolution=None if resolution is None else _finite(resolution),
            is_point=bool(members["is_point"]),
            bands=tuple(BandFacts.read(band) for band in members["bands"]),
        )


@dataclass(frozen=True)
class ConversionResult:
    """What became of a file, and what it is."""

    outcome: Outcome
    #: The file to store.
    path: Path
    #: The media type to publish; None where the asset's own stays.
    media_type: str | None
    facts: RasterFacts
