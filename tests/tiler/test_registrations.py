"""Registered searches by themselves: one id for one search, however it is written; kept, counted, found again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from graticule.database import Database
from graticule.errors import GraticuleError, NotFound
from graticule.tiler.registrations import Registrations, read_registration
from graticule.tiler.static_images import StaticImages, forget_images

OpenDatabase = Callable[[str], AbstractContextManager[Database]]

FILTER = {"op": "=", "args": [{"property": "collection"}, "naip"]}
SEARCH = {
    "collections": ["b", "a"],
    "bbox": [1, 2, 3, 4],
    "filter": FILTER,
    "filter-lang": "cql2-json",
    "sortby": [{"field": "datetime", "direction": "desc"}],
    "datetime": "2024-01-01T00:00:00Z/..",
}


@pytest.mark.parametrize(
    "other",
    [
        {**SEARCH, "collections": ["a", "b", "a"]},
        {**SEARCH, "bbox": [1.0, 2.0, 3.0, 4.0]},
        {**SEARCH, "ids": [], "query": None, "metadata": {"type": "mosaic"}, "limit": 20},
        {**{k: v for k, v in SEARCH.items() if k != "filter-lang"}, "filter_lang": "cql2-json"},
        {**{k: v for k, v in SEARCH.items() if k != "datetime"}, "datetime_property": SEARCH["datetime"]},
        {k: v for k, v in SEARCH.items() if k != "filter-lang"},
        dict(reversed(SEARCH.items())),
    ],
)
def test_one_search_has_one_id_however_it_is_written(other: dict[str, Any]) -> None:
    assert read_registration(other).id == read_registration(SEARCH).id
    assert read_registration(other).document == read_registration(SEARCH).document


@pytest.mark.parametrize(
    "other",
    [
        {**SEARCH, "collections": ["a"]},
        {**SEARCH, "bbox": [1, 2, 3, 5]},
        {**SEARCH, "sortby": [{"field": "datetime", "direction": "asc"}]},
        {**SEARCH, "metadata": {"type": "mosaic", "name": "another"}},
        {},
    ],
)
def test_another_search_has_another_id(other: dict[str, Any]) -> None:
    made = read_registration(other)
    assert made.id != read_registration(SEARCH).id
    assert len(made.id) == 32
    assert set(made.id) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("bbox", [1, 2, 3]),
        ("filter", {"op": "nonsense", "args": []}),
        ("datetime", "yesterday"),
        ("sortby", [{"field": "geometry"}]),
        ("metadata", "mosaic"),
        ("metadata", {"type": "picture"}),
        ("metadata", {"minzoom": 99}),
        ("metadata", {"bounds": "1,2"}),
        ("intersects", {"type": "Point"}),
        ("collections", 5),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(member: str, value: Any) -> None:
    with pytest.raises(GraticuleError) as refused:
        read_registration({member: value})
    assert (refused.value.target or "").split(".")[0] == member


@pytest.mark.parametrize("kind", ["disk", "postgres"])
def test_a_search_outlives_the_process_and_uses_are_counted(kind: str, open_database: OpenDatabase) -> None:
    with open_database(kind) as database:
        check_that_it_is_kept(database)


def check_that_it_is_kept(database: Database) -> None:
    async def first() -> str:
        clock = iter(range(1_000_000, 9_000_000, 1_000_000)).__next__
        registrations = Registrations(database, clock=clock)
        made = await registrations.register(SEARCH)
        assert (await registrations.register(SEARCH)).id == made.id
        assert (await registrations.usage(made.id)).count == 0
        for _ in range(3):
            registrations.count(made.id)
        await registrations.close()
        return made.id

    async def second(search_id: str) -> None:
        registrations = Registrations(database)
        found = await registrations.get(search_id)
        assert found == read_registration(SEARCH)
        usage = await registrations.usage(search_id)
        assert (usage.count, usage.last_us) == (3, 5_000_000)
        for unknown in ("0" * 32, "register", "x" * 300):
            with pytest.raises(NotFound):
                await registrations.get(unknown)

    asyncio.run(second(asyncio.run(first())))


@pytest.mark.parametrize("kind", ["disk", "postgres"])
def test_static_images_are_kept_until_their_collection_goes(kind: str, open_database: OpenDatabase) -> None:
    body = {"cql": {}, "render_params": "assets=image&rescale=0,5", "cols": 20.0, "rows": 10, "zoom": 4}

    async def ask(database: Database) -> None:
        images = StaticImages(database)
        made = await images.add("a", body)
        assert made == await images.add("a", body) == await StaticImages(database).get("a", made.id)
        assert (made.columns, made.rows, made.pairs) == (20, 10, (("assets", "image"), ("rescale", "0,5")))
        with pytest.raises(NotFound):
            await images.get("b", made.id)
        await database.write(lambda tx: forget_images(tx, "a"))
        with pytest.raises(NotFound):
            await images.get("a", made.id)

    with open_database(kind) as database:
        asyncio.run(ask(database))
