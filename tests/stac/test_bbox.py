from __future__ import annotations

import math

import pytest

from graticule.errors import InvalidParameter
from graticule.stac.bbox import BBox, parse_bbox


@pytest.mark.parametrize(
    ("value", "box"),
    [
        ("-10,-20.5,30,4e1", BBox(-10, -20.5, 30, 40)),
        (" -10 , -20, +30,.5", BBox(-10, -20, 30, 0.5)),
        ([-10, -20, 30, 40], BBox(-10, -20, 30, 40)),
        ("-10,-20,0,30,40,100", BBox(-10, -20, 30, 40)),
        ([-10, -20, -5.5, 30, 40, -5.5], BBox(-10, -20, 30, 40)),
        ("-180,-90,180,90", BBox(-180, -90, 180, 90)),
        ("5,5,5,5", BBox(5, 5, 5, 5)),
    ],
)
def test_four_or_six_numbers_are_a_box(value: object, box: BBox) -> None:
    assert parse_bbox(value) == box
    assert not box.crosses_antimeridian


def test_west_beyond_east_crosses_the_antimeridian() -> None:
    assert parse_bbox("170,-10,-170,10").crosses_antimeridian


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1,2,3", "3 numbers"),
        ("1,2,3,4,5", "5 numbers"),
        ("", "'' is not a number"),
        ("a,b,c,d", "'a' is not a number"),
        ("nan,0,1,1", "'nan' is not a number"),
        ("1_0,0,11,1", "not a number"),
        ("1e999,0,1,1", "not a finite number"),
        ([math.nan, 0, 1, 1], "not a finite number"),
        ([0, 0, math.inf, 1], "not a finite number"),
        ([10**400, 0, 1, 1], "not a finite number"),
        ([True, 0, 1, 1], "True is not a number"),
        (["0", None, "1", "1"], "None is not a number"),
        ({"west": 1}, "neither"),
        ("-181,0,1,1", "west is -181"),
        ("0,0,180.1,1", "east is 180.1"),
        ("0,-91,1,1", "south is -91"),
        ("0,0,1,90.5", "north is 90.5"),
        ("0,10,1,5", "south 10 is greater than north 5"),
        ("0,0,9,1,1,2", "lowest height 9"),
    ],
)
def test_other_values_are_refused_with_the_reason(value: object, reason: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_bbox(value)
    assert reason in refused.value.message
    assert refused.value.message.startswith("bbox: ")
    assert refused.value.target == "bbox"
