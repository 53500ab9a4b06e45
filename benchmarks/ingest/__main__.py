"""Ingestion: posts against stac-fastapi-pgstac, conversion against GDAL, one large asset, and bulk runs.

    make bench-ingest                                             # installs the peer into --folder
    make bench-ingest BENCH_ARGS="--peer-programs DIR/bin"        # of an environment that has it
    make bench-ingest BENCH_ARGS="--bulk 100000"                  # only a bulk run, watched; about 100 items/s
    make bench-ingest BENCH_ARGS="--only asset --output PAGE"     # one part; its section of the page is written anew

Rates are to visible: from the first post until the items can be read. The peer stores documents and fetches nothing;
Graticule validates, queues and journals each item, with authentication on. Only ratios of one run are worth quoting:
rounds alternate. The peer comes from PyPI into an environment of its own, PostgreSQL with PostGIS from Debian.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.ingest import bulk, converting
from benchmarks.ingest.posting import Posted, post
from benchmarks.ingest.serving import peer, source, token
from benchmarks.search.load import Root
from benchmarks.search.report import machine
from benchmarks.service import catalog, scene

#: Items of a body, connections, and how many items are posted for each second asked for.
POSTS: Final = ((1, 1, 100), (1, 8, 150), (100, 1, 800), (100, 8, 1200))


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and the servers with it
    work = Path(tempfile.mkdtemp(prefix="ingest-", dir=_made(arguments.folder)))
    try:
        if arguments.bulk:
            lines = bulk.report(bulk.run(work, arguments.bulk))
        elif arguments.only:
            lines = list(_PARTS[arguments.only](work, arguments))
        else:
            lines = [*_introduction(), *(line for part in _PARTS.values() for line in part(work, arguments))]
        text = "\n".join(lines).rstrip() + "\n"
        print(text, flush=True)  # before the removal, which takes minutes after a long run
        if arguments.output is not None:
            page = arguments.output.read_text("utf-8") if arguments.output.exists() else ""
            arguments.output.write_text(_merged(page, text), "utf-8")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _merged(page: str, text: str) -> str:
    """A page with these sections in the place of its own of the same headings; others stay as they are."""
    if not page:
        return text
    sections = {part.partition("\n")[0]: part.strip() for part in f"{page}\n{text}".split("\n## ") if part.strip()}
    return "\n\n## ".join(sections.values()) + "\n"


def _posts(work: Path, arguments: argparse.Namespace) -> Iterator[str]:
    yield from (
        "## Posts with nothing to fetch",
        "",
        (
            "| items of a body | connections | items/s, ours | theirs | ratio (range of rounds) |"
            " refused posts, lost items; ours / theirs |"
        ),
        "| --- | --- | --- | --- | --- | --- |",
    )
    with ExitStack() as stack:
        url, _, _ = stack.enter_context(catalog(work / "posts"))
        us = Root(f"{url}/stac", (("Authorization", f"Bearer {token(work / 'posts')}"),))
        other = None if arguments.alone else stack.enter_context(peer(arguments.folder, arguments.peer_programs))
        for batch, connections, each in POSTS:
            items = max(batch * connections, int(each * arguments.seconds))
            pairs: list[tuple[Posted, Posted | None]] = []
            for number in range(arguments.rounds):
                theirs = None
                if other is not None:
                    name = f"t-{batch}-{connections}-{number}"
                    theirs = post(other, name, items, batch=batch, connections=connections)
                name = f"o-{batch}-{connections}-{number}"
                pairs.append((post(us, name, items, batch=batch, connections=connections), theirs))
                print(batch, connections, *pairs[-1], file=sys.stderr, flush=True)
            yield _row(batch, connections, pairs)
    yield ""


def _row(batch: int, connections: int, pairs: list[tuple[Posted, Posted | None]]) -> str:
    ours = [one for one, _ in pairs]
    theirs = [other for _, other in pairs if other is not None]
    ratios = sorted(one.rate / other.rate for one, other in pairs if other is not None and other.rate)
    ratio = f"**{statistics.median(ratios):.1f}** ({ratios[0]:.1f} to {ratios[-1]:.1f})" if ratios else "-"
    failures = " / ".join(
        f"{sum(each.failed for each in side)}, {sum(each.missing for each in side)}" for side in (ours, theirs)
    )
    rate = f"{statistics.median(each.rate for each in theirs):.0f}" if ratios else "-"
    own = statistics.median(each.rate for each in ours)
    return f"| {batch} | {connections} | {own:.0f} | {rate} | {ratio} | {failures} |"


def _assets(work: Path, arguments: argparse.Namespace) -> Iterator[str]:
    """Ours alone: the peer fetches nothing."""
    files = _made(work / "files")
    scene(files / "small.tif", 64, driver="COG")
    yield from ("## With one small COG to fetch, check and store", "", "| way | items/s |", "| --- | --- |")
    with source(files) as host, catalog(work / "assets", GRATICULE_FETCH_ALLOW=host) as (url, _, _):
        us = Root(f"{url}/stac", (("Authorization", f"Bearer {token(work / 'assets')}"),))
        asset = {"href": f"http://{host}/small.tif", "type": "image/tiff", "roles": ["data"]}
        items = max(100, int(60 * arguments.seconds))
        for batch, connections in ((1, 8), (100, 1)):
            found = post(us, f"a-{batch}", items, batch=batch, connections=connections, asset=asset)
            print(found, file=sys.stderr, flush=True)
            yield f"| bodies of {batch}, {connections} connections | {found.rate:.0f} |"
    watched = bulk.run(_made(work / "run"), items)
    yield f"| bulk run of a static catalog, {items:,} items | {watched.rate:.0f} |"
    yield ""


def _conversion(work: Path, arguments: argparse.Namespace) -> Iterator[str]:
    cores = len(os.sched_getaffinity(0))
    found = converting.conversions(work, files=2 * cores, side=arguments.side, rounds=arguments.rounds)
    rates = [
        found.bytes / 1e6 / converting.median(each)
        for each in (found.ours, found.gdal_side_by_side, found.gdal_in_turn)
    ]
    yield from (
        "## Conversion on all cores",
        "",
        f"| {found.files} files of {found.bytes // found.files // 1_000_000} MB, by | MB/s |",
        "| --- | --- |",
        f"| Graticule, with its checks and the comparison of all pixels | {rates[0]:.0f} |",
        f"| GDAL's COG driver, {cores} processes side by side | {rates[1]:.0f} |",
        f"| GDAL's COG driver, {cores} threads, one file after the other | {rates[2]:.0f} |",
        (
            f"| ours to GDAL's better one, median (range of rounds) | **{converting.median(found.ratios):.0%}**"
            f" ({found.ratios[0]:.0%} to {found.ratios[-1]:.0%}) |"
        ),
        "",
    )


def _overhead(work: Path, arguments: argparse.Namespace) -> Iterator[str]:
    one = converting.overhead(_made(work / "overhead"), side=arguments.asset_side, rounds=arguments.asset_rounds)
    print(one, file=sys.stderr, flush=True)
    through, bare = converting.median(one.through), converting.median(one.bare)
    whole, steps = converting.median(one.shares), converting.median(one.step_shares)
    yield from (
        "## One large asset",
        "",
        f"| {one.bytes // 1_000_000} MB, {len(one.bare)} rounds | median | range |",
        "| --- | --- | --- |",
        f"| from the post until the item can be read, s | {through:.2f} | {_range(one.through, '.2f')} |",
        f"| download, conversion and fsync by themselves, s | {bare:.2f} | {_range(one.bare, '.2f')} |",
        f"| what the catalog adds | {whole:.1%} | {_range(one.shares, '.1%')} |",
        f"| of it, queue and journal | **{steps:.1%}** | {_range(one.step_shares, '.1%')} |",
        "",
        *_SPLIT.format(steps=one.steps, rest=through - bare - one.steps).splitlines(),
        "",
    )


_SPLIT: Final = """\
Queue and journal take the same time whatever an asset's size ({steps:.3f} s): they are what the same way adds to a
COG of some KB, the wait for a worker and every fsync of database and folders included. The rest ({rest:.3f} s) goes by
bytes: the checksum of what is downloaded, and that of what is stored, for which it is read once more. No look at the
item is taken before it can be there, for a client that asks all the time takes a good part of a core."""


def _range(values: Sequence[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}"


def _introduction() -> list[str]:
    text = f"""# Benchmark: ingestion

