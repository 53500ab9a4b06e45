"""Owns the making of a COG from an open raster, the check of one that is there, and the proof that nothing was lost.

Runs in the child only. Compression is DEFLATE: every reader of TIFF has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.warp
from rasterio.crs import CRS
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError

from graticule.errors import CogTransformationError
from graticule.ingestion.conversion import rasters, tiff

#: A COG up to this size is decoded whole before it is taken as it is; of a larger one some blocks of each level.
_DECODE_ALL_BYTES = 64 << 20
_SAMPLED_BLOCKS = 32
#: A conversion up to this size is compared pixel by pixel; of a larger one some pieces of 64 MiB.
COMPARE_ALL_BYTES = 4 << 30
_SAMPLED_CHUNKS = 64


def is_cog(path: Path) -> bool:
    """Is the TIFF laid out as a valid COG? Says nothing about its pixels."""
    try:
        return not tiff.cog_faults(path, tiff.read_directories(path))
    except tiff.TiffStructureError:
        return False


def check_cog(path: Path) -> None:
    """Make sure that a COG is whole: every block lies within the file, and pixels of each level and mask decode.

    Raises:
        CogTransformationError: it is cut off or damaged.
    """
    outside, present = tiff.blocks_outside(tiff.read_directories(path), path.stat().st_size)
    if outside:
        raise CogTransformationError(
            f"the COG is cut off: {outside} of its {present} blocks lie beyond the end of the file; upload it again"
        )
    with rasters.open_raster(path, "GTiff") as dataset:
        levels = len(dataset.overviews(1))
        _decode(dataset)
    for level in range(levels):
        with rasters.open_raster(path, "GTiff", OVERVIEW_LEVEL=level) as dataset:
            _decode(dataset)


def write_cog(dataset: Any, output: Path, resampling: Resampling, *, threads: int) -> None:
    """Copy a raster into a new COG, lossless, with overviews.

    Raises:
        CogTransformationError: a pixel cannot be read, or the COG cannot be written.
    """
    options: dict[str, Any] = {
        "driver": "COG",
        "compress": "DEFLATE",
        "predictor": "YES" if _takes_predictor(dataset, resampling) else "NO",
        "blocksize": 512,
        "bigtiff": "IF_SAFER",
        "overview_resampling": resampling.name.upper(),
        "overviews": "AUTO" if _has_full_pyramid(dataset) else "IGNORE_EXISTING",
        "num_threads": threads,
    }
    try:
        rasterio.shutil.copy(dataset, output, **options)
    except RasterioError as exc:
        raise _unreadable(exc) from exc


def verify(source: Any, path: Path) -> None:
    """Prove that a COG holds what its source holds.

    Raises:
        CogTransformationError: pixels or the facts about them differ.
    """
    with rasters.open_raster(path, "GTiff") as result:
        lost = [name for name, is_kept in _kept(source, result) if not is_kept]
        if lost:
            raise CogTransformationError(
                f"a COG cannot hold the raster's {', '.join(lost)}: supply a COG, or simplify the raster"
            )
        if not is_cog(path):
            raise CogTransformationError("GDAL did not lay the result out as a COG: supply a COG")
        try:
            for bands, window in _pieces(source):
                if not np.array_equal(_raw(source, bands, window), _raw(result, bands, window)):
                    raise CogTransformationError("the pixels of the COG differ from the source's: supply a COG")
                if bands[0] == 1 and rasters.has_own_mask(source):
                    before, after = source.read_masks(1, window=window), result.read_masks(1, window=window)
                    if not np.array_equal(before != 0, after != 0):
                        raise CogTransformationError("the mask of the COG differs from the source's: supply a COG")
        except RasterioError as exc:
            raise _unreadable(exc) from exc


def _decode(dataset: Any) -> None:
    is_small = rasters.decoded_bytes(dataset) <= _DECODE_ALL_BYTES
    pieces = rasters.chunks(dataset) if is_small else rasters.sampled_blocks(dataset, _SAMPLED_BLOCKS)
    has_mask = rasters.has_own_mask(dataset)
    try:
        for bands, window in pieces:
            dataset.read(bands, window=window)
            if has_mask and bands[0] == 1:
                dataset.read_masks(1, window=window)
    except RasterioError as exc:
        raise _unreadable(exc) from exc


def _unreadable(exc: RasterioError) -> CogTransformationError:
    text = rasters.reason(exc)
    if "memory" in text.lower():
        return CogTransformationError(
            "the raster's blocks do not fit into the memory of a conversion: store it in tiles, or raise"
            " GRATICULE_CONVERSION_MEMORY_MB"
        )
    if "too large" in text.lower() or "no space" in text.lower():
        return CogTransformationError(f"the COG could not be written ({text}): split the file, or supply a COG")
    return CogTransformationError(f"pixels of the raster cannot be read ({text}): it is damaged; upload it again")


def _takes_predictor(dataset: Any, resampling: Resampling) -> bool:
    """Differences of neighbours pack quantities better and classes worse; odd bit depths have none."""
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    is_complex = dataset.dtypes[0].startswith("complex")
    return bits in (None, "8", "16", "32") and not is_complex and resampling is not Resampling.mode


def _has_full_pyramid(dataset: Any) -> bool:
    """Only a TIFF's overviews were made on purpose; JPEG and JPEG 2000 offer what their codec can skip."""
    factors = dataset.overviews(1) if dataset.driver == "GTiff" else []
    if not factors or factors != [2 ** (level + 1) for level in range(len(factors))]:
        return False
    return bool(max(dataset.width, dataset.height) / factors[-1] <= 512)


