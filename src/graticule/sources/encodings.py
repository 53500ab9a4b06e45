"""Owns: bodies that a source compressed although plain bytes were asked for: made plain again, within bounds.

Object stores keep ``Content-Encoding`` as a property of a file and send it whatever the request accepts. The file that
is meant is the decoded one (RFC 9110 section 8.4).
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Final

#: What is decoded, with zlib's word for its header.
_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_READ: Final = 1 << 18
_WRITE: Final = 1 << 20
#: Files that are compressed ones by name: servers label them so, and mean the file as it is.
_COMPRESSED_NAMES: Final = (".gz", ".tgz", ".z")


class Undecodable(Exception):
    """The body is not what its Content-Encoding says; the message says how."""


class DecodesTooLarge(Exception):
    """The decoded body is larger than it may be."""


def is_meant_as_it_is(path: str) -> bool:
    """Is the compressed file itself what lies at this path of a URL?"""
    return path.lower().endswith(_COMPRESSED_NAMES)


def decode(path: Path, encoding: str, max_bytes: int) -> tuple[int, str]:
    """Replace a file by what it holds; its new size, bytes, and SHA-256, hex. Takes memory for one block only.

    Raises:
        Undecodable: the encoding is none of gzip and deflate, or the bytes do not fit it.
        DecodesTooLarge: it holds more than ``max_bytes``.
        OSError: the disk.
    """
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        raise Undecodable("which is not understood")
    plain = path.with_name(f"{path.name}.plain")
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as source, plain.open("wb") as file:
            decoder = zlib.decompressobj(bits)
            while True:
                rest = (decoder.unused_data if decoder.eof else decoder.unconsumed_tail) or source.read(_READ)
                if decoder.eof:
                    if not rest:
                        break
                    decoder = zlib.decompressobj(bits)  # gzip may have several members (RFC 1952 section 2.2)
                block = decoder.decompress(rest, _WRITE)
                if not rest and not block and not decoder.eof:
                    raise Undecodable("and ends before it is whole")
                size += len(block)
                if size > max_bytes:
                    raise DecodesTooLarge
                digest.update(block)
                file.write(block)
        plain.replace(path)
    except zlib.error:
        raise Undecodable("and is damaged, or is not that") from None
    finally:
        plain.unlink(missing_ok=True)
    return size, digest.hexdigest()
