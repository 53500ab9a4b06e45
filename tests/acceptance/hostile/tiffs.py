"""TIFFs that lie about their structure, by a writer that writes what it is told."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.io import MemoryFile

from acceptance.hostile.cases import Case, Places

_FORMATS = {1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 11: "f", 12: "d", 16: "Q"}
#: A tag's type and values; or type, count as it is to be written, and the bytes.
Tag = tuple[int, Sequence[Any]] | tuple[int, int, bytes]

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, SAMPLES, ROWS, COUNTS = (
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
)
PLANAR, COLORMAP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, SUB_IFDS = 284, 320, 322, 323, 324, 325, 330
FORMAT, JPEG_TABLES, SCALE, TIEPOINT, MATRIX, KEYS, METADATA, NODATA = (
    339,
    347,
    33550,
    33922,
    34264,
    34735,
    42112,
    42113,
)
_UTM = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632)
LAUGHS = "<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 9))
_PIXELS = bytes(range(256)) * 16


def tiff(changes: Mapping[int, Tag | None] | None = None, *, data: bytes = _PIXELS, following: int = 0) -> bytes:
    """A GeoTIFF of 64 x 64 bytes in one strip, with its tags changed.

    `following` is where its next directory is said to lie.
    """
    start = 8
    tags: dict[int, Tag | None] = {
        WIDTH: (4, [64]),
        LENGTH: (4, [64]),
        BITS: (3, [8]),
        COMPRESSION: (3, [1]),
        PHOTOMETRIC: (3, [1]),
        OFFSETS: (4, [start]),
        SAMPLES: (3, [1]),
        ROWS: (4, [64]),
        COUNTS: (4, [len(data)]),
        SCALE: (12, [10.0, 10.0, 0.0]),
        TIEPOINT: (12, [0.0, 0.0, 0.0, 400000.0, 5200000.0, 0.0]),
        KEYS: (3, list(_UTM)),
        **(changes or {}),
    }
    kept = sorted((number, tag) for number, tag in tags.items() if tag is not None)
    place = start + len(data)
    later = place + 2 + 12 * len(kept) + 4
    entries, behind = b"", b""
    for number, tag in kept:
        kind = tag[0]
        if len(tag) == 3:
            count, content = int(tag[1]), bytes(tag[2])
        else:
            count = len(tag[1])
            content = b"".join(struct.pack(f"<{_FORMATS.get(kind, 'B')}", each) for each in tag[1])
        if len(content) > 4:
            content, behind = struct.pack("<I", later + len(behind)), behind + content
        entries += struct.pack("<HHI", number, kind, count) + content.ljust(4, b"\0")
    directory = struct.pack("<H", len(kept)) + entries + struct.pack("<I", following)
    return struct.pack("<2sHI", b"II", 42, place) + data + directory + behind


def tiled(side: int, *, compression: int, data: bytes, kind: int = 1) -> bytes:
    """One tile that is the whole raster."""
    changes: dict[int, Tag | None] = {
        OFFSETS: None, ROWS: None, COUNTS: None, WIDTH: (4, [side]), LENGTH: (4, [side]), TILE_WIDTH: (4, [side]),
        TILE_LENGTH: (4, [side]), TILE_OFFSETS: (4, [8]), TILE_COUNTS: (4, [len(data)]), COMPRESSION: (3, [compression]),
        BITS: (3, [8 * kind]),
    }  # fmt: skip
    return tiff(changes, data=data)


def cases(places: Places) -> dict[str, Case]:
    """By name."""
    large, absurd = 0x7FFFFFFF, 0xFFFFFFFF
    changed: dict[str, Mapping[int, Tag | None]] = {
        "width-2g": {WIDTH: (4, [large])},
        "size-2g": {WIDTH: (4, [large]), LENGTH: (4, [large])},
        "size-4g": {WIDTH: (4, [absurd]), LENGTH: (4, [absurd])},
        "no-width": {WIDTH: (4, [0])},
        "no-size": {WIDTH: None, LENGTH: None},
        "rows-absurd": {ROWS: (4, [absurd])},
        "no-rows": {ROWS: (4, [0])},
        "strip-beyond-end": {OFFSETS: (4, [absurd])},
        "strip-longer-than-file": {COUNTS: (4, [absurd])},
        "strip-is-directory": {OFFSETS: (4, [0]), COUNTS: (4, [4104])},
        "no-strips": {OFFSETS: None, COUNTS: None},
        "strips-absurd": {OFFSETS: (4, absurd, b"\x08\0\0\0"), COUNTS: (4, absurd, b"\x08\0\0\0")},
        "samples-65535": {SAMPLES: (3, [65535])},
        "bands-65535": {SAMPLES: (3, [65535]), PLANAR: (3, [2])},
        "samples-0": {SAMPLES: (3, [0])},
        "bits-0": {BITS: (3, [0])},
        "bits-65535": {BITS: (3, [65535])},
        "bits-mixed": {SAMPLES: (3, [3]), BITS: (3, [8, 16, 1])},
        "format-unknown": {FORMAT: (3, [99])},
        "compression-unknown": {COMPRESSION: (3, [65000])},
        "compression-wrong": {COMPRESSION: (3, [8])},
        "compression-lzw-wrong": {COMPRESSION: (3, [5])},
        "compression-fax-wrong": {COMPRESSION: (3, [4]), BITS: (3, [1])},
        "compression-jpeg-wrong": {COMPRESSION: (3, [7])},
        "compression-old-jpeg": {COMPRESSION: (3, [6])},
        "compression-zstd-wrong": {COMPRESSION: (3, [50000])},
        "compression-lerc-wrong": {COMPRESSION: (3, [34887])},
        "compression-lzma-wrong": {COMPRESSION: (3, [34925])},
        "jpeg-tables": {COMPRESSION: (3, [7]), JPEG_TABLES: (7, 2000, b"\xff\xd8" + b"\xff" * 1998)},
        "planar-unknown": {PLANAR: (3, [77])},
        "palette-short": {PHOTOMETRIC: (3, [3]), COLORMAP: (3, [1, 2, 3])},
        "sub-directories": {SUB_IFDS: (4, [4104] * 100)},
        "tag-count-absurd": {65000: (12, absurd, b"\x08\0\0\0")},
        "tag-beyond-end": {65000: (2, 100, struct.pack("<I", absurd))},
        "tag-type-unknown": {65000: (200, 5, b"\x08\0\0\0")},
        "tiles-of-nothing": {TILE_WIDTH: (4, [0]), TILE_LENGTH: (4, [0])},
        "tiles-absurd": {TILE_WIDTH: (4, [0x7FFFFFF0]), TILE_LENGTH: (4, [0x7FFFFFF0])},
        "keys-absurd": {KEYS: (3, [1, 1, 0, 65535, 1024, 0, 1, 1])},
        "keys-beyond-end": {KEYS: (3, [1, 1, 0, 1, 1026, 34737, 65535, 65535])},
        "crs-unknown": {KEYS: (3, [*_UTM[:-1], 1])},
    }  # fmt: skip
    safe = {
        "rows-absurd",
        "sub-directories",
        "tag-count-absurd",
        "tag-beyond-end",
        "tag-type-unknown",
    }
    found = {f"tiff-{name}": Case(tiff(tags), None if name in safe else "") for name, tags in changed.items()}
    places_of: dict[str, Mapping[int, Tag | None]] = {
        "scale-nan": {SCALE: (12, [float("nan")] * 3)},
        "scale-infinite": {SCALE: (12, [float("inf")] * 3)},
        "scale-zero": {SCALE: (12, [0.0, 0.0, 0.0])},
        "scale-huge": {SCALE: (12, [1e308, 1e308, 0.0])},
        "tiepoint-nan": {TIEPOINT: (12, [0.0, 0.0, 0.0, float("nan"), float("nan"), 0.0])},
        "matrix-nan": {SCALE: None, TIEPOINT: None, MATRIX: (12, [float("nan")] * 16)},
        "matrix-singular": {SCALE: None, TIEPOINT: None, MATRIX: (12, [1.0] * 16)},
        "nodata-absurd": {NODATA: _text("1e999")},
        "nodata-text": {NODATA: _text("$(id)")},
    }
    found |= {f"tiff-{name}": Case(tiff(tags), "") for name, tags in places_of.items()}
    here = len(tiff()) - 200
    metadata = {
        "laughs": f"<!DOCTYPE a [{LAUGHS}]><GDALMetadata><Item name='x'>&a8;</Item></GDALMetadata>",
        "entity": "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><GDALMetadata><Item name='x'>&x;</Item></GDALMetadata>",
        "deep": "<GDALMetadata>" + "<a>" * 50_000,
        "overviews": f"<GDALMetadata><Item name='OVERVIEW_FILE' domain='OVERVIEWS'>{places.canary}</Item></GDALMetadata>",
        "overviews-http": f"<GDALMetadata><Item name='OVERVIEW_FILE' domain='OVERVIEWS'>/vsicurl/{places.url}/o</Item></GDALMetadata>",
        "vrt": f"<GDALMetadata><Item name='x' domain='xml:VRT'>{places.canary}</Item></GDALMetadata>",
        "mask": f"<GDALMetadata><Item name='INTERNAL_MASK_FLAGS_1'>2</Item><Item name='MASK'>{places.canary}</Item></GDALMetadata>",
        "large": "<GDALMetadata>" + "<Item name='x'>y</Item>" * 100_000 + "</GDALMetadata>",
    }  # fmt: skip
    refused = {"overviews", "overviews-http"}
    found |= {
        f"metadata-{name}": Case(tiff({METADATA: _text(text)}), "CogTransformationError" if name in refused else "")
        for name, text in metadata.items()
    }
    zeros = {
        "deflate-tile": tiled(29_984, compression=8, data=zlib.compress(bytes(29_984 * 29_984), 1)),
        "deflate-doubles": tiled(8000, compression=8, data=zlib.compress(bytes(8000 * 8000 * 8), 1), kind=8),
        "packbits-tile": tiled(32_000, compression=32773, data=b"\x81\0" * (32_000 * 32_000 // 128)),
    }
    found |= {f"bomb-{name}": Case(content, "") for name, content in zeros.items()}
    found |= {
        "bomb-million": Case(_sparse(places.folder, 1_000_000)),
        "bomb-300000": Case(_sparse(places.folder, 300_000)),
        "bomb-bands": Case(_sparse(places.folder, 20_000, 1000)),
        "loop-itself": Case(tiff(following=8 + len(_PIXELS)), ""),
        "loop-nowhere": Case(tiff(following=0xFFFFFFF0), ""),
        "loop-into-pixels": Case(tiff(following=100), ""),
        "loop-into-tags": Case(tiff(following=here), ""),
        "pages": Case(_pages(20_000)),
        "bigtiff-absurd": Case(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + b"\xff" * 400),
        "bigtiff-empty": Case(b"MM\0+\0\x08\0\0" + bytes(8)),
        "crs-reads-a-grid": Case(_with_grid(places.canary), ""),
        "only-a-head": Case(b"II*\0\x08\0\0\0"),
    }
    return found


def _text(text: str) -> Tag:
    return 2, len(text) + 1, text.encode() + b"\0"


def _sparse(folder: Path, side: int, bands: int = 1) -> bytes:
    path = folder / "sparse.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=bands, dtype="uint8", crs="EPSG:3857", sparse_ok=True,
        transform=rasterio.Affine(2, 0, 0, 0, -2, 0), tiled=True, blockxsize=16384, blockysize=16384, bigtiff="YES",
        interleave="band",
    ):  # fmt: skip
        pass
    return path.read_bytes()


def _pages(number: int) -> bytes:
    """Many directories, one behind the other."""
    one = tiff()
    start = 8 + len(_PIXELS)
    size = len(one) - start
    content = bytearray(one)
    count = struct.unpack_from("<H", content, start)[0]
    directory = bytes(content[start:])
    for page in range(1, number):
        struct.pack_into("<I", content, start + (page - 1) * size + 2 + 12 * count, start + page * size)
        content += directory
    return bytes(content)


def _with_grid(canary: Path) -> bytes:
    """Its CRS has PROJ read a grid."""
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=64, height=64, count=1, dtype="uint8",
            crs=f"+proj=longlat +ellps=bessel +nadgrids={canary} +no_defs", transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
        ) as dataset:  # fmt: skip
            dataset.write(np.zeros((1, 64, 64), dtype="uint8"))
        return bytes(memory.read())