def _pieces(dataset: Any) -> Iterable[Any]:
    pieces = list(rasters.chunks(dataset))
    if rasters.decoded_bytes(dataset) <= COMPARE_ALL_BYTES or len(pieces) <= _SAMPLED_CHUNKS:
        return pieces
    step = (len(pieces) - 1) / (_SAMPLED_CHUNKS - 1)
    return [pieces[round(index * step)] for index in range(_SAMPLED_CHUNKS)]


def _raw(dataset: Any, bands: list[int], window: Any) -> Any:
    """Pixels as bytes: NaN equals NaN, and -0.0 is not 0.0."""
    return dataset.read(bands, window=window).view(np.uint8)


def _kept(source: Any, result: Any) -> list[tuple[str, bool]]:
    """Each fact about the pixels that must survive, and whether it did."""
    return [
        ("size", (source.width, source.height, source.count) == (result.width, result.height, result.count)),
        ("data type", source.dtypes == result.dtypes),
        ("nodata value", all(map(_same_number, source.nodatavals, result.nodatavals))),
        ("transform", all(map(_close, source.transform, result.transform))),
        ("CRS", _same_crs(source, result)),
        ("ground control points", _gcps(source) == _gcps(result)),
        ("RPCs", (source.rpcs is None) == (result.rpcs is None)),
        ("mask", _masked(source) == _masked(result)),
        ("scale and offset", (source.scales, source.offsets) == (result.scales, result.offsets)),
        ("colour map", _colormap(source) == _colormap(result)),
    ]


def _same_number(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)


def _same_crs(source: Any, result: Any) -> bool:
    """Equal, or equal in effect: GeoTIFF keys name some CRS otherwise than they were written."""
    before, after = source.crs, result.crs
    if before == after or not before or not after:
        return bool(before) == bool(after)
    columns = [0, source.width / 2, source.width, 0, source.width]
    rows = [0, source.height / 2, source.height, source.height, 0]
    a, b, c, d, e, f = source.transform[:6]
    xs = [a * column + b * row + c for column, row in zip(columns, rows, strict=True)]
    ys = [d * column + e * row + f for column, row in zip(columns, rows, strict=True)]
    pixel = math.sqrt(abs(a * e - b * d))
    return _moves_less_than(pixel / 100, before, after, xs, ys)


def _moves_less_than(distance: float, before: CRS, after: CRS, xs: list[float], ys: list[float]) -> bool:
    try:
        new_xs, new_ys = rasterio.warp.transform(after, before, xs, ys)
    except RasterioError:
        return False
    return all(
        math.hypot(x - new_x, y - new_y) < distance for x, y, new_x, new_y in zip(xs, ys, new_xs, new_ys, strict=True)
    )


def _gcps(dataset: Any) -> list[tuple[float, ...]]:
    return [(point.row, point.col, point.x, point.y, point.z or 0.0) for point in dataset.gcps[0]]


def _masked(dataset: Any) -> list[bool]:
    return [MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums]


def _colormap(dataset: Any) -> Any:
    """Red, green, blue of each value; TIFF has no transparency there."""
    try:
        return {value: color[:3] for value, color in dataset.colormap(1).items()}
    except ValueError:
        return None
