"""Documents in SQLite, packed: a third to a quarter of their size, so that as many more fit into memory.

PostgreSQL packs long values by itself; SQLite does not. What is packed begins with a byte that no JSON text begins
with, so that documents from before, and short ones, lie beside them as they are.
"""

from __future__ import annotations

from typing import Final

import lz4.block

#: The first byte of a packed document; behind it a block of LZ4 with its size in front.
_PACKED: Final = b"\x01"
#: Shorter ones are not worth it, bytes.
_SHORT: Final = 500


def packed(document: bytes) -> bytes:
    """As it is stored; what is packed already stays so."""
    if len(document) < _SHORT or document[:1] == _PACKED:
        return document
    block: bytes = lz4.block.compress(document)
    return _PACKED + block


def plain(stored: bytes) -> bytes:
    """As it was; also the function of this name in SQL."""
    return lz4.block.decompress(memoryview(stored)[1:]) if stored[:1] == _PACKED else stored
