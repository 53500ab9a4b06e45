"""Two servers by turns: ours and the peer, ABBA, class by class."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.items import COLLECTIONS
from benchmarks.search.checking import following
from benchmarks.search.load import Connection, Request, Root, Round, run
from benchmarks.search.queries import Queries

#: Requests of a walk; the deeper half is what "deep" measures.
WALK_PAGES = 1000
WALK_LIMIT = 10


@dataclass(frozen=True)
class Pair:
    """What was measured of one class at one concurrency: rounds of the peer and of ours, by turns."""

    name: str
    concurrency: int
    peer: list[Round]
    ours: list[Round]

    def rate_ratios(self) -> list[float]:
        """Requests per second, ours to the peer's, round by round; sorted."""
        return sorted(b.rate / a.rate for a, b in zip(self.peer, self.ours, strict=True))

    def median_ratios(self) -> list[float]:
        """Median times, the peer's to ours, round by round; sorted."""
        return sorted(a.percentile(0.5) / b.percentile(0.5) for a, b in zip(self.peer, self.ours, strict=True))


class Comparison:
    """Measures pairs of rounds in which both servers get the same queries, none of them twice."""

    def __init__(self, peer: Root, ours: Root, queries: Queries, *, rounds: int, seconds: float, most: int) -> None:
        """Each round lasts `seconds`, or until `most` queries are answered."""
        self._roots = (peer, ours)
        self._queries = queries
        self._rounds = rounds
        self._seconds = seconds
        self._most = most
        self._skip = 0
        self._walks: list[list[bytes]] = []

    def measure(self, name: str, concurrency: int) -> Pair:
        """One class at one concurrency."""
        requests = self._deep if name == "deep" else self._distinct
        # As servers are that have run for a while: what a connection asks or touches first takes longer.
        for root, warm in zip(self._roots, requests(name, self._most), strict=True):
            run(root, warm, concurrency, self._seconds)
        measured: tuple[list[Round], list[Round]] = ([], [])
        for number in range(self._rounds):
            both = requests(name, self._most)
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                done = run(self._roots[which], both[which], concurrency, self._seconds)
                if done.failed:
                    raise SystemExit(f"{self._roots[which].url}: {done.failed} requests of {name} failed")
                measured[which].append(done)
        return Pair(name, concurrency, *measured)

    def _distinct(self, name: str, count: int) -> list[list[bytes]]:
        queries = self._queries.of(name, count, self._skip)
        self._skip += count
        return [[root.encode(query.request) for query in queries] for root in self._roots]

    def _deep(self, _name: str, count: int) -> list[list[bytes]]:
        if not self._walks:
            self._walks = [[root.encode(one) for one in walk(root, WALK_PAGES, WALK_LIMIT)] for root in self._roots]
        pages = min(map(len, self._walks))
        places = list(range(pages // 2, pages))
        Random(self._skip).shuffle(places)  # noqa: S311 - the order of queries
        self._skip += count
        return [[requests[place] for place in places[:count]] for requests in self._walks]


def walk(root: Root, pages: int, limit: int) -> list[Request]:
    """The requests of a walk through everything, by the next links."""
    connection = Connection(root)
    request: Request | None = Request("/search", {"collections": list(COLLECTIONS), "limit": limit})
    made: list[Request] = []
    while request is not None and len(made) < pages:
        made.append(request)
        request = following(connection.json(request))
    connection.close()
    return made


def depth_ratio(root: Root, pages: int, rounds: int = 40) -> tuple[float, float, float]:
    """Median milliseconds of pages around the first and around the last of a walk, by turns, and their ratio."""
    requests = [root.encode(request) for request in walk(root, pages, WALK_LIMIT)]
    connection = Connection(root)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        near, far = requests[number % 20 : number % 20 + 1], requests[-1 - number % 20 :][:1]
        for which, part in ((0, near), (1, far)) if number % 2 == 0 else ((1, far), (0, near)):
            times[which].append(run(root, part, 1, 10).percentile(0.5))
    connection.close()
    first, last = (statistics.median(part) for part in times)
    return first, last, last / first


def compare(
    comparison: Comparison, classes: Sequence[str], levels: Sequence[int], show: Callable[[Pair], None]
) -> list[Pair]:
    """Every class at every concurrency; each is shown when it is done."""
    pairs = []
    for name in classes:
        for level in levels:
            pair = comparison.measure(name, level)
            show(pair)
            pairs.append(pair)
    sys.stderr.flush()
    return pairs
