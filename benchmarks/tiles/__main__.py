"""Tiles over HTTP: Graticule against titiler-pgstac, by turns, on the same COGs.

    make bench-tiles                                              # installs the peer into --folder
    make bench-tiles BENCH_ARGS="--peer-programs DIR/bin --rounds 6"
    make bench-tiles BENCH_ARGS="--alone"                         # ours, without a peer

Pictures are compared first. Authentication and the look-up of items and scenes are part of ours; the peer asks for no
token and remembers items and searches for five minutes. The peer comes from PyPI into an environment of its own,
PostgreSQL with PostGIS from Debian; what was made, ingested and installed stays in --folder for the next run. Only
ratios of one run are worth quoting: rounds alternate, so that whatever else the machine does meets both servers.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import morecantile
import psutil

from benchmarks.search.load import Request, Root, Round, run
from benchmarks.search.servers import Server, database, postgres
from benchmarks.tiles.pictures import compare
from benchmarks.tiles.scenes import GRID, SINGLE, Scene, write
from benchmarks.tiles.serving import ours, peer

GRID_ZOOMS: Final = (9, 10, 11, 12, 13, 14)
WEB: Final = morecantile.tms.get("WebMercatorQuad")
#: Where items' and collections' tiles are, below each server's root.
PREFIXES: Final = {"graticule": "/data/mosaic/collections", "titiler-pgstac": "/collections"}

_HEADINGS: Final = (
    "tiles", "format", "tiles/s, ours", "theirs", "ratio (rounds)", "p50 ms, ours", "theirs", "kB, ours", "theirs",
    "failed, ours / theirs", "pictures",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Tiles that are asked for, in one format."""

    name: str
    paths: tuple[str, ...]  #: without the server's prefix and the format
    format: str
    #: How the peer is asked: `pngraw` is its PNG with ZLEVEL=1.
    peer_format: str
    #: Is each tile asked for once only, in so many groups of neighbours?
    views: int = 0
    peer_query: tuple[str, str] = ("", "")  #: what of a path is written otherwise for the peer
    may_differ: float = 0.12  #: share of pixels

    def requests(self, server: Server) -> list[bytes]:
        """Encoded."""
        is_ours = server.name == "graticule"
        chosen = self.format if is_ours else self.peer_format
        found = (PREFIXES[server.name] + path.replace("{format}", chosen) for path in self.paths)
        if not is_ours:
            found = (path.replace(*self.peer_query) for path in found)
        return [server.root.encode(Request(path)) for path in found]


@dataclass(frozen=True)
class Result:
    """What a case took."""

    case: Case
    rates: tuple[float, float]  #: tiles per second, of ours and the peer; medians of rounds
    least: float  #: the smallest ratio of a pair of rounds
    most: float
    p50: tuple[float, float]  #: milliseconds, one connection
    bytes: tuple[float, float]
    failed: tuple[int, int]
    picture: str


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and the servers with it
    scenes = write(arguments.folder / "scenes", arguments.side)
    with ExitStack() as stack:
        us, files = stack.enter_context(ours(arguments.folder, scenes))
        servers = [us]
        if not arguments.alone:
            address, _ = stack.enter_context(postgres(arguments.folder))
            dsn = database(address, "tiles")
            servers.append(stack.enter_context(peer(arguments.folder, arguments.peer_programs, dsn, scenes, files)))
        load = [os.getloadavg()[0]]
        results = [_measure(case, servers, arguments) for case in _cases(scenes, arguments)]
        load.append(os.getloadavg()[0])
        lines = list(_report(results, arguments, load, noop=_noop(us, scenes, arguments)))
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")


# --- what is asked ---------------------------------------------------------------------------------------------------


def _cases(scenes: Sequence[Scene], arguments: argparse.Namespace) -> Iterator[Case]:
    single = {scene.id: scene for scene in scenes if scene.collection == SINGLE}
    # First, while nothing of these is decoded anywhere; another item has loaded the libraries by then.
    yield Case("warm up", _around(single["mercator"], 60, 9), "png", "png", views=1)
    for name in ("rgb", "classes", "bands"):
        paths = tuple(path for view in _viewports(single[name], 6) for path in view)
        yield Case(f"first view, {name}", paths, "png", "png", 6, *_peers(single[name]))
    for name, scene in single.items():
        paths = _around(scene, arguments.tiles, 1)
        for kind in ("png", "jpeg", "webp"):
            yield Case(f"item, {name}", paths, kind, kind, 0, *_peers(scene))
        if name == "rgb":
            yield Case(f"item, {name}, ZLEVEL=1", paths, "png", "pngraw")
    grid = [scene for scene in scenes if scene.collection == GRID]
    for zoom in GRID_ZOOMS:
        yield Case(f"mosaic, zoom {zoom}", _of_grid(grid, zoom, arguments.tiles), "png", "png")


