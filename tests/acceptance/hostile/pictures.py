"""JPEG, PNG and JPEG 2000 whose heads claim what their bodies cannot be, or whose bodies are bombs."""

from __future__ import annotations

import struct
import zlib

from acceptance.hostile.cases import Case, Places

#: So that a picture counts as a raster on the map.
_PLACE = {"proj:code": "EPSG:32632", "proj:transform": [10.0, 0.0, 400000.0, 0.0, -10.0, 5200000.0]}


def cases(places: Places) -> dict[str, Case]:
    """By name."""
    data = places.data / "raster"
    pngs = {
        "size-absurd": _png(0x7FFFFFFF, 0x7FFFFFFF, b""),
        "size-0": _png(0, 0, b""),
        "bomb": _png(100_000, 100_000, zlib.compress(bytes(100 << 20), 9), depth=1),
        "bomb-16-bit": _png(65_000, 65_000, zlib.compress(bytes(50 << 20), 9), depth=16, colour=6),
        "no-pixels": _png(5000, 5000, b""),
        "text-bomb": _png(64, 64, _rows(64), extra=_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50 << 20)))),
        "profile-bomb": _png(64, 64, _rows(64), extra=_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50 << 20)))),
        "chunk-absurd": _png(64, 64, _rows(64), extra=struct.pack(">I", 0xFFFFFFFF) + b"tEXt"),
        "wrong-sum": _png(64, 64, _rows(64)).replace(b"IEND", b"IENX"),
        "interlaced-bomb": _png(60_000, 60_000, zlib.compress(bytes(20 << 20)), interlace=1),
        "colour-unknown": _png(64, 64, _rows(64), colour=7),
    }
    jpeg = (data / "worldfile" / "bahamas_l7.jpg").read_bytes()
    frame = next(at for at in range(len(jpeg)) if jpeg[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
    scan = jpeg.index(b"\xff\xda")
    jpegs = {
        "size-absurd": jpeg[: frame + 5] + b"\xff\xdc\xff\xdc" + jpeg[frame + 9 :],
        "size-0": jpeg[: frame + 5] + bytes(4) + jpeg[frame + 9 :],
        "components": jpeg[: frame + 9] + b"\xff" + jpeg[frame + 10 :],
        "many-scans": jpeg[:scan] + jpeg[scan : scan + 14] * 20_000 + b"\xff\xd9",
        "no-tables": jpeg[:2] + jpeg[frame:],
        "no-scan": jpeg[:scan],
        "exif": b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 65_520 + jpeg[2:],
        "markers": b"\xff\xd8" + b"\xff\xfe\0\x02" * 100_000 + jpeg[2:],
    }
    jp2 = (data / "jpeg2000" / "s2_tci_crop.jp2").read_bytes()
    size = jp2.index(b"\xff\x51")
    jp2s = {
        "size-absurd": _put(jp2, size + 6, struct.pack(">II", 0xFFFFFFFF, 0xFFFFFFFF)),
        "tile-of-1": _put(jp2, size + 22, struct.pack(">II", 1, 1)),
        "tile-0": _put(jp2, size + 22, struct.pack(">II", 0, 0)),
        "components": _put(jp2, size + 38, struct.pack(">H", 16384)),
        "depth": _put(jp2, size + 40, b"\xff\xff\xff"),
        "box-loop": jp2[:12] + struct.pack(">I4s", 8, b"jp2h") * 10_000,
        "box-absurd": jp2[:12] + struct.pack(">I4sQ", 1, b"jp2c", 2**63) + bytes(100),
        "xml": jp2[:12] + _box(b"xml ", f"<a xlink:href='{places.url}/gml'>{places.canary}</a>".encode()) + jp2[12:],
        "link": jp2[:12] + _box(b"ulst", b"\0\0\0\0" + places.url.encode()) + jp2[12:],
        "codestream": jp2[size - 2 :][:200],
    }
    return (
        {f"png-{name}": _picture(content, "image.png", "image/png") for name, content in pngs.items()}
        | {f"jpeg-{name}": _picture(content, "image.jpg", "image/jpeg") for name, content in jpegs.items()}
        | {f"jp2-{name}": _picture(content, "image.jp2", "image/jp2") for name, content in jp2s.items()}
        | {
            "png-as-tif": Case(pngs["bomb"], "", members=_PLACE),
            "jpeg-as-tif": Case(jpegs["no-scan"], "", members=_PLACE),
        }
    )


def _picture(content: bytes, name: str, media_type: str) -> Case:
    return Case(content, "", name, media_type, members=_PLACE)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(
    width: int, height: int, pixels: bytes, *, depth: int = 8, colour: int = 0, interlace: int = 0, extra: bytes = b""
) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + head + extra + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _rows(side: int) -> bytes:
    return zlib.compress(bytes((side + 1) * side))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _put(content: bytes, at: int, what: bytes) -> bytes:
    return content[:at] + what + content[at + len(what) :]
