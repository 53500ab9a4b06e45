"""Who renders next: neighbours stay with one process, and nobody waits for ever."""

from __future__ import annotations

import asyncio

from graticule.tiler.jobs import Job, Layer, Tile
from graticule.tiler.parameters import parse_parameters
from graticule.tiler.selection import select
from graticule.tiler.turns import Known, Turns, place_of


def _job(x: int, y: int, item: str = "i", *, is_mosaic: bool = False) -> Job:
    parameters = parse_parameters([("assets", "a")])
    tile = Tile("WebMercatorQuad", 12, x, y)
    return Job("image", (Layer("c", item, ()),), select(parameters, ("a",)), parameters, tile, is_mosaic)


def _known(*places: object) -> Known:
    known = Known()
    for place in places:
        known.add(place)
    return known


def test_neighbours_have_one_place_and_others_have_not() -> None:
    assert place_of(_job(8, 8)) == place_of(_job(9, 9)) != place_of(_job(10, 8))
    assert place_of(_job(8, 8, "i")) != place_of(_job(8, 8, "j"))
    assert place_of(_job(8, 8, "i", is_mosaic=True)) == place_of(_job(8, 8, "j", is_mosaic=True))


async def _waiting(turns: Turns, *places: object) -> tuple[list[object], list[asyncio.Task[None]]]:
    """Tasks that wait in this order, and the list of those whose turn came."""
    came: list[object] = []

    async def wait(place: object) -> None:
        await turns.take(place)
        came.append(place)

    tasks = [asyncio.create_task(wait(place)) for place in places]
    await asyncio.sleep(0)
    return came, tasks


async def test_a_process_goes_on_where_it_was_and_leaves_to_the_others_what_is_beside_theirs() -> None:
    turns = Turns(2)
    await turns.take("a")
    await turns.take("b")
    came, _ = await _waiting(turns, "b", "c", "a", "b")
    assert len(turns) == 4
    for expected in (["c"], ["c", "a"], ["c", "a", "b"]):
        turns.give_back(_known("a", "c"), (_known("b"),))
        await asyncio.sleep(0)
        assert came == expected  # the last one, because there is nothing else
    turns.give_back(None, ())
    await asyncio.sleep(0)
    assert came == ["c", "a", "b", "b"]


async def test_what_is_oldest_is_passed_over_a_few_times_only() -> None:
    turns = Turns(1)
    await turns.take("a")
    came, _ = await _waiting(turns, "old", *["a"] * 40)
    for _ in range(17):
        turns.give_back(_known("a"), ())
        await asyncio.sleep(0)
    assert came.count("old") == 1
    assert len(turns) == 24


async def test_those_who_give_up_take_no_turn_with_them() -> None:
    turns = Turns(1)
    await turns.take(None)
    came, tasks = await _waiting(turns, "gone", "late", "stays")
    tasks[0].cancel()  # while it waits
    turns.give_back(_known(), ())  # to "late", who is cancelled before it knows
    tasks[1].cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert came == ["stays"]
    assert len(turns) == 0
    turns.give_back(_known(), ())
    await asyncio.wait_for(turns.take("next"), 1)
