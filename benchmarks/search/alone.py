"""The large run: every class of search on ours alone, pages of 10 and 100, deep pages, weak classes, memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from benchmarks.search.checking import check, following
from benchmarks.search.comparing import depth_ratio
from benchmarks.search.load import Connection, Request, run
from benchmarks.search.queries import ORDINARY, WEAK, Archive, Queries
from benchmarks.search.servers import Server

#: Queries of each class whose answers are checked: each costs a look at all footprints.
_CHECKED = 5


def measure(server: Server, items: int, archive: Archive, most: int, chosen: Sequence[str] | None) -> list[str]:
    """Lines of Markdown."""
    before = server.memory()
    ordinary = [name for name in ORDINARY if chosen is None or name in chosen]
    lines = [
        f"## {server.name}, {items:,} items",
        "",
        "| class | limit 10: p50 / p95 / max ms | limit 100: p50 / p95 / max ms |",
        "| --- | --- | --- |",
    ]
    asked = 0
    for name in ordinary:
        cells = []
        for limit in (10, 100):
            queries = Queries(items, limit)
            asked += check([server.root], queries, archive, [name], _CHECKED)
            requests = [server.root.encode(query.request) for query in queries.of(name, min(most, 300), skip=limit)]
            done = run(server.root, requests, 1, 60)
            if done.failed:
                raise SystemExit(f"{done.failed} requests of {name} failed")
            cells.append(f"{done.percentile(0.5):.2f} / {done.percentile(0.95):.2f} / {done.percentile(1):.1f}")
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
        print(lines[-1], file=sys.stderr, flush=True)
    for name in WEAK:
        if chosen is None or name in chosen:
            lines += ["", _weak(server, Queries(items, 10), name)]
    first, last, ratio = depth_ratio(server.root, 1000)
    lines += [
        "",
        f"- Page 1,000 to page 1, limit 10: {last:.2f} / {first:.2f} ms = {ratio:.2f}.",
        f"- Anonymous memory of all processes: {before:.0f} MiB before, {server.memory():.0f} MiB after.",
        f"- {asked} answers were checked: the right items in the right order.",
        "",
    ]
    return lines


def _weak(server: Server, queries: Queries, name: str) -> str:
    """How long single answers of a weak class take, and into how many pages the whole is cut."""
    connection = Connection(server.root)
    times, pages = [], []
    for query in queries.of(name, 20):
        request: Request | None = query.request
        count = 0
        while request is not None and count < 1000:
            begun = time.perf_counter()
            page = connection.json(request)
            times.append(1e3 * (time.perf_counter() - begun))
            count += 1
            request = following(page)
        pages.append(count)
    connection.close()
    times.sort()
    return (
        f"- Weak class {name}: 20 walks to the end, at most {max(pages)} pages; an answer p50"
        f" {times[len(times) // 2]:.1f} ms, p95 {times[int(len(times) * 0.95)]:.1f} ms, max {times[-1]:.1f} ms;"
        " none failed."
    )
