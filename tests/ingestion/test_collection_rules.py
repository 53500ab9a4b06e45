"""The members of a collection that say how its items are ingested, checked when it is written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from graticule.errors import InvalidInputData
from graticule.ingestion.collection_rules import CollectionRules, check_rules
from graticule.ingestion.conversion import Compression, ConversionProfile


def test_a_collection_that_says_nothing_has_the_defaults() -> None:
    assert check_rules({}) == CollectionRules(ConversionProfile(), None)
    assert ConversionProfile() == ConversionProfile(Compression.DEFLATE, 85, None, 512, None)
    assert CollectionRules.of(b'{"id": "c"}') == CollectionRules()


def test_a_profile_is_read() -> None:
    said = {"compression": "ZSTD", "level": 15, "block_size": 256, "overview_resampling": "Cubic"}
    document = {"graticule:conversion": said, "graticule:fill_in": False}
    profile = ConversionProfile(Compression.ZSTD, level=15, block_size=256, overview_resampling="cubic")
    assert check_rules(document) == CollectionRules(profile, fills_in=False)
    assert CollectionRules.of(orjson.dumps(document)) == CollectionRules(profile, fills_in=False)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["deflate"], "must be an object"),
        ({"compresion": "deflate"}, "'compresion' is none of compression, quality"),
        ({"compression": "zip"}, "'compression' must be one of deflate, zstd"),
        ({"compression": 7}, "'compression' must be one of"),
        ({"quality": 80}, "'quality' is of jpeg and webp; deflate keeps every pixel"),
        ({"compression": "jpeg", "quality": 0}, "'quality' must be a whole number from 1 to 100"),
        ({"compression": "jpeg", "quality": True}, "'quality' must be a whole number"),
        ({"compression": "lzw", "level": 3}, "'level' is of deflate and zstd; lzw has none"),
        ({"level": 23}, "'level' must be a whole number from 1 to 9 for deflate"),
        ({"block_size": 500}, "'block_size' must be one of 128, 256"),
        ({"block_size": True}, "'block_size' must be one of"),
        ({"overview_resampling": "best"}, "'overview_resampling' must be one of nearest, average"),
        ({"overview_resampling": {}}, "'overview_resampling' must be one of"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_what_can(said: Any, words: str) -> None:
    with pytest.raises(InvalidInputData, match="graticule:conversion") as caught:
        check_rules({"graticule:conversion": said})
    assert words in caught.value.message
    assert CollectionRules.of(orjson.dumps({"graticule:conversion": said})) == CollectionRules()


def test_filling_in_is_true_or_false() -> None:
    with pytest.raises(InvalidInputData, match="graticule:fill_in"):
        check_rules({"graticule:fill_in": "no"})
