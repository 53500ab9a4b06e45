"""The loose grid never loses an item: whatever touches a box is in a cell that the box lists."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from graticule.catalog.cells import DEGREE, MAX_LEVEL, NOWHERE, TURN, Box, box_of, cell_of, cover, level_of, widened
from graticule.stac.geometry import Bounds

EVERY_LEVEL = (1 << (MAX_LEVEL + 1)) - 1


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    west = draw(st.integers(-180 * DEGREE, 180 * DEGREE - 1) | st.sampled_from([-180 * DEGREE, 0, 180 * DEGREE - 1]))
    size = st.integers(0, TURN) | st.integers(0, DEGREE) | st.sampled_from([0, 1, TURN >> 9, (TURN >> 9) + 1, TURN])
    south = draw(st.integers(-90 * DEGREE, 90 * DEGREE) | st.sampled_from([-90 * DEGREE, 90 * DEGREE]))
    return Box(west, south, west + draw(size), min(south + draw(size), 90 * DEGREE))


def overlap(a: Box, b: Box) -> bool:
    turns = (-TURN, 0, TURN)
    return a.y0 <= b.y1 and a.y1 >= b.y0 and any(a.x0 <= b.x1 + by and a.x1 >= b.x0 + by for by in turns)


@settings(max_examples=600, deadline=None)
@given(boxes(), boxes(), st.sampled_from([1, 100_000]))
def test_a_box_lists_the_cell_of_everything_that_touches_it(item: Box, query: Box, most: int) -> None:
    cell = cell_of(item)
    column = cell & 0xFFFFF
    listed = any(r.low <= cell <= r.high and r.first <= column <= r.last for r in cover(query, EVERY_LEVEL, most=most))
    assert listed or not overlap(item, query)


@settings(max_examples=250, deadline=None)
@given(boxes())
def test_an_item_stays_within_its_widened_cell(item: Box) -> None:
    west, south, east, north = widened(cell_of(item))
    slack = 1e-6
    assert any(
        west - slack <= item.x0 / DEGREE + turn and item.x1 / DEGREE + turn <= east + slack for turn in (-360, 0, 360)
    )
    assert south - slack <= item.y0 / DEGREE
    assert item.y1 / DEGREE <= north + slack


def test_small_items_lie_in_fine_cells_and_large_ones_in_coarse_cells() -> None:
    def level(size: float) -> int:
        return level_of(cell_of(box_of([Bounds(0, 0, size, size / 2)])))

    assert [level(size) for size in (0, 0.01, 0.7, 1, 100, 360)] == [12, 12, 9, 8, 1, 0]
    assert cell_of(Box(-180 * DEGREE, -90 * DEGREE, 180 * DEGREE, 90 * DEGREE)) > NOWHERE


def test_bounds_are_rounded_outward() -> None:
    box = box_of([Bounds(0.00000001, -0.00000001, 0.10000001, 0.1)])
    assert box == (0, -1, 1_000_001, 1_000_000)


def test_parts_on_both_sides_of_the_antimeridian_are_one_narrow_box() -> None:
    degrees = [tuple(side // DEGREE for side in box_of(parts)) for parts in (
        [Bounds(178, -5, 180, 5), Bounds(-180, -5, -177, 5)],
        [Bounds(-170, 0, -170, 0), Bounds(170, 0, 170, 0), Bounds(175, 0, 176, 0)],
        [Bounds(170, 0, 190, 1), Bounds(-180, 0, -160, 1)],
        [Bounds(-10, 0, 10, 1), Bounds(20, 0, 30, 1)],
        [Bounds(-180, 0, 180, 1), Bounds(20, 0, 30, 1)],
        [Bounds(190, 0, 200, 1)],
        [Bounds(-190, 0, -170, 1)],
    )]  # fmt: skip
    assert degrees == [
        (178, -5, 183, 5),
        (170, 0, 190, 0),
        (170, 0, 200, 1),
        (-10, 0, 30, 1),
        (-180, 0, 180, 1),
        (-170, 0, -160, 1),
        (170, 0, 190, 1),
    ]


@settings(max_examples=250, deadline=None)
@given(st.lists(boxes(), min_size=1, max_size=6))
def test_the_box_of_many_parts_holds_each_of_them(parts: list[Box]) -> None:
    bounds = [Bounds(p.x0 / DEGREE, p.y0 / DEGREE, p.x1 / DEGREE, p.y1 / DEGREE) for p in parts]
    whole = box_of(bounds)
    assert -TURN // 2 <= whole.x0 < TURN // 2
    assert whole.x1 - whole.x0 <= TURN
    for part in parts:
        assert whole.y0 <= part.y0
        assert part.y1 <= whole.y1
        within = any(whole.x0 <= part.x0 + by and part.x1 + by <= whole.x1 for by in (-TURN, 0, TURN))
        assert within or whole.x1 - whole.x0 >= TURN - 1
