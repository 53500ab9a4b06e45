"""When a scene was taken, by what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from graticule.errors import NotForged
from graticule.forge import TimeRules

NOTHING: Mapping[str, str] = {}


def told(name: str, metadata: Mapping[str, str] = NOTHING, tags: Mapping[str, str] = NOTHING, **options: Any) -> Any:
    chosen = {"fixed": None, "fallback": None, "pattern": None, **options}
    when = TimeRules.from_options(**chosen).when(f"{name}.tif", [name], metadata, tags)
    properties = when.properties()
    if properties["datetime"] is None:
        return f"{properties['start_datetime']}/{properties['end_datetime']}"
    return properties["datetime"]


YEAR = "2021-01-01T00:00:00Z/2021-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m_3008501_ne_16_1_20110815", "2011-08-15T00:00:00Z"),
        ("LC08_L2SP_005009_20150710_20200908_02_T2", "2015-07-10T00:00:00Z"),
        ("T32TLR_20200131T103421_B02", "2020-01-31T10:34:21Z"),
        ("scene-2020-01-31", "2020-01-31T00:00:00Z"),
        ("MOD11A1.A2020060.h18v04", "2020-02-29T00:00:00Z"),
        ("ndvi_202002", "2020-02-01T00:00:00Z/2020-02-29T23:59:59Z"),
        ("ESA_WorldCover_10m_2021_v200_N00E006", YEAR),
        ("2021_30m_cdls_-106095_1807575_15000", YEAR),
    ],
)
def test_the_first_date_of_a_name_counts(name: str, expected: str) -> None:
    assert told(name) == expected


@pytest.mark.parametrize("name", ["dem", "tile_20219999", "x_12345678", "a1987b", "plan_2999", "b20230230"])
def test_digits_that_are_no_date_are_none_and_the_remedy_is_told(name: str) -> None:
    with pytest.raises(NotForged) as refused:
        told(name)
    assert "--datetime" in refused.value.message


def test_what_knows_better_goes_first() -> None:
    name, tags = "x_20200908", {"TIFFTAG_DATETIME": "2021:02:03 04:05:06"}
    mtl = {"DATE_ACQUIRED": "2015-07-10", "SCENE_CENTER_TIME": "14:34:35.9783990Z"}
    assert told("x", tags=tags) == "2021-02-03T04:05:06Z"
    assert told("x", tags=tags, fallback="2001") == "2021-02-03T04:05:06Z"
    assert told(name, tags=tags) == "2020-09-08T00:00:00Z"
    assert told(name, tags={"ACQUISITIONDATETIME": "2019-01-02 03:04:05", **tags}) == "2019-01-02T03:04:05Z"
    assert told(name, mtl, tags) == "2015-07-10T14:34:35.978399Z"
    assert told(name, {"DATATAKE_SENSING_START": "2018-01-01T01:02:03.024Z"}) == "2018-01-01T01:02:03.024Z"
    assert told("x_20200908_r31012001", mtl, pattern="_r%d%m%Y") == "2001-01-31T00:00:00Z"
    assert told(name, mtl, pattern="_%Y%m%d", fixed="2001-02-03T04:05:06+02:00") == "2001-02-03T02:05:06Z"
    assert told("x", fallback="2001-02-03/2001-02-05") == "2001-02-03T00:00:00Z/2001-02-05T00:00:00Z"


def test_broken_times_of_files_are_passed_over() -> None:
    assert told("x_2021", {"DATE_ACQUIRED": "soon"}, {"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}) == YEAR


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fixed": "yesterday"}, "--datetime 'yesterday' is no time: write 2021"),
        ({"fallback": "2021-13"}, "--fallback-datetime"),
        ({"fixed": "2022/2021"}, "ends before it starts"),
        ({"pattern": "%m%d"}, "has no %Y"),
        ({"pattern": "(%Y"}, "is no pattern"),
        ({"pattern": "z%Y"}, "does not fit --datetime-pattern"),
        ({"pattern": "x_%m%d%Y"}, "is no date"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(NotForged) as refused:
        told("x_31312020", **options)
    assert words in refused.value.message
