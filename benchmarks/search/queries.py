"""Queries of each class, and the answers that are right: rebuilt from the scenes, not taken from a server."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmarks.items import COLLECTIONS, SERIES, SPAN_MS, Scene, scene, stamp
from benchmarks.search.load import Request

DAY_MS: Final = 86_400_000

#: Which of the scenes, newest first, match.
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Query:
    """A request and what it asks for."""

    request: Request
    #: None: the item itself.
    limit: int | None
    #: Indexes of matching scenes in the right order; any of those may come first that are equal in it.
    find: Callable[[Archive], list[str]]


class Archive:
    """All scenes, newest first and then by id, last first."""

    def __init__(self, items: int) -> None:
        """Make the first scenes anew."""
        scenes = [scene(number) for number in range(items)]
        self.scenes = sorted(scenes, key=lambda one: (one.at_ms, one.id), reverse=True)
        self.ids = [one.id for one in self.scenes]
        self.times = np.array([one.at_ms for one in self.scenes])
        self.clouds = np.array([math.nan if one.cloud is None else one.cloud for one in self.scenes])
        self.platforms = np.array([one.platform for one in self.scenes])
        self.collections = np.array([COLLECTIONS.index(one.collection) for one in self.scenes])

    @cached_property
    def footprints(self) -> NDArray[Any]:
        """Polygons."""
        rings = [shapely.Polygon(one.ring) for one in self.scenes]
        return np.array(rings, dtype=object)

    def newest(self, mask: Mask, limit: int) -> list[str]:
        """The ids of the first that match."""
        return [self.ids[place] for place in np.flatnonzero(mask)[:limit]]

    def meeting(self, shape: shapely.Geometry) -> Mask:
        """Scenes that share a point with a shape."""
        shapely.prepare(shape)
        found: Mask = shapely.intersects(shape, self.footprints)
        return found


def polygon(random: Random, x: float, y: float, radius: float, corners: int) -> list[list[float]]:
    """A ragged ring around a place."""
    ring = []
    for corner in range(corners):
        angle, reach = 2 * math.pi * corner / corners, radius * random.uniform(0.6, 1.0)
        ring.append([round(x + reach * math.cos(angle), 5), round(y + reach * math.sin(angle), 5)])
    return [*ring, ring[0]]


def _rectangle(box: list[float]) -> shapely.Polygon:
    return shapely.box(box[0], box[1], box[2], box[3])


def around(x: float, y: float, wide: float, high: float) -> list[float]:
    """A box, kept on the globe."""
    west, south, east, north = x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
    return [round(max(west, -180), 4), round(max(south, -90), 4), round(min(east, 180), 4), round(min(north, 90), 4)]


class Queries:
    """Endless distinct queries of every class; the same for everyone."""

    def __init__(self, items: int, limit: int) -> None:
        """Ask about the first scenes, `limit` items a page where the class does not say."""
        self._items = items
        self._limit = limit

    def of(self, name: str, count: int, skip: int = 0) -> list[Query]:
        """Queries of a class: `count` behind the first `skip`."""
        make = getattr(self, name)
        found = []
        for number in range(skip, skip + count):
            random = Random(f"{name} {number}")  # noqa: S311 - data, not secrets
            found.append(make(random, scene(random.randrange(self._items))))
        return found

    def item(self, _random: Random, one: Scene) -> Query:
        """Read one item."""
        return Query(Request(f"/collections/{one.collection}/items/{one.id}"), None, lambda _: [one.id])

    def ids(self, random: Random, one: Scene) -> Query:
        """Five ids."""
        wanted = {one.id, *(scene(random.randrange(self._items)).id for _ in range(4))}
        body = {"collections": list(COLLECTIONS), "ids": sorted(wanted), "limit": 10}
        return Query(Request("/search", body), 10, lambda archive: [name for name in archive.ids if name in wanted])

    def bbox_small(self, _random: Random, one: Scene) -> Query:
        """Half a degree."""
        x, y = one.ring[0]
        return self._box(around(x, y, 0.5, 0.5))

    def bbox_large(self, _random: Random, one: Scene) -> Query:
        """60 by 40 degrees."""
        x, y = one.ring[0]
        return self._box(around(x, y, 60, 40))

    def bbox_datetime(self, random: Random, one: Scene) -> Query:
        """Four degrees, one to three months."""
        x, y = one.ring[0]
        return self._box(around(x, y, 4, 4), *self._interval(random, one))

    def get_search(self, random: Random, one: Scene) -> Query:
        """The same by GET."""
        posted = self.bbox_datetime(random, one)
        assert posted.request.body is not None
        body = {
            name: ",".join(map(str, value)) if isinstance(value, list) else value
            for name, value in posted.request.body.items()
        }
        return Query(Request(f"/search?{urlencode(body)}"), posted.limit, posted.find)

    def intersects(self, random: Random, one: Scene) -> Query:
        """A polygon of eight corners, some four degrees wide."""
        return self._polygon(polygon(random, *one.ring[0], 2.0, 8))

    def cql2_sort(self, random: Random, _one: Scene) -> Query:
        """CQL2 JSON: less cloud than, sorted by cloud."""
        most, name = round(random.uniform(1, 90), 3), random.choice(COLLECTIONS[:2])
        body = {
            "collections": [name],
            "filter-lang": "cql2-json",
            "filter": {"op": "<", "args": [{"property": "eo:cloud_cover"}, most]},
            "sortby": [{"field": "properties.eo:cloud_cover", "direction": "desc"}],
            "limit": self._limit,
        }

        def find(archive: Archive) -> list[str]:
            mask = (archive.collections == COLLECTIONS.index(name)) & (archive.clouds < most)
            places = sorted(np.flatnonzero(mask), key=lambda place: -archive.clouds[place])
            return [archive.ids[place] for place in places[: self._limit]]

        return Query(Request("/search", body), self._limit, find)

    def cql2_text(self, random: Random, _one: Scene) -> Query:
        """CQL2 text: less cloud than, of one platform, newest first."""
        most, index = round(random.uniform(1, 90), 3), random.randrange(2)
        name, _, _, platforms = SERIES[index]
        platform = random.choice(platforms)
        text = f"\"eo:cloud_cover\" < {most} AND platform = '{platform}'"
        query = urlencode({"collections": name, "filter-lang": "cql2-text", "filter": text, "limit": self._limit})

        def find(archive: Archive) -> list[str]:
            of_platform = (archive.collections == index) & (archive.platforms == platform)
            return archive.newest(of_platform & (archive.clouds < most), self._limit)

        return Query(Request(f"/search?{query}"), self._limit, find)

    def page10(self, random: Random, _one: Scene) -> Query:
        """A page of a collection, up to some time."""
        return self._page(random, 10)

    def page100(self, random: Random, _one: Scene) -> Query:
        """The same, 100 items."""
        return self._page(random, 100)

    def page250(self, random: Random, _one: Scene) -> Query:
        """The same, 250 items."""
        return self._page(random, 250)

    # --- classes of the large run only

    def bbox_4(self, _random: Random, one: Scene) -> Query:
        """Four degrees."""
        x, y = one.ring[0]
        return self._box(around(x, y, 4, 4))

    def bbox_small_datetime(self, random: Random, one: Scene) -> Query:
        """Half a degree, one to three months."""
        x, y = one.ring[0]
        return self._box(around(x, y, 0.5, 0.5), *self._interval(random, one))

    def bbox_large_day(self, random: Random, one: Scene) -> Query:
        """60 by 40 degrees, one day."""
        x, y = one.ring[0]
        return self._box(around(x, y, 60, 40), one.at_ms - random.randrange(DAY_MS), one.at_ms + DAY_MS)

    def half_world(self, random: Random, one: Scene) -> Query:
        """A hemisphere."""
        west = round(random.uniform(-180, 0), 3)
        return self._box([west, -90, west + 180, 90], one.at_ms - 365 * DAY_MS, one.at_ms)

    def datetime_only(self, random: Random, one: Scene) -> Query:
        """A month of everything."""
        low, high = one.at_ms - random.randrange(30 * DAY_MS), one.at_ms
        body = {"collections": list(COLLECTIONS), "datetime": f"{stamp(low)}/{stamp(high)}", "limit": self._limit}
        return Query(
            Request("/search", body), self._limit, lambda a: a.newest((a.times >= low) & (a.times <= high), self._limit)
        )

    def sea(self, random: Random, _one: Scene) -> Query:
        """Where nothing is."""
        return self._box(around(random.uniform(-160, -150), random.uniform(-55, -30), random.uniform(0.2, 8), 5))

    def antimeridian(self, random: Random, _one: Scene) -> Query:
        """A box across 180 degrees."""
        south = round(random.uniform(-50, 60), 3)
        box = [round(random.uniform(168, 179), 3), south, round(random.uniform(-179, -150), 3), south + 12]
        return self._box(box)

    def polygon_200(self, random: Random, one: Scene) -> Query:
        """A polygon of 200 corners."""
        return self._polygon(polygon(random, *one.ring[0], random.uniform(1, 5), 200))

    def polygon_2000(self, random: Random, one: Scene) -> Query:
        """A polygon of 2,000 corners, as large as a country."""
        return self._polygon(polygon(random, *one.ring[0], random.uniform(4, 9), 2000))

    def diagonal(self, _random: Random, one: Scene) -> Query:
        """A thin band, 30 degrees long."""
        x, y = one.ring[0]
        x, y = max(min(x, 160.0), -175.0), max(min(y, 60.0), -85.0)
        ring = [[x, y], [x + 0.3, y], [x + 20.3, y + 22], [x + 20, y + 22], [x, y]]
        return self._polygon([[round(a, 5), round(b, 5)] for a, b in ring])

    def cloud(self, random: Random, one: Scene) -> Query:
        """Four degrees and little cloud, newest first."""
        x, y = one.ring[0]
        box, most = around(x, y, 4, 4), round(random.uniform(3, 60), 3)
        base = self._box(box)
        assert base.request.body is not None
        body = {
            **base.request.body,
            "filter-lang": "cql2-json",
            "filter": {"op": "<", "args": [{"property": "eo:cloud_cover"}, most]},
        }

        def find(archive: Archive) -> list[str]:
            return archive.newest(archive.meeting(_rectangle(box)) & (archive.clouds < most), self._limit)

        return Query(Request("/search", body), self._limit, find)

    def jointly_empty(self, random: Random, one: Scene) -> Query:
        """60 by 40 degrees, a platform of one series in the collection of another: each common, together nothing."""
        x, y = one.ring[0]
        platform = random.choice(SERIES[1][3])
        body = {
            "collections": [COLLECTIONS[0]],
            "bbox": around(x, y, 60, 40),
            "filter-lang": "cql2-text",
            "filter": f"platform = '{platform}' AND \"eo:cloud_cover\" < {round(random.uniform(40, 90), 3)}",
            "limit": self._limit,
        }
        return Query(Request("/search", body), self._limit, lambda _: [])

    # --- inside

    def _interval(self, random: Random, one: Scene) -> tuple[int, int]:
        low = max(0, one.at_ms - random.randrange(60 * DAY_MS))
        return low, min(SPAN_MS, low + random.randrange(30, 90) * DAY_MS)

    def _box(self, box: list[float], low: int | None = None, high: int | None = None) -> Query:
        body: dict[str, Any] = {"collections": list(COLLECTIONS), "bbox": box, "limit": self._limit}
        if low is not None and high is not None:
            body["datetime"] = f"{stamp(low)}/{stamp(high)}"

        def find(archive: Archive) -> list[str]:
            if box[0] <= box[2]:
                mask = archive.meeting(_rectangle(box))
            else:
                mask = archive.meeting(shapely.box(box[0], box[1], 180, box[3]))
                mask |= archive.meeting(shapely.box(-180, box[1], box[2], box[3]))
                mask |= archive.meeting(shapely.box(180, box[1], box[2] + 360, box[3]))
            if low is not None and high is not None:
                mask &= (archive.times >= low) & (archive.times <= high)
            return archive.newest(mask, self._limit)

        return Query(Request("/search", body), self._limit, find)

    def _polygon(self, ring: list[list[float]]) -> Query:
        shape = {"type": "Polygon", "coordinates": [ring]}
        body = {"collections": list(COLLECTIONS), "intersects": shape, "limit": self._limit}
        return Query(
            Request("/search", body), self._limit, lambda a: a.newest(a.meeting(shapely.Polygon(ring)), self._limit)
        )

    def _page(self, random: Random, limit: int) -> Query:
        index, until = random.randrange(len(COLLECTIONS)), random.randrange(SPAN_MS // 4, SPAN_MS)
        query = urlencode({"limit": limit, "datetime": f"../{stamp(until)}"})

        def find(archive: Archive) -> list[str]:
            return archive.newest((archive.collections == index) & (archive.times <= until), limit)

        return Query(Request(f"/collections/{COLLECTIONS[index]}/items?{query}"), limit, find)


#: The classes compared with the peer, beside deep paging.
COMPARED: Final = (
    "item", "ids", "bbox_small", "bbox_large", "bbox_datetime", "intersects", "get_search", "cql2_sort", "cql2_text",
    "page10", "page100", "page250",
)  # fmt: skip
#: Ordinary classes of the large run, and the weak one.
ORDINARY: Final = (
    "item", "ids", "bbox_small", "bbox_small_datetime", "bbox_4", "bbox_datetime", "bbox_large", "bbox_large_day",
    "half_world", "datetime_only", "sea", "antimeridian", "intersects", "polygon_200", "polygon_2000", "diagonal",
    "cql2_sort", "cql2_text", "cloud",
)  # fmt: skip
WEAK: Final = ("jointly_empty",)
