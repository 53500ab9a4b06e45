"""Owns the structure of a TIFF file: its image file directories and where their blocks lie, without decoding a pixel.

GDAL tells these too, but one block at a time; a file of a million tiles needs them at once. Layout rules: TIFF 6.0
section 2, BigTIFF (libtiff), OGC 21-026 for Cloud Optimized GeoTIFF.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

#: A COG has one directory per level and mask; a file with more than this is something else.
MAX_DIRECTORIES = 512
_MAX_ENTRIES = 4096
#: Up to this size a raster needs neither tiles nor overviews to be read well.
_SMALL = 512
#: GDAL's structural metadata lies between header and first directory, and is shorter than this.
_GHOST_AREA = 300

_WIDTH, _HEIGHT, _SUBFILE_TYPE = 256, 257, 254
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_COUNTS = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_WANTED = frozenset(
    {
        _WIDTH, _HEIGHT, _SUBFILE_TYPE, _STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_COUNTS,
        _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS,
    }
)  # fmt: skip
#: TIFF field type to numpy type: BYTE, SHORT, LONG, LONG8.
_TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
_NONE = np.zeros(0, dtype=np.uint64)


class TiffStructureError(ValueError):
    """The file's directories cannot be followed."""


@dataclass(frozen=True)
class Directory:
    """One image of the file: the main one, an overview, a mask or a page."""

    #: Where the directory itself lies, bytes from the start of the file.
    offset: int
    width: int
    height: int
    #: None where the image is in strips.
    tile_width: int | None
    #: Bit 0: a reduced version of another image; bit 2: a mask.
    subfile_type: int
    #: Where each block lies; 0 means that the block is absent and reads as nodata.
    block_offsets: NDArray[np.uint64]
    block_counts: NDArray[np.uint64]

    @property
    def is_mask(self) -> bool:
        return bool(self.subfile_type & 4)

    @property
    def is_overview(self) -> bool:
        return bool(self.subfile_type & 1) and not self.is_mask

    @property
    def is_tiled(self) -> bool:
        """Blocks are narrower or wider than the image; one block per row of the image counts as a strip."""
        return self.tile_width is not None and self.tile_width != self.width

    @property
    def first_block_offset(self) -> int | None:
        present = self.block_offsets[self.block_offsets > 0]
        return int(present[0]) if present.size else None


@dataclass(frozen=True)
class _Form:
    """Byte order and field widths of one file."""

    order: str
    is_big: bool

    @property
    def entry_size(self) -> int:
        return 20 if self.is_big else 12

    @property
    def offset_format(self) -> str:
        return self.order + ("Q" if self.is_big else "I")


