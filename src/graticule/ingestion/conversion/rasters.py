"""Owns what is known about a local raster before it is converted: its format, size, georeference and kind of values.

Runs in the child only. A file is opened with the one driver that its first bytes name.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Compression, MaskFlags, Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.windows import Window

from graticule.errors import CogTransformationError, EmptyAsset
from graticule.ingestion.conversion.facts import transform_of
from graticule.ingestion.conversion.models import Georeference

#: What rasterio raises when GDAL cannot: wrapped, or from a copy as it is; SystemError where GDAL gave no reason.
GDAL_ERRORS = (RasterioError, CPLE_BaseError, SystemError)
#: What is read in one piece, bytes.
CHUNK_BYTES = 64 << 20
#: A raster of more than this that claims so many times its file's size is a bomb: DEFLATE reaches 1,030 at best.
_BOMB_RATIO, _BOMB_BYTES = 20_000, 2 << 30
#: Integer values that are so few are classes.
_MOST_CLASSES = 32
#: STAC's and USGS' roles of assets whose integers are flags or classes.
_CLASS_ROLES = frozenset(
    {
        "classification", "labels", "cloud", "cloud-shadow", "snow-ice", "land-water", "water-mask", "saturation",
        "data-mask", "mask", "quality", "qa",
    }
)  # fmt: skip

_SIGNATURES = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
)
#: The extension under which GDAL looks for sidecars of each format.
EXTENSIONS = {"GTiff": ".tif", "JPEG": ".jpg", "PNG": ".png", "JP2OpenJPEG": ".jp2"}
_FORMATS_TAKEN = "GeoTIFF, JPEG, JPEG 2000 and PNG are converted"


@dataclass(frozen=True)
class Placement:
    """Where a raster lies, by its file and sidecars."""

    transform: Affine | None
    crs: CRS | None
    has_gcps: bool
    has_rpcs: bool

    @property
    def is_complete(self) -> bool:
        return (self.transform is not None and self.crs is not None) or self.has_gcps or self.has_rpcs


def driver_of(path: Path) -> str:
    """Name the GDAL driver that the file's first bytes ask for.

    Raises:
        EmptyAsset: there are no bytes.
        CogTransformationError: it is none of the formats that are converted.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise EmptyAsset("the file has no bytes: check the file and its URL")
    for signature, driver in _SIGNATURES:
        if head.startswith(signature):
            return driver
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    looks = "is not a raster"
    if text.startswith((b"<!doctype html", b"<html")):
        looks = "is an HTML page, perhaps the source's error or login page"
    elif text.startswith((b"<vrtdataset", b"<?xml", b"<")):
        looks = "is an XML document"
    elif text.startswith((b"{", b"[")):
        looks = "is a JSON document"
    elif head.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        looks = "is a compressed archive, to be unpacked first"
    raise CogTransformationError(f"the file {looks} ({_FORMATS_TAKEN}): check the href and the asset's type")


def open_raster(path: Path, driver: str, **options: Any) -> Any:
    """Open with one driver only.

    Raises:
        CogTransformationError: GDAL cannot read the file's head.
    """
    try:
        return rasterio.open(path, driver=driver, **options)
    except (*GDAL_ERRORS, ValueError, TypeError) as exc:
        raise CogTransformationError(
            f"the {driver} file cannot be opened ({reason(exc)}): it is damaged or incomplete; test it with gdalinfo"
        ) from exc


def check_size(dataset: Any, file_bytes: int, max_decoded_bytes: int) -> None:
    """Refuse what would fill disk and hours.

    Raises:
        CogTransformationError: the raster is larger than is converted, or a decompression bomb.
    """
    decoded = decoded_bytes(dataset)
    shape = f"{dataset.width} x {dataset.height} pixels in {dataset.count} bands"
    if decoded > max_decoded_bytes:
        raise CogTransformationError(
            f"the raster has {shape}, {decoded} bytes decoded, and at most {max_decoded_bytes} are converted:"
            " split it, or supply a COG of smaller parts"
        )
    if decoded > _BOMB_BYTES and decoded > _BOMB_RATIO * file_bytes:
        raise CogTransformationError(
            f"the raster claims {shape} in a file of {file_bytes} bytes: it is empty or a decompression bomb"
        )


def decoded_bytes(dataset: Any) -> int:
    """The size of all bands, uncompressed."""
    return sum(dataset.width * dataset.height * _itemsize(dtype) for dtype in dataset.dtypes)


def placement(dataset: Any) -> Placement:
    """Read the georeference."""
    gcps, gcp_crs = dataset.gcps
    return Placement(
        transform=transform_of(dataset),
        crs=dataset.crs or None,
        has_gcps=bool(gcps) and bool(gcp_crs),
        has_rpcs=dataset.rpcs is not None,
    )


def check_place(transform: Affine | None, shape: tuple[int, int]) -> None:
    """Refuse a transform under which pixels have no size, or lie at no number; shape is rows, columns.

    Raises:
        CogTransformationError: it is so.
    """
    if transform is None:
        return
    corners = [transform @ corner for corner in ((0, 0), (shape[1], 0), (0, shape[0]), (shape[1], shape[0]))]
    area = abs(transform.determinant)
    if not (0 < area < math.inf and all(map(math.isfinite, itertools.chain(*corners)))):
        raise CogTransformationError(
            "the raster's transform places its pixels nowhere (their size is zero, or a number is not finite): correct"
            " it in the file, its world file or the Item's proj:transform"
        )


