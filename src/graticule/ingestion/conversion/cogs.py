"""Owns the making of a COG from an open raster, the check of one that is there, and the proof that nothing was lost.

Runs in the child only. Compression is the profile's, and lossless where a raster is no picture that may lose detail;
by default DEFLATE, which every reader of TIFF has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.warp
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling

from graticule.errors import CogTransformationError
from graticule.ingestion.conversion import rasters, tiff
from graticule.ingestion.conversion.models import Compression, ConversionProfile

#: A COG up to this size is decoded whole before it is taken as it is; of a larger one some blocks of each level.
_DECODE_ALL_BYTES = 64 << 20
_SAMPLED_BLOCKS = 32
#: A conversion up to this size is compared pixel by pixel; of a larger one some pieces of 64 MiB.
COMPARE_ALL_BYTES = 4 << 30
_SAMPLED_CHUNKS = 64
#: Mean difference of the bytes of a lossy picture, at most.
_MOST_LOSS = 32.0
_PREDICTED = frozenset({Compression.DEFLATE, Compression.ZSTD, Compression.LZW})


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


def fitting(profile: ConversionProfile, dataset: Any, resampling: Resampling) -> ConversionProfile:
    """The profile as this raster can have it: what is no picture of 8 bits loses nothing, whatever was chosen.

    JPEG and WEBP are for bytes that are quantities and have no nodata value, which would no longer be exact; JPEG takes
    one band or three, WEBP three or four. Values that are classes are not for them, nor for LERC types that it has not.
    """
    chosen = profile.compression
    bands = {Compression.JPEG: (1, 3), Compression.WEBP: (3, 4)}.get(chosen)
    if bands is not None:
        is_picture = (
            dataset.count in bands
            and set(dataset.dtypes) == {"uint8"}
            and all(value is None for value in dataset.nodatavals)
            and resampling not in (Resampling.mode, Resampling.nearest)
            and _bits(dataset) in (None, "8")
            and (chosen is Compression.WEBP or ColorInterp.alpha not in dataset.colorinterp)
        )
        return profile if is_picture else replace(profile, compression=Compression.DEFLATE)
    if chosen is Compression.LERC:
        takes = not any(dtype.startswith(("complex", "int64", "uint64")) for dtype in dataset.dtypes)
        return profile if takes and _bits(dataset) is None else replace(profile, compression=Compression.DEFLATE)
    return profile


def write_cog(
    dataset: Any, output: Path, resampling: Resampling, *, threads: int, profile: ConversionProfile | None = None
) -> None:
    """Copy a raster into a new COG with overviews; lossless, unless the profile is one that loses detail.

    Raises:
        CogTransformationError: a pixel cannot be read, or the COG cannot be written.
    """
    profile = profile or ConversionProfile()
    options: dict[str, Any] = {
        "driver": "COG",
        "compress": profile.compression.upper(),
        "blocksize": profile.block_size,
        "bigtiff": "IF_SAFER",
        "overview_resampling": resampling.name.upper().replace("_", ""),
        "overviews": "AUTO" if _has_full_pyramid(dataset) else "IGNORE_EXISTING",
        "num_threads": threads,
    }
    if profile.compression in _PREDICTED:
        options["predictor"] = "YES" if _takes_predictor(dataset, resampling) else "NO"
    if profile.compression.is_lossy:
        options["quality"] = profile.quality
    if profile.compression is Compression.LERC:
        options["max_z_error"] = 0
    if profile.level is not None and profile.compression in (Compression.DEFLATE, Compression.ZSTD):
        options["level"] = profile.level
    try:
        rasterio.shutil.copy(dataset, output, **options)
    except rasters.GDAL_ERRORS as exc:
        raise rasters.unreadable(exc) from exc


def verify(source: Any, path: Path, *, lossy: bool = False) -> None:
    """Prove that a COG holds what its source holds; of `lossy` pixels, that they are the same picture.

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
                if not (_alike if lossy else _equal)(source, result, bands, window):
                    raise CogTransformationError("the pixels of the COG differ from the source's: supply a COG")
                if bands[0] == 1 and rasters.has_own_mask(source):
                    before, after = source.read_masks(1, window=window), result.read_masks(1, window=window)
                    if not np.array_equal(before != 0, after != 0):
                        raise CogTransformationError("the mask of the COG differs from the source's: supply a COG")
        except rasters.GDAL_ERRORS as exc:
            raise rasters.unreadable(exc) from exc


def _equal(source: Any, result: Any, bands: list[int], window: Any) -> bool:
    return np.array_equal(_raw(source, bands, window), _raw(result, bands, window))


def _alike(source: Any, result: Any, bands: list[int], window: Any) -> bool:
    """On average within what the poorest quality does to a picture."""
    before, after = (dataset.read(bands, window=window).astype(np.int16) for dataset in (source, result))
    return float(np.abs(before - after).mean()) <= _MOST_LOSS


def _decode(dataset: Any) -> None:
    is_small = rasters.decoded_bytes(dataset) <= _DECODE_ALL_BYTES
    pieces = rasters.chunks(dataset) if is_small else rasters.sampled_blocks(dataset, _SAMPLED_BLOCKS)
    has_mask = rasters.has_own_mask(dataset)
    try:
        for bands, window in pieces:
            dataset.read(bands, window=window)
            if has_mask and bands[0] == 1:
                dataset.read_masks(1, window=window)
    except rasters.GDAL_ERRORS as exc:
        raise rasters.unreadable(exc) from exc


def _takes_predictor(dataset: Any, resampling: Resampling) -> bool:
    """Differences of neighbours pack quantities better and classes worse; odd bit depths have none."""
    bits = _bits(dataset)
    is_complex = dataset.dtypes[0].startswith("complex")
    return bits in (None, "8", "16", "32") and not is_complex and resampling is not Resampling.mode


def _bits(dataset: Any) -> str | None:
    """Of each value, where they are fewer than its type has."""
    return dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")  # type: ignore[no-any-return]  # rasterio has no types


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
    except rasters.GDAL_ERRORS:
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