def read_directories(path: Path) -> list[Directory]:
    """Follow the chain of directories.

    Raises:
        TiffStructureError: the chain leaves the file, loops, or is longer than a COG's can be.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        form, offset = _read_header(file)
        directories: list[Directory] = []
        seen: set[int] = set()
        while offset:
            if offset in seen or len(seen) >= MAX_DIRECTORIES or offset >= size:
                raise TiffStructureError("the chain of image directories is broken")
            seen.add(offset)
            directory, offset = _read_directory(file, form, offset, size)
            directories.append(directory)
    if not directories:
        raise TiffStructureError("the file has no image directory")
    return directories


def cog_faults(path: Path, directories: list[Directory]) -> list[str]:
    """Say what keeps a TIFF from being a valid COG by its layout; nothing if it is one."""
    main, *others = directories
    overviews = [directory for directory in others if directory.is_overview]
    faults: list[str] = []
    if main.offset > _GHOST_AREA:
        faults.append("the main directory is not at the start")
    if _is_spoilt(path):
        faults.append("it was edited after it was made")
    faults += [
        f"an image of {image.width} x {image.height} is not tiled"
        for image in (main, *overviews)
        if max(image.width, image.height) > _SMALL and not image.is_tiled
    ]
    levels = [main, *overviews]
    for larger, smaller in itertools.pairwise(levels):
        if smaller.offset < larger.offset or smaller.width > larger.width or smaller.height > larger.height:
            faults.append("the overviews are not in order")
    placed = [(level.offset, level.first_block_offset) for level in levels]
    starts = [start for _, start in placed if start is not None]
    if starts and starts[-1] < placed[-1][0]:
        faults.append("pixels come before the directories")
    if any(smaller > larger for larger, smaller in itertools.pairwise(starts)):
        faults.append("overviews come after the pixels that they summarise")
    return faults


def blocks_outside(directories: list[Directory], size_bytes: int) -> tuple[int, int]:
    """Count the blocks that do not lie within the file, and all blocks that are present."""
    outside = present = 0
    for directory in directories:
        offsets, counts = directory.block_offsets, directory.block_counts
        if offsets.size != counts.size:
            return 1, 1
        here = (offsets > 0) & (counts > 0)
        present += int(here.sum())
        # Not offset + count > size: that sum may overflow.
        outside += int(
            (here & ((offsets > size_bytes) | (counts > size_bytes - np.minimum(offsets, size_bytes)))).sum()
        )
    return outside, present


def _read_header(file: BinaryIO) -> tuple[_Form, int]:
    header = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    if order is None or len(header) < 8:
        raise TiffStructureError("the file is not a TIFF")
    version = struct.unpack_from(order + "H", header, 2)[0]
    if version == 42:
        return _Form(order, is_big=False), int(struct.unpack_from(order + "I", header, 4)[0])
    if version == 43 and len(header) == 16:
        return _Form(order, is_big=True), int(struct.unpack_from(order + "Q", header, 8)[0])
    raise TiffStructureError("the file is not a TIFF")


def _read_directory(file: BinaryIO, form: _Form, offset: int, size: int) -> tuple[Directory, int]:
    file.seek(offset)
    count_format = form.order + ("Q" if form.is_big else "H")
    (count,) = _unpack(file, count_format)
    if not 0 < count <= _MAX_ENTRIES:
        raise TiffStructureError("an image directory is damaged")
    entries = file.read(count * form.entry_size)
    if len(entries) < count * form.entry_size:
        raise TiffStructureError("an image directory is cut off")
    (following,) = _unpack(file, form.offset_format)
    fields: dict[int, NDArray[np.uint64]] = {}
    for start in range(0, len(entries), form.entry_size):
        tag, field_type = struct.unpack_from(form.order + "HH", entries, start)
        if tag in _WANTED and field_type in _TYPES:
            fields[tag] = _read_values(file, form, entries[start : start + form.entry_size], field_type, size)
    tile_width = _first(fields, _TILE_WIDTH, 0)
    is_tiled = tile_width > 0
    return Directory(
        offset=offset,
        width=_first(fields, _WIDTH, 0),
        height=_first(fields, _HEIGHT, 0),
        tile_width=tile_width if is_tiled else None,
        subfile_type=_first(fields, _SUBFILE_TYPE, 0),
        # TIFF 6.0 allows either pair; old writers put tiles under the strips' tags.
        block_offsets=fields.get(_TILE_OFFSETS, fields.get(_STRIP_OFFSETS, _NONE)),
        block_counts=fields.get(_TILE_COUNTS, fields.get(_STRIP_COUNTS, _NONE)),
    ), int(following)


def _read_values(file: BinaryIO, form: _Form, entry: bytes, field_type: int, size: int) -> NDArray[np.uint64]:
    dtype = np.dtype(form.order + _TYPES[field_type])
    inline = 8 if form.is_big else 4
    (count,) = struct.unpack_from(form.offset_format, entry, 4)
    length = count * dtype.itemsize
    if length <= inline:
        data = entry[-inline:][:length]
    else:
        (position,) = struct.unpack_from(form.offset_format, entry, form.entry_size - inline)
        if position + length > size:
            raise TiffStructureError("the table of blocks is cut off")
        file.seek(position)
        data = file.read(length)
    return np.frombuffer(data, dtype=dtype).astype(np.uint64)


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    data = file.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise TiffStructureError("an image directory is cut off")
    return struct.unpack(layout, data)


def _first(fields: dict[int, NDArray[np.uint64]], tag: int, default: int) -> int:
    values = fields.get(tag, _NONE)
    return int(values[0]) if values.size else default


def _is_spoilt(path: Path) -> bool:
    """GDAL >= 3.1 notes in the file's head when a later edit broke the order."""
    with path.open("rb") as file:
        return b"KNOWN_INCOMPATIBLE_EDITION=YES" in file.read(_GHOST_AREA + 100)
