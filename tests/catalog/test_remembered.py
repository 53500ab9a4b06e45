"""What searches remember from one another, and the estimates that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from graticule.catalog.blocks import Blocks
from graticule.catalog.planning import CollectionStatistics
from graticule.catalog.regions import Region
from graticule.catalog.sql.remembered import Remembered
from graticule.stac.bbox import BBox


class Counting:
    """A clock, and a counter of blocks that says whom it was asked about."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[list[int]] = []

    def count(self, colls: Sequence[int]) -> Mapping[int, Blocks]:
        self.asked.append(list(colls))
        return {coll: Blocks([(6, 16, 32, 10, 0, 100)]) for coll in colls}


def statistics(coll: int, n: int) -> CollectionStatistics:
    return CollectionStatistics(coll, n, 0, 100, 0, 1 << 6)


def test_blocks_are_counted_again_after_a_minute_or_when_items_have_become_more() -> None:
    counting = Counting()
    remembered = Remembered(lambda: counting.now)
    remembered.blocks([statistics(1, 1000), statistics(2, 1000)], counting.count)
    (_, factor), _ = remembered.blocks([statistics(1, 1010), statistics(2, 1000)], counting.count)
    assert factor == pytest.approx(1.01)
    assert counting.asked == [[1, 2]]
    remembered.blocks([statistics(1, 1100), statistics(2, 1000)], counting.count)
    assert counting.asked == [[1, 2], [1]]
    counting.now += 61
    remembered.blocks([statistics(2, 1000)], counting.count)
    assert counting.asked == [[1, 2], [1], [2]]


def test_a_collection_that_was_empty_is_counted_when_it_has_items() -> None:
    counting = Counting()
    remembered = Remembered(lambda: counting.now)
    remembered.blocks([statistics(1, 0)], counting.count)
    remembered.blocks([statistics(1, 5)], counting.count)
    assert counting.asked == [[1], [1]]


def test_any_number_of_collections_is_answered_and_few_are_kept() -> None:
    counting = Counting()
    remembered = Remembered(lambda: counting.now)
    many = [statistics(coll, 1) for coll in range(1000)]
    assert len(remembered.blocks(many, counting.count)) == 1000
    assert len(remembered.blocks(many[:10], counting.count)) == 10


@pytest.mark.parametrize(
    ("west", "east", "south", "north", "expected"),
    [
        (-180, 180, -90, 90, 1000),
        (-10, 20, -10, 20, 1000),  # the block is 0..5.6 degrees both ways, and wholly inside
        (2.8125, 20, -10, 20, 870),  # half of it, and what reaches in
        (170, -170, -10, 10, 0),
        (100, 120, -10, 10, 0),
    ],
)
def test_items_of_a_block_count_by_the_part_that_is_met(
    west: float, east: float, south: float, north: float, expected: float
) -> None:
    about = Blocks([(6, 16, 32, 1000, 0, 100)]).about(Region.of_bbox(BBox(west, south, east, north)))
    assert about(-10, 1000) == pytest.approx(expected, abs=10)
    assert about(50, 1000) == pytest.approx(expected / 2, abs=10)
    assert about(101, 1000) == 0


def test_a_block_round_the_antimeridian_is_met_from_both_sides() -> None:
    blocks = Blocks([(6, 16, 63, 1000, 0, 0)])  # 174.4..180 degrees
    assert blocks.about(Region.of_bbox(BBox(170, -10, -170, 20)))(0, 0) == pytest.approx(1000)
    assert blocks.about(Region.of_bbox(BBox(-180, -10, -100, 20)))(0, 0) == pytest.approx(375, abs=10)


def test_blocks_add_up_and_scale() -> None:
    world = Region.of_bbox(BBox(-180, -90, 180, 90))
    one, other = Blocks([(2, 1, 1, 10, 0, 9)]), Blocks([(9, 5, 5, 30, 0, 9), (9, 6, 5, 1, 0, 9)])
    assert (one + other.times(2)).about(world)(0, 9) == pytest.approx(72)
    assert Blocks(()).about(world)(0, 9) == 0
