"""Search and read over HTTP: Graticule against stac-fastapi on pgstac, by turns, on the same made-up items.

    make bench-search                                              # 100,000 items, SQLite
    make bench-search BENCH_ARGS="--stores sqlite,postgres --rounds 6"
    make bench-search BENCH_ARGS="--items 1000000 --alone"         # ours alone: every class, limits 10 and 100, memory

Answers are checked first: the same items in the same order as the scenes say, from both servers. The peer comes from
PyPI into an environment of its own and PostgreSQL with PostGIS from Debian; what was installed and loaded stays in
--folder for the next run. Only ratios of one run are worth quoting: rounds alternate, so that whatever else the
machine does meets both servers.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import items
from benchmarks.search import alone, report
from benchmarks.search.checking import check, check_walk
from benchmarks.search.comparing import Comparison, Pair, compare, depth_ratio
from benchmarks.search.queries import COMPARED, Archive, Queries
from benchmarks.search.servers import Server, database, ours, peer, postgres, warm

#: Queries of each class whose answers are checked.
CHECKED = 20


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and the servers with it
    files = items.write(arguments.folder / "items", arguments.items)
    archive = Archive(arguments.items)
    lines: list[str] = []
    for store in arguments.stores:
        part = (
            _alone(arguments, store, files, archive) if arguments.alone else _compared(arguments, store, files, archive)
        )
        lines += part
    text = "\n".join([*_introduction(arguments), *lines])
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text.rstrip() + "\n", encoding="utf-8")


def _compared(arguments: argparse.Namespace, store: str, files: tuple[Path, Path], archive: Archive) -> list[str]:
    queries = Queries(arguments.items, limit=10)
    with ExitStack() as stack:
        address, server = stack.enter_context(postgres(arguments.folder))
        dsn = database(address, f"pgstac_{arguments.items}")
        other = stack.enter_context(peer(arguments.folder, dsn, server, files))
        own = database(address, f"graticule_{arguments.items}") if store == "postgres" else None
        us = stack.enter_context(ours(arguments.folder, store, files, own))
        for one in (dsn, *([] if own is None else [own])):
            warm(one)
        roots = (other.root, us.root)
        ordinary = [name for name in arguments.classes if name != "deep"]
        asked = check(roots, queries, archive, ordinary, CHECKED)
        for root in roots:
            check_walk(root, archive, limit=100, pages=20)
        print(f"{asked} answers checked", file=sys.stderr, flush=True)
        idle = us.memory(), other.memory()
        comparison = Comparison(
            *roots, queries, rounds=arguments.rounds, seconds=arguments.seconds, most=arguments.most
        )
        pairs = compare(comparison, arguments.classes, arguments.concurrency, _show)
        depths = [depth_ratio(root, 1000) for root in roots]
        return [
            f"## {us.name}",
            "",
            *report.compared(pairs, store),
            *_ends(us, other, idle, depths),
            f"{asked} answers of both were checked: the right items in the right order; walks met each item once.",
            "",
        ]


def _ends(us: Server, other: Server, idle: tuple[float, float], depths: list[tuple[float, float, float]]) -> list[str]:
    lines = ["| | graticule | peer |", "| --- | --- | --- |"]
    (first, last, by), (ours_first, ours_last, ours_by) = depths
    lines.append(
        f"| page 1,000 to page 1, limit 10, ms | {ours_last:.2f} / {ours_first:.2f} = {ours_by:.2f} |"
        f" {last:.2f} / {first:.2f} = {by:.2f} |"
    )
    memory = us.memory(), other.memory()
    lines.append(
        f"| anonymous memory of all its processes, idle then after the load, MiB |"
        f" {idle[0]:.0f}, {memory[0]:.0f} | {idle[1]:.0f}, {memory[1]:.0f}, beside shared buffers |"
    )
    return [*lines, ""]


def _alone(arguments: argparse.Namespace, store: str, files: tuple[Path, Path], archive: Archive) -> list[str]:
    with _own_database(arguments, store) as own, ours(arguments.folder, store, files, own) as us:
        return alone.measure(us, arguments.items, archive, arguments.most, arguments.chosen)


@contextmanager
def _own_database(arguments: argparse.Namespace, store: str) -> Iterator[str | None]:
    if store != "postgres":
        yield None
        return
    with postgres(arguments.folder) as (address, _server):
        yield database(address, f"graticule_{arguments.items}")


def _show(pair: Pair) -> None:
    print(
        f"{pair.name:14} {pair.concurrency:3}  p50 {report.times(pair.peer)} | {report.times(pair.ours)} ms"
        f"  {report.ratio(pair.median_ratios())}  rate {report.ratio(pair.rate_ratios())}",
        file=sys.stderr,
        flush=True,
    )


def _introduction(arguments: argparse.Namespace) -> list[str]:
    text = f"""# Benchmark: search and read

Written by `make bench-search`. {arguments.items:,} made-up items of about 8 kB in three collections over five years,
clustered on land (`benchmarks/items.py`). {report.machine()}; the load client runs on the same machine.
Authentication is on in Graticule and off in the peer; GRATICULE_API_PROCESSES is the number of cores.
Before a class is measured both servers answer it for a while; PostgreSQL has all tables in its buffers{report.pages()}.
Queries are distinct, so that no cache of answers decides; only the pages of the class deep, those of one walk, come
again at the next concurrency."""
    return [*text.splitlines(), ""]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def names(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--stores", type=names, default=["sqlite"], help="sqlite, postgres, or both with a comma")
    parser.add_argument("--alone", action="store_true", help="without the peer: the classes of the large run")
    parser.add_argument("--classes", dest="chosen", type=names, help=f"of {','.join(COMPARED)},deep")
    parser.add_argument("--concurrency", type=numbers, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a round")
    parser.add_argument("--most", type=int, default=1000, help="queries in a round")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "graticule-bench")
    parser.add_argument("--output", type=Path, help="write the page here too")
    arguments = parser.parse_args()
    arguments.classes = arguments.chosen or [*COMPARED, "deep"]
    unknown = set(arguments.stores) - {"sqlite", "postgres"} or (
        set() if arguments.alone else set(arguments.classes) - {*COMPARED, "deep"}
    )
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    main()
