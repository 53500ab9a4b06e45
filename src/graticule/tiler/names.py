"""Names that requests may use: formats, kernels, algorithms, selections, colour maps (api.md 5.2, models.md).

Clients' enumerations are open, and their case varies; `find` compares without case and answers the exact spelling.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Output formats and the media types they are sent as (api.md 5.2).
MEDIA_TYPES: Final = {
    "png": "image/png",
    "pngraw": "image/png",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "jp2": "image/jp2",
    "tif": "image/tiff; application=geotiff",
    "npy": "application/x-binary",
}
FORMATS: Final = tuple(MEDIA_TYPES)

#: Kernels for resizing, and for reprojecting.
RESAMPLING: Final = ("nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "gauss", "rms")
REPROJECT: Final = (
    *("nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode"),
    *("max", "min", "med", "q1", "q3", "sum", "rms"),
)

ALGORITHMS: Final = (
    *("hillshade", "contours", "normalizedIndex", "terrarium", "terrainrgb", "slope"),
    *("cast", "ceil", "floor", "min", "max", "median", "mean", "std", "var"),
)

PIXEL_SELECTIONS: Final = (
    *("first", "highest", "lowest", "mean", "median", "stdev", "lastbandlow", "lastbandhigh", "count"),
)

SEL_METHODS: Final = ("nearest", "linear", "bilinear", "cubic", "cubic_spline", "lanczos", "area", "mode")

#: Tile matrix sets that are served; the first one is meant where a URL names none (api.md 5.1, 6.1).
DEFAULT_TILE_MATRIX_SET: Final = "WebMercatorQuad"

_RAMPS: Final = """
accent afmhot algae amp autumn balance binary blues bone brbg brg bugn bupu bwr cfastie cividis cmrmap cool
coolwarm copper cubehelix curl dark2 deep delta dense diff flag gist_earth gist_gray gist_heat gist_ncar
gist_rainbow gist_stern gist_yarg gnbu gnuplot gnuplot2 gray greens greys haline hot hsv ice inferno jet magma
matter nipy_spectral ocean oranges orrd oxy paired pastel1 pastel2 phase pink piyg plasma prgn prism pubu pubugn
puor purd purples rain rainbow rdbu rdgy rdpu rdylbu rdylgn reds rplumbo schwarzwald seismic set1 set2 set3 solar
spectral speed spring summer tab10 tab20 tab20b tab20c tarn tempo terrain thermal topo turbid turbo twilight
twilight_shifted viridis winter wistia ylgn ylgnbu ylorbr ylorrd
"""
#: These ramps have no reversed twin.
_NOT_REVERSED: Final = frozenset({"cfastie", "rplumbo", "schwarzwald"})
#: Colour maps with 256 steps each, which rio-tiler brings along.
RAMPS: Final = frozenset(
    name + end for name in _RAMPS.split() for end in ("", "_r") if not end or name not in _NOT_REVERSED
)


def find(name: str, names: Iterable[str]) -> str | None:
    """The one of these that is meant, in its exact spelling; None where there is none."""
    folded = name.lower()
    return next((known for known in names if known.lower() == folded), None)
