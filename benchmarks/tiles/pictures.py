"""Are two servers' pictures of the same tiles the same?"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.search.load import Connection, Root, body_of

#: Tiles of a case that are looked at.
_LOOKED_AT = 6
_MASK_MAY_DIFFER = 0.01
#: Of 255, on average, where the format loses something.
_MAY_BE_OFF = 8.0


def compare(roots: Sequence[Root], requests: Sequence[list[bytes]], may_differ: float) -> str:
    """One phrase on how alike they are.

    Args:
        roots: the servers.
        requests: of each, the same tiles.
        may_differ: share of pixels, where the format keeps them; each server may be a fraction of
            a pixel of the file off.

    Raises:
        SystemExit: an answer is no picture, or pictures differ by more than resampling and encoding explain.
    """
    connections = [Connection(root) for root in roots]
    differing, masks, off, is_lossless = [], [], [], True
    for asked in list(zip(*requests, strict=True))[:_LOOKED_AT]:
        answers = [connection.send(request) for connection, request in zip(connections, asked, strict=True)]
        for answer in answers:
            if answer[9:12] != b"200":
                raise SystemExit(f"no picture: {asked[0].split(b' ')[1].decode()}: {answer[:600].decode('latin-1')}")
        is_lossless = body_of(answers[0]).startswith(b"\x89PNG")
        first, other = (_colours(body_of(answer)) for answer in (answers[0], answers[-1]))
        shown = (first[..., 3] > 0) & (other[..., 3] > 0)
        masks.append(float(((first[..., 3] > 0) != (other[..., 3] > 0)).mean()))
        difference = np.abs(first[..., :3].astype(int) - other[..., :3])[shown]
        if difference.size:
            differing.append(float((difference.max(axis=1) > 0).mean()))
            off.append(float(difference.mean()))
    mask, pixels, mean = (float(np.mean(values or [0])) for values in (masks, differing, off))
    if mask > _MASK_MAY_DIFFER or (is_lossless and pixels > may_differ) or mean > _MAY_BE_OFF:
        where = requests[0][0].split(b" ")[1].decode()
        raise SystemExit(f"{where}: {pixels:.1%} of pixels differ, {mask:.2%} of the mask, {mean:.1f} on average")
    return f"{pixels:.1%} of pixels differ" if is_lossless else f"{mean:.1f} of 255 off"


def _colours(picture: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGBA"))