def fall_back(known: Placement, projection: CRS | None, said: Georeference | None, shape: tuple[int, int]) -> Placement:
    """Complete what file and sidecars say: by the ``.prj`` first, then by what the Item says, if it fits the shape.

    Raises:
        CogTransformationError: the Item's CRS is unknown.
    """
    transform, crs = known.transform, known.crs or projection
    if said is not None:
        if transform is None and said.transform is not None and said.shape in (None, shape):
            transform = Affine(*said.transform)
        if crs is None and said.crs is not None:
            try:
                crs = CRS.from_user_input(said.crs)
            except CRSError as exc:
                raise CogTransformationError(
                    "the Item's projection members name a CRS that PROJ does not know: correct proj:code or proj:wkt2"
                ) from exc
    return Placement(transform=transform, crs=crs, has_gcps=known.has_gcps, has_rpcs=known.has_rpcs)


def overview_resampling(dataset: Any, *, roles: set[str], has_classes: bool) -> Resampling:
    """Choose how overviews are made: classes keep to values that exist, quantities are averaged.

    Raises:
        CogTransformationError: some pixels were looked at and cannot be read.
    """
    dtype = dataset.dtypes[0]
    if dtype.startswith("complex"):
        return Resampling.nearest
    is_picture = ColorInterp.red in dataset.colorinterp
    if has_classes or roles & _CLASS_ROLES or ColorInterp.palette in dataset.colorinterp:
        return Resampling.mode
    is_lossy = dataset.driver == "JPEG" or dataset.compression in (Compression.jpeg, Compression.webp)
    if dtype.startswith("float") or is_picture or is_lossy:
        return Resampling.average
    try:
        return Resampling.mode if _has_few_values(dataset) else Resampling.average
    except GDAL_ERRORS as exc:
        raise unreadable(exc) from exc


def unreadable(exc: BaseException) -> CogTransformationError:
    """Say what GDAL's complaint about pixels means for the file."""
    text = reason(exc)
    if "memory" in text.lower():
        return CogTransformationError(
            "the raster's blocks do not fit into the memory of a conversion: store it in tiles, or raise"
            " GRATICULE_CONVERSION_MEMORY_MB"
        )
    if "too large" in text.lower() or "no space" in text.lower():
        return CogTransformationError(f"the COG could not be written ({text}): split the file, or supply a COG")
    return CogTransformationError(f"pixels of the raster cannot be read ({text}): it is damaged; upload it again")


def chunks(dataset: Any) -> Iterator[tuple[list[int], Window]]:
    """Cut a raster into pieces of about ``CHUNK_BYTES`` at most, whole rows where possible: bands and window."""
    itemsize = max(_itemsize(dtype) for dtype in dataset.dtypes)
    rows = min(512, dataset.height)
    columns = min(dataset.width, max(512, CHUNK_BYTES // (rows * itemsize) // 512 * 512))
    bands = max(1, CHUNK_BYTES // (rows * columns * itemsize))
    for row in range(0, dataset.height, rows):
        for column in range(0, dataset.width, columns):
            window = Window(column, row, min(columns, dataset.width - column), min(rows, dataset.height - row))
            for first in range(1, dataset.count + 1, bands):
                yield list(range(first, min(first + bands, dataset.count + 1))), window


def sampled_blocks(dataset: Any, number: int) -> Iterator[tuple[list[int], Window]]:
    """First, last and ``number`` random blocks; the same ones each time for a raster of the same size."""
    block_height, block_width = dataset.block_shapes[0]
    across, down = -(-dataset.width // block_width), -(-dataset.height // block_height)
    last = across * down - 1
    drawn = random.Random(last).sample(range(last + 1), min(number, last + 1))  # noqa: S311 - a sample, not a secret
    for index in sorted({0, last, *drawn}):
        column, row = index % across * block_width, index // across * block_height
        window = Window(column, row, min(block_width, dataset.width - column), min(block_height, dataset.height - row))
        for band in dataset.indexes:
            yield [band], window


def has_own_mask(dataset: Any) -> bool:
    """Is there a mask beside the bands, in the file or as ``.msk``? Alpha and nodata do not count."""
    return any(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in dataset.mask_flag_enums)


def reason(exc: BaseException) -> str:
    """GDAL's own words about what went wrong: the innermost cause, on one line, short, without our file names."""
    while exc.__cause__ is not None or exc.__context__ is not None:
        exc = exc.__cause__ or exc.__context__  # type: ignore[assignment]
    text = "".join(character if character.isprintable() else " " for character in str(exc))
    for extension in EXTENSIONS.values():
        text = text.replace(f"job/source{extension}", "the file").replace(f"source{extension}", "the file")
    text = text.replace("job/result.tif", "the COG").replace("result.tif", "the COG")
    return " ".join(text.split())[:200].rstrip(" .:") or type(exc).__name__


def _has_few_values(dataset: Any) -> bool:
    """Look at some blocks of an integer raster: few distinct values are classes, not quantities."""
    found: NDArray[Any] = np.zeros(0, dtype=dataset.dtypes[0])
    across = min(512, dataset.width)
    rows = max(1, min(256, dataset.height))
    for part in range(1, 9):
        row = (dataset.height - rows) * part // 9
        column = (dataset.width - across) * (part * 5 % 9) // 8
        values = dataset.read(1, window=Window(min(column, dataset.width - across), row, across, rows))
        found = np.union1d(found, values)
        if found.size > _MOST_CLASSES:
            return False
    return True


def _itemsize(dtype: str) -> int:
    return 4 if dtype == "complex_int16" else np.dtype(dtype).itemsize