def _peers(scene: Scene) -> tuple[tuple[str, str], float]:
    return (scene.query, scene.peer_query or scene.query), scene.may_differ


def _around(scene: Scene, count: int, seed: int) -> tuple[str, ...]:
    """Tiles within a scene, at its own zoom and the ones beside."""
    chosen = random.Random(seed)  # noqa: S311 - the same tiles each time
    found: list[str] = []
    for zoom in (scene.zoom - 1, scene.zoom, scene.zoom + 1):
        tiles = [tile for tile in WEB.tiles(*scene.bounds, [zoom]) if _is_within(tile, scene.bounds)]
        chosen.shuffle(tiles)
        found += [_item_path(scene, tile) for tile in tiles[: max(1, count // 3)]]
    return tuple(found)


def _viewports(scene: Scene, count: int) -> list[list[str]]:
    """Groups of 3 by 4 neighbours at the scene's zoom; no two share a tile."""
    tiles = {
        (tile.x, tile.y): tile for tile in WEB.tiles(*scene.bounds, [scene.zoom]) if _is_within(tile, scene.bounds)
    }
    left, top = min(x for x, _ in tiles), min(y for _, y in tiles)
    groups: dict[tuple[int, int], list[str]] = {}
    for (x, y), tile in sorted(tiles.items()):
        groups.setdefault(((x - left) // 4, (y - top) // 3), []).append(_item_path(scene, tile))
    whole = [group for group in groups.values() if len(group) == 12]
    return whole[:count]


def _of_grid(grid: Sequence[Scene], zoom: int, count: int) -> tuple[str, ...]:
    wests, souths, easts, norths = zip(*(scene.bounds for scene in grid), strict=True)
    box = (min(wests), min(souths), max(easts), max(norths))
    tiles = list(WEB.tiles(*box, [zoom]))
    within = [tile for tile in tiles if _is_within(tile, box)] or tiles
    random.Random(zoom).shuffle(within)  # noqa: S311 - the same tiles each time
    return tuple(f"/{GRID}/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.{{format}}?assets=data" for t in within[:count])


def _is_within(tile: morecantile.Tile, box: tuple[float, float, float, float]) -> bool:
    west, south, east, north = WEB.bounds(tile)
    return box[0] < west and box[1] < south and east < box[2] and north < box[3]


def _item_path(scene: Scene, tile: morecantile.Tile) -> str:
    where = f"/{scene.collection}/items/{scene.id}/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}"
    return f"{where}.{{format}}?{scene.query}"


# --- measuring -------------------------------------------------------------------------------------------------------


def _measure(case: Case, servers: Sequence[Server], arguments: argparse.Namespace) -> Result:
    requests = [case.requests(server) for server in servers]
    if case.views:
        return _once(case, servers, requests, arguments)
    picture = compare([server.root for server in servers], requests, case.may_differ)
    for server, asked in zip(servers, requests, strict=True):
        run(server.root, asked, 8, 60)  # warm
    rounds: list[list[Round]] = [[] for _ in servers]
    for number in range(arguments.rounds):
        for at in range(len(servers)) if number % 2 == 0 else reversed(range(len(servers))):
            many = requests[at] * (1 + 40_000 // len(requests[at]))
            rounds[at].append(run(servers[at].root, many, 8, arguments.seconds))
    alone = [run(server.root, asked * 4, 1, arguments.seconds) for server, asked in zip(servers, requests, strict=True)]
    return _result(case, rounds, [each.percentile(0.5) for each in alone], picture)


def _once(case: Case, servers: Sequence[Server], requests: list[list[bytes]], arguments: argparse.Namespace) -> Result:
    """Each group of neighbours once, by turns."""
    del arguments
    size = len(requests[0]) // case.views
    rounds: list[list[Round]] = [[] for _ in servers]
    for view in range(case.views):
        for at in range(len(servers)) if view % 2 == 0 else reversed(range(len(servers))):
            rounds[at].append(run(servers[at].root, requests[at][view * size : (view + 1) * size], 8, 120))
    picture = compare([server.root for server in servers], requests, case.may_differ)
    return _result(case, rounds, [statistics.median(r.percentile(0.5) for r in each) for each in rounds], picture)


def _result(case: Case, rounds: list[list[Round]], p50: list[float], picture: str) -> Result:
    def both(value: Callable[[list[Round]], float]) -> tuple[float, float]:
        found = [value(each) for each in rounds]
        return found[0], found[-1]

    ratios = [us.rate / them.rate for us, them in zip(rounds[0], rounds[-1], strict=True)]
    found = Result(
        case,
        both(lambda each: statistics.median(round_.rate for round_ in each)),
        min(ratios),
        max(ratios),
        (p50[0], p50[-1]),
        both(lambda each: sum(round_.size for round_ in each) / sum(len(round_.times) for round_ in each)),
        tuple(int(value) for value in both(lambda each: sum(round_.failed for round_ in each))),  # type: ignore[arg-type]
        picture,
    )
    print(_row(found), file=sys.stderr, flush=True)
    return found


def _noop(us: Server, scenes: Sequence[Scene], arguments: argparse.Namespace) -> Round:
    """The least that a tile can be: one that the caller has (304), everything but the pixels."""
    scene = next(scene for scene in scenes if scene.id == "rgb")
    path = PREFIXES["graticule"] + _around(scene, 3, 1)[0].replace("{format}", "png")
    root = Root(us.root.url, (*us.root.headers, ("If-None-Match", "*")))
    return run(root, [root.encode(Request(path))] * 4000, 1, arguments.seconds)


# --- telling ---------------------------------------------------------------------------------------------------------


def _report(results: Iterable[Result], arguments: argparse.Namespace, load: list[float], noop: Round) -> Iterator[str]:
    memory = psutil.virtual_memory().total / 2**30
    yield "# Tiles against titiler-pgstac"
    yield ""
    yield "Made by `make bench-tiles`; the ratios are of one run, in which the servers took turns on the same COGs."
    yield ""
    machine = f"{os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"
    yield f"- Machine: {machine}; the client on the same machine."
    yield f"- Load average when it began {load[0]:.1f}, at the end {load[1]:.1f}: the benchmark itself is about 3."
    yield (
        f"- Files: {arguments.side} pixels a side, waves with noise, DEFLATE with predictor, blocks of 512, overviews;"
        " `rgb` 3 x 8 bits and `bands` 4 x 16 bits (nodata, three shown, rescaled) in UTM,"
        " `classes` a palette in degrees, `mercator` 3 x 8 bits;"
        " the mosaic has 48 overlapping scenes of 1024 pixels of three dates, nodata at an edge."
    )
    yield (
        "- Tiles of 256 pixels, resampled by nearest neighbour; PNG at titiler's level 6 unless the row says ZLEVEL=1,"
        " JPEG of quality 85, WebP of 75; titiler-pgstac 3.2.0 with as many processes as cores, without authentication."
    )
    yield (
        f"- {arguments.rounds} rounds of {arguments.seconds:g} s; tiles/s with 8 connections, p50 with one; a first"
        " view is 12 neighbours, once, from files whose blocks are not decoded yet."
    )
    yield (
        "- Pictures are compared. Of some of a file's bands (`bands`) GDAL reads an overview in two steps, so that many"
        " pixels of the peer's are a neighbour; ours are the nearest ones whichever bands are chosen."
    )
    yield (
        f"- All that is ours beside the pixels (authentication, item, parameters, ETag), a tile answered 304 with one"
        f" connection, the client's part included: {noop.percentile(0.5):.2f} ms."
    )
    yield ""
    yield f"| {' | '.join(_HEADINGS)} |"
    yield "| --- " * len(_HEADINGS) + "|"
    yield from (_row(result) for result in results if result.case.name != "warm up")


def _row(result: Result) -> str:
    case = result.case
    ratio = result.rates[0] / result.rates[1]
    cells = (
        case.name, case.format, f"{result.rates[0]:.0f}", f"{result.rates[1]:.1f}",
        f"**{ratio:.1f}** ({result.least:.1f} to {result.most:.1f})", f"{result.p50[0]:.1f}", f"{result.p50[1]:.1f}",
        f"{result.bytes[0] / 1e3:.0f}", f"{result.bytes[1] / 1e3:.0f}", f"{result.failed[0]} / {result.failed[1]}",
        result.picture,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(tempfile.gettempdir()) / "graticule-bench-tiles"
    parser.add_argument("--folder", type=Path, default=default, help="for files and servers, kept between runs")
    parser.add_argument("--side", type=int, default=6144, help="pixels along each side of the single files")
    parser.add_argument("--tiles", type=int, default=24, help="different tiles in a case")
    parser.add_argument("--rounds", type=int, default=4, help="of each case, the servers by turns")
    parser.add_argument("--seconds", type=float, default=3, help="of a round")
    parser.add_argument("--alone", action="store_true", help="without a peer")
    parser.add_argument("--peer-programs", type=Path, help="bin folder of an environment that has the peer")
    parser.add_argument("--output", type=Path, help="write the table there too")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    main()
