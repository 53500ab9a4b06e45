"""Owns: pictures of 8 bits from arrays, many times faster than through GDAL; the lossless ones hold the same pixels.

Each library may be missing: `encode` then answers None, and GDAL writes the picture. Alpha is left out where nothing is
transparent.
"""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rio_tiler.colormap import apply_cmap

try:
    import fpng
except ImportError:  # no wheel for this platform
    fpng = None
try:
    import simplejpeg
except ImportError:
    simplejpeg = None
_deflate: ModuleType
try:
    from isal import isal_zlib as _deflate
except ImportError:
    _deflate = zlib
try:
    from PIL import Image
except ImportError:
    Image = None  # type: ignore[assignment]
_pillow: Any = Image

Bytes = NDArray[np.uint8]

#: Those of titiler.
_JPEG_QUALITY: Final = 85
_WEBP_QUALITY: Final = 75
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: PNG colour types (RFC 2083, 4.1.1) by number of channels.
_COLOR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}
_INDEXED: Final = 3


def encode(values: NDArray[Any], valid: NDArray[np.bool_] | None, name: str) -> bytes | None:
    """A picture of one band (grey) or three; None where GDAL is to write it.

    Args:
        values: bands, rows, columns; of 8 bits.
        valid: rows, columns: False where a pixel is transparent; None: nowhere.
        name: of the format.
    """
    if values.dtype != np.uint8 or values.shape[0] not in {1, 3}:
        return None
    if valid is not None and valid.all():
        valid = None
    # No copy where the pixels lie behind each other already, as `blocks` leaves them.
    pixels = np.ascontiguousarray(values.transpose(1, 2, 0))
    alpha = None if valid is None else valid.astype(np.uint8) * np.uint8(255)
    return _write(pixels, alpha, name)


def encode_classes(values: NDArray[Any], valid: NDArray[np.bool_] | None, colors: Bytes, name: str) -> bytes | None:
    """A picture of one band in the colours of its values; None where GDAL is to write it.

    Args:
        values: rows, columns, of 8 or 16 bits.
        valid: as in `encode`; None: no picture has transparent pixels, whatever the colours say.
        colors: of each value that the type has: red, green, blue, alpha.
        name: of the format.
    """
    if name in {"png", "pngraw"} and values.dtype == np.uint8 and (made := _indexed(values, valid, colors)) is not None:
        return made
    pixels = colors.view(np.uint32)[:, 0].take(values).view(np.uint8).reshape(*values.shape, 4)
    alpha = None
    if valid is not None:
        alpha = np.where(valid, pixels[..., 3], np.uint8(0))
        if alpha.min() == 255:
            alpha = None
    rgb = np.empty((*values.shape, 3), np.uint8)
    for channel in range(3):
        rgb[..., channel] = pixels[..., channel]
    return _write(rgb, alpha, name)


def table(colormap: Any, dtype: np.dtype[Any]) -> Bytes | None:
    """The colour of each value that a type of 8 or 16 bits has, as rio-tiler gives it; None for other types."""
    if dtype not in (np.uint8, np.uint16):
        return None
    every = np.arange(1 << (8 * dtype.itemsize), dtype=dtype).reshape(1, 1, -1)
    colors, alpha = apply_cmap(every, colormap)
    if colors.dtype != np.uint8:
        return None
    return np.ascontiguousarray(np.concatenate([colors, alpha[np.newaxis]])[:, 0].T.astype(np.uint8))


@lru_cache(maxsize=64)
def scaling(dtype: np.dtype[Any], least: float, most: float) -> Bytes:
    """What each value of a type of 8 or 16 bits becomes when least to most are stretched to 0 to 255.

    As rio-tiler: clipped, and what follows the point is cut off.
    """
    every = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)
    scaled = (np.clip(every, least, most, dtype=np.float64) - least) / np.float64(most - least) * 255
    made: Bytes = scaled.astype(dtype).astype(np.uint8)
    return made


