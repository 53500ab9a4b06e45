"""What a collection's document says of the ingestion of its items: its conversion profile, and whether to fill in.

Two members, of this catalog's own: ``graticule:conversion``, an object, and ``graticule:fill_in``, true or false. They
are checked when the collection is written; items that come later follow them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from graticule.errors import InvalidInputData
from graticule.ingestion.conversion import Compression, ConversionProfile

CONVERSION: Final = "graticule:conversion"
FILL_IN: Final = "graticule:fill_in"

#: GDAL's COG driver takes these (its options OVERVIEW_RESAMPLING and BLOCKSIZE).
RESAMPLINGS: Final = ("nearest", "average", "bilinear", "cubic", "cubicspline", "lanczos", "mode", "rms")
BLOCK_SIZES: Final = (128, 256, 512, 1024, 2048)
_LEVELS: Final = {Compression.DEFLATE: 9, Compression.ZSTD: 22}
_MEMBERS: Final = ("compression", "quality", "level", "block_size", "overview_resampling")


@dataclass(frozen=True)
class CollectionRules:
    """Of one collection."""

    profile: ConversionProfile = field(default_factory=ConversionProfile)
    fills_in: bool | None = None  #: None: as the setting says

    @classmethod
    def of(cls, document: bytes) -> CollectionRules:
        """What a stored collection says; one that was stored before its members were checked says nothing wrong."""
        if b'"graticule:' not in document:
            return cls()
        try:
            return check_rules(orjson.loads(document))
        except InvalidInputData:
            return cls()


def check_rules(collection: Mapping[str, Any]) -> CollectionRules:
    """Read the members of a Collection.

    Raises:
        InvalidInputData: one of them cannot be followed; the message names it and what is possible.
    """
    fills_in = collection.get(FILL_IN)
    if fills_in is not None and not isinstance(fills_in, bool):
        raise InvalidInputData(f"The Collection's '{FILL_IN}' must be true or false.", target=FILL_IN)
    return CollectionRules(_profile(collection.get(CONVERSION)), fills_in)


def _profile(said: Any) -> ConversionProfile:
    if said is None:
        return ConversionProfile()
    if not isinstance(said, dict):
        raise InvalidInputData(f"The Collection's '{CONVERSION}' must be an object.", target=CONVERSION)
    for name in said:
        if name not in _MEMBERS:
            raise _wrong(str(name)[:80], f"is none of {', '.join(_MEMBERS)}")
    default = ConversionProfile()
    compression = _choice(said, "compression", tuple(Compression), default.compression)
    return ConversionProfile(
        compression=Compression(compression),
        quality=_quality(said, Compression(compression)),
        level=_level(said, Compression(compression)),
        block_size=_choice(said, "block_size", BLOCK_SIZES, default.block_size),
        overview_resampling=_choice(said, "overview_resampling", RESAMPLINGS, None),
    )


def _choice(said: Mapping[str, Any], name: str, possible: tuple[Any, ...], default: Any) -> Any:
    value = said.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        value = value.lower()
    if isinstance(value, bool) or value not in possible:
        raise _wrong(name, f"must be one of {', '.join(str(each) for each in possible)}")
    return value


def _quality(said: Mapping[str, Any], compression: Compression) -> int:
    value = said.get("quality")
    if value is None:
        return ConversionProfile().quality
    if not compression.is_lossy:
        raise _wrong("quality", f"is of jpeg and webp; {compression} keeps every pixel as it is")
    if not _is_whole(value) or not 1 <= value <= 100:
        raise _wrong("quality", "must be a whole number from 1 to 100")
    return int(value)


def _level(said: Mapping[str, Any], compression: Compression) -> int | None:
    value = said.get("level")
    if value is None:
        return None
    most = _LEVELS.get(compression)
    if most is None:
        raise _wrong("level", f"is of {' and '.join(_LEVELS)}; {compression} has none")
    if not _is_whole(value) or not 1 <= value <= most:
        raise _wrong("level", f"must be a whole number from 1 to {most} for {compression}")
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(name: str, why: str) -> InvalidInputData:
    return InvalidInputData(f"The Collection's {CONVERSION}: '{name}' {why}.", target=f"{CONVERSION}.{name}")
