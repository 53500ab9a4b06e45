"""What a raster is, read off an open dataset: where it lies, how large it is, and what each of its bands holds.

Knows rasterio and nothing of conversion, so that whoever describes a raster can use it; the conversion child does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from graticule.ingestion.conversion.models import BandFacts, RasterFacts

#: Bands that are told of one by one; a cube of more says the same of most of them.
MOST_BANDS = 256
_LONGEST_TEXT = 200


def facts_of(dataset: Any, size_bytes: int, *, driver: str | None = None) -> RasterFacts:
    """Sum up an open raster.

    Args:
        dataset: of rasterio.
        size_bytes: of its file.
        driver: GDAL's name of the format that it was sent in, where that was another.
    """
    transform = transform_of(dataset)
    if transform is not None and not all(map(math.isfinite, transform)):
        transform = None
    gcps, gcp_crs = dataset.gcps
    crs = dataset.crs or (gcp_crs if gcps else None) or None
    return RasterFacts(
        driver=driver or dataset.driver,
        width=dataset.width,
        height=dataset.height,
        count=dataset.count,
        dtype=dataset.dtypes[0],
        crs=crs_text(crs) if crs else None,
        transform=None if transform is None else tuple(transform)[:6],
        size_bytes=size_bytes,
        bbox=None if transform is None else _bbox(transform, dataset.width, dataset.height),
        resolution=None if transform is None or not crs else _metres(crs, transform),
        is_point=dataset.tags().get("AREA_OR_POINT") == "Point",
        bands=tuple(_band(dataset, index) for index in range(min(dataset.count, MOST_BANDS))),
    )


def transform_of(dataset: Any) -> Affine | None:
    """Its geotransform; an identity is GDAL's way to say that there is none."""
    transform: Affine = dataset.transform
    return None if transform == Affine.identity() else transform


def crs_text(crs: CRS) -> str:
    """``EPSG:32618`` where the CRS has a code, else WKT2."""
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.to_wkt(version="WKT2_2019"))


def _bbox(transform: Affine, width: int, height: int) -> tuple[float, float, float, float]:
    """Around all four corners: a raster may be rotated, or stand on its head."""
    corners = [transform * corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _metres(crs: CRS, transform: Affine) -> float | None:
    """The mean length of a pixel's sides (raster extension: spatial_resolution is in metres)."""
    try:
        factor = crs.linear_units_factor[1] if crs.is_projected else None
    except CRSError:
        return None
    a, b, _, d, e, _ = tuple(transform)[:6]
    sides = math.hypot(a, d), math.hypot(b, e)
    return None if factor is None else sum(sides) / 2 * factor


def _band(dataset: Any, index: int) -> BandFacts:
    dtype = dataset.dtypes[index]
    return BandFacts(
        dtype=dtype,
        nodata=_number(dataset.nodatavals[index], dtype),
        scale=_or(dataset.scales[index], 1.0),
        offset=_or(dataset.offsets[index], 0.0),
        unit=_text(dataset.units[index]),
        description=_text(dataset.descriptions[index]),
        color=dataset.colorinterp[index].name,
    )


def _number(value: float | None, dtype: str) -> float | int | str | None:
    """As JSON can have it."""
    if value is None:
        return None
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    is_whole = dtype != "complex_int16" and np.issubdtype(np.dtype(dtype), np.integer) and float(value).is_integer()
    return int(value) if is_whole else float(value)


def _or(value: float, default: float) -> float:
    return float(value) if math.isfinite(value) else default


def _text(value: str | None) -> str | None:
    text = "".join(character for character in value or "" if character.isprintable()).strip()
    return text[:_LONGEST_TEXT] or None