Written by `make bench-ingest`: made-up items,
{machine()}; client, source and servers share the machine.
Rates are to *visible*: from the first post until every item can be read, which is counted. The peer is
stac-fastapi-pgstac with transactions; it stores what it is sent, Graticule validates, queues and journals it,
with authentication on. Rounds of the two alternate; only ratios of one run are worth quoting.
A round in which posts were refused counts as 0 items/s. GDAL's figures contain the start of a process for each file, as
a user runs it (about 0.3 s); ours contain the comparison of all pixels, in processes that stay."""
    return [*text.splitlines(), ""]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


#: What is measured, by the names that ``--only`` takes.
_PARTS: Final[dict[str, Callable[[Path, argparse.Namespace], Iterator[str]]]] = {
    "posts": _posts,
    "assets": _assets,
    "conversion": _conversion,
    "asset": _overhead,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-ingest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alone", action="store_true", help="ours, without a peer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of a round, roughly: sets how many items are posted")
    parser.add_argument("--side", type=int, default=4096, help="of the rasters to convert, pixels, in 3 bands")
    parser.add_argument("--asset-side", type=int, default=5774, help="of the one asset; 5774 is 100 MB")
    parser.add_argument("--asset-rounds", type=int, default=7, help="of the one asset")
    parser.add_argument("--peer-programs", type=Path, help="folder of an environment's programs that has the peer")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "graticule-bench")
    parser.add_argument("--output", type=Path, help="write the page here too, or the parts of it that were measured")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--only", choices=_PARTS, help="one part")
    parts.add_argument("--bulk", type=int, metavar="ITEMS", help="only a bulk run of so many items, watched")
    return parser.parse_args()


if __name__ == "__main__":
    main()