def rescaled(array: np.ma.MaskedArray[Any, Any], pairs: tuple[tuple[float, float], ...]) -> Any:
    """An array stretched to 0 to 255, masked values 0; None for types of more than 16 bits."""
    if array.dtype.kind not in "ui" or array.dtype.itemsize > 2:
        return None
    bands, height, width = array.shape
    mask = np.ma.getmaskarray(array)
    made = np.empty((height, width, bands), np.uint8)
    for band in range(bands):
        tables = scaling(array.dtype, *pairs[band if len(pairs) > 1 else 0])
        made[..., band] = tables.take(array.data[band].view(f"u{array.dtype.itemsize}"))
    values = made.transpose(2, 0, 1)
    if mask.any():
        values[mask] = 0
    return np.ma.MaskedArray(values, mask=mask)


# --- formats ---------------------------------------------------------------------------------------------------------


def _write(pixels: Bytes, alpha: Bytes | None, name: str) -> bytes | None:
    """Rows, columns, channels."""
    if name in {"png", "pngraw"}:
        return _png(_with(pixels, alpha))
    if name in {"jpeg", "jpg"}:
        return _jpeg(pixels)
    if name == "webp":
        return _webp(pixels, alpha)
    return None


def _png(pixels: Bytes) -> bytes:
    if fpng is not None and pixels.shape[2] >= 3:
        written: bytes = fpng.from_ndarray(pixels)
        return written
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    filtered = np.empty((height, width * channels + 1), np.uint8)
    filtered[0, 0], filtered[0, 1:] = 0, rows[0]
    filtered[1:, 0] = 2  # less the row above (RFC 2083, 6.4)
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return _chunks(width, height, _COLOR_TYPES[channels], (), filtered)


def _indexed(values: Bytes, valid: NDArray[np.bool_] | None, colors: Bytes) -> bytes | None:
    """A PNG that holds the values and a palette. None where a value is transparent in one place and not in another."""
    largest = int(values.max())
    colors = colors[: largest + 1].copy()
    if valid is None:
        colors[:, 3] = 255
    elif not valid.all():
        hidden = np.bincount(values[~valid], minlength=largest + 1) > 0
        shown = np.bincount(values[valid], minlength=largest + 1) > 0
        if (hidden & shown & (colors[:, 3] > 0)).any():
            return None
        colors[hidden, 3] = 0
    chunks = [(b"PLTE", colors[:, :3].tobytes())]
    used = np.flatnonzero(colors[:, 3] < 255)
    if used.size:
        chunks.append((b"tRNS", colors[: int(used[-1]) + 1, 3].tobytes()))
    height, width = values.shape
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = values
    return _chunks(width, height, _INDEXED, chunks, rows)


def _chunks(width: int, height: int, kind: int, more: Any, rows: Bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *more, (b"IDAT", _deflate.compress(rows, 1)), (b"IEND", b"")]
    made = [_SIGNATURE]
    for name, body in parts:
        made += [struct.pack(">I", len(body)), name, body, struct.pack(">I", _deflate.crc32(body, zlib.crc32(name)))]
    return b"".join(made)


def _jpeg(pixels: Bytes) -> bytes | None:
    if simplejpeg is None:
        return None
    grey = pixels.shape[2] == 1
    written: bytes = simplejpeg.encode_jpeg(
        pixels, quality=_JPEG_QUALITY, colorspace="GRAY" if grey else "RGB", colorsubsampling="Gray" if grey else "420"
    )
    return written


def _webp(pixels: Bytes, alpha: Bytes | None) -> bytes | None:
    if _pillow is None:
        return None
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    target = io.BytesIO()
    _pillow.fromarray(_with(pixels, alpha)).save(target, "WEBP", quality=_WEBP_QUALITY, method=0)
    return target.getvalue()


def _with(pixels: Bytes, alpha: Bytes | None) -> Bytes:
    if alpha is None:
        return pixels
    made = np.empty((*pixels.shape[:2], pixels.shape[2] + 1), np.uint8)
    for channel in range(pixels.shape[2]):
        made[..., channel] = pixels[..., channel]
    made[..., -1] = alpha
    return made
