"""The nouns of conversion: what is asked of a child process, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

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
class RasterFacts:
    """What a raster is: the stored one, after conversion."""

    #: GDAL's short name of the format.
    driver: str
    width: int
    height: int
    count: int
    dtype: str
    #: ``EPSG:32618`` where the CRS has a code, else WKT2; of the GCPs where there is no transform; None if unknown.
    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    size_bytes: int


@dataclass(frozen=True)
class ConversionResult:
    """What became of a file, and what it is."""

    outcome: Outcome
    #: The file to store.
    path: Path
    #: The media type to publish; None where the asset's own stays.
    media_type: str | None
    facts: RasterFacts
