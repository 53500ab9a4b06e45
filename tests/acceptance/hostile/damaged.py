"""Real rasters cut off, and altered at random: the same way in every run."""

from __future__ import annotations

import random

from acceptance.hostile.cases import Case, Places

_PLACE = {"proj:code": "EPSG:32618", "proj:transform": [30.0, 0.0, 0.0, 0.0, -30.0, 0.0]}
_REAL = {
    "striped": ("striped/RGB.byte.tif", "image.tif", "image/tiff"),
    "jpeg": ("worldfile/bahamas_l7.jpg", "image.jpg", "image/jpeg"),
    "jp2": ("jpeg2000/s2_tci_crop.jp2", "image.jp2", "image/jp2"),
    "png": ("worldfile/landsat_antarctic_16bit.png", "image.png", "image/png"),
    "cog": ("sentinel2/B01.tif", "image.tif", "image/tiff"),
}
_FUZZED = 6


def cases(places: Places) -> dict[str, Case]:
    """By name."""
    found: dict[str, Case] = {}
    for kind, (where, name, media_type) in _REAL.items():
        whole = (places.data / "raster" / where).read_bytes()
        for percent in (10, 50, 90):
            cut = whole[: len(whole) * percent // 100]
            found[f"cut-{kind}-{percent}"] = Case(cut, "CogTransformationError", name, media_type, members=_PLACE)
        for number in range(_FUZZED):
            found[f"fuzzed-{kind}-{number}"] = Case(
                _altered(whole, f"{kind}{number}"), "", name, media_type, members=_PLACE
            )
    return found


def _altered(whole: bytes, seed: str) -> bytes:
    """Some bytes of the head or anywhere replaced; favours lengths and offsets that are extreme."""
    chance = random.Random(seed)
    content = bytearray(whole)
    for _ in range(chance.randint(1, 40)):
        at = chance.randrange(min(len(content), 1000) if chance.random() < 0.7 else len(content))
        new = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80", bytes([chance.randrange(256)]), b"\x7f\xff"])
        content[at : at + len(new)] = new
    if chance.random() < 0.2:
        start = chance.randrange(len(content))
        del content[start : start + chance.randrange(1000)]
    # The signature stays: what has none is refused by its looks, and nothing is tried.
    return whole[:12] + bytes(content[12:])
