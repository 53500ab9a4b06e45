"""Owns: what explains the colours of a map: swatches by value, and a strip of all colours as a picture (api.md 5.1).

The ramps of rio-tiler are read from its files of colours, without the library, which render processes alone load.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from graticule.errors import InvalidParameter, NotFound
from graticule.tiler import colormaps

T = TypeVar("T")

DEFAULT_WIDTH: Final = 5.0  #: inches
DEFAULT_HEIGHT: Final = 0.15
MOST_INCHES: Final = 50.0
#: Pixels of the strip for an inch: 100 to an inch of the whole figure, of which margins take the rest, so that a
#: legend of the default size has the known 387 x 11 pixels.
_ACROSS: Final = 77.5
_DOWN: Final = 77.0


def class_map(name: str, trim_start: int = 0, trim_end: int = 0) -> dict[str, list[int]]:
    """The colours of a map of classes: value → ``[r, g, b, a]``, by ascending value.

    Args:
        name: of the map, in any case.
        trim_start: how many classes are left out at the front.
        trim_end: the same at the end.

    Raises:
        NotFound: there is no such map.
        InvalidParameter: it is of another kind, or nothing is left of it.
    """
    found = _named(name, "classmapName")
    if colormaps.kind(found) != "classes":
        raise InvalidParameter(_other_kind(found), target="classmapName")
    classes = _trimmed(colormaps.classes(found), trim_start, trim_end)
    return {f"{value:.15g}": list(color) for value, color in classes}


def interval_map(name: str, trim_start: int = 0, trim_end: int = 0) -> list[list[list[float]]]:
    """The colours of a map of intervals: ``[[[from, to], [r, g, b, a]], …]``, ascending; else as `class_map`."""
    found = _named(name, "classmapName")
    if colormaps.kind(found) != "intervals":
        raise InvalidParameter(_other_kind(found), target="classmapName")
    intervals = _trimmed(sorted(colormaps.intervals(found)), trim_start, trim_end)
    return [[[_plain(bound) for bound in bounds], list(color)] for bounds, color in intervals]


def picture(
    name: str,
    *,
    width: float = DEFAULT_WIDTH,
    height: float = DEFAULT_HEIGHT,
    trim_start: int = 0,
    trim_end: int = 0,
) -> bytes:
    """All colours of a ramp or a map of classes from left to right, as a PNG with alpha.

    Args:
        name: of the map, in any case.
        width: inches.
        height: inches.
        trim_start: how many colours are left out at the left; a ramp has 256.
        trim_end: the same at the right.

    Raises:
        NotFound: there is no such map.
        InvalidParameter: it is a map of intervals, nothing is left of it, or the size is out of bounds.
    """
    found = _named(name, "colorMapName")
    if colormaps.kind(found) == "intervals":
        raise InvalidParameter(_other_kind(found), target="colorMapName")
    columns, rows = _pixels(width, "width", _ACROSS), _pixels(height, "height", _DOWN)
    if colormaps.kind(found) == "ramp":
        colors = _ramp(found)
    else:
        colors = np.array([color for _, color in colormaps.classes(found)], dtype=np.uint8)
    colors = _trimmed(colors, trim_start, trim_end)
    line = colors[np.arange(columns) * len(colors) // columns]
    return _png(np.broadcast_to(line, (rows, columns, 4)))


# --- inside ----------------------------------------------------------------------------------------------------------


def _named(name: str, target: str) -> str:
    found = colormaps.find_name(name)
    if found is None:
        raise NotFound(f"There is no colour map {name[:60]!r}.", target=target)
    return found


def _other_kind(name: str) -> str:
    kind = colormaps.kind(name)
    nouns = {"ramp": "ramp of colours", "classes": "map of classes", "intervals": "map of intervals"}
    paths = {"ramp": "colormap", "classes": "classmap", "intervals": "interval"}
    return f"{name!r} is a {nouns[kind]}: its legend is at /data/legend/{paths[kind]}."


def _trimmed(entries: Any, start: int, end: int) -> Any:
    for trim, target in ((start, "trim_start"), (end, "trim_end")):
        if trim < 0:
            raise InvalidParameter(f"{target}: {trim} is below 0.", target=target)
    if start + end >= len(entries):
        message = f"trim_start and trim_end leave nothing of {len(entries)} colours."
        raise InvalidParameter(message, target="trim_start" if start else "trim_end")
    return entries[start : len(entries) - end]


def _pixels(inches: float, name: str, density: float) -> int:
    if not 0 < inches <= MOST_INCHES:
        message = f"{name}: {inches:g} inches are not within 0 and {MOST_INCHES:g}."
        raise InvalidParameter(message, target=name)
    return max(1, int(inches * density))


def _plain(value: float) -> float:
    return int(value) if float(value).is_integer() else value


@cache
def _ramp(name: str) -> Any:
    spec = find_spec("rio_tiler")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    colors = np.load(Path(folder) / "cmap_data" / f"{name}.npy")
    assert colors.shape == (256, 4)
    return colors.astype(np.uint8)


def _png(pixels: Any) -> bytes:
    """Eight-bit RGBA as PNG (W3C PNG, section 5); the libraries for it belong to render processes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, columns, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)  # filter 0: none
    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)  # depth 8, colour type 6: RGBA
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
