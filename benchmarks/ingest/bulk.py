"""A bulk run from a static catalog on this machine, watched: rate, counts, memory, and posts that come meanwhile.

Each look at the run checks that its counts add up, that none goes back, and that what is counted as done lies between
the numbers of items found just before and just after; now and then a single item is posted, and timed until it is read.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from benchmarks.ingest.serving import made_item, source, token
from benchmarks.service import catalog, collection, scene

#: Seconds between looks, and between posts.
_LOOK: Final = 1.0
_POST: Final = 10.0


@dataclass
class Watched:
    """What was seen."""

    items: int
    seconds: float = 0.0
    looks: int = 0
    #: What did not add up, in words.
    faults: list[str] = field(default_factory=list)
    #: Seconds from a post to its item, while the run went on.
    waits: list[float] = field(default_factory=list)
    #: Items done, and memory of all processes then, MiB.
    memory: list[tuple[int, float]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds

    def memory_near(self, share: float) -> float:
        """MiB, the median of looks when about that share was done."""
        near = [mib for done, mib in self.memory if abs(done / self.items - share) < 0.06]
        return statistics.median(near or [self.memory[-1][1]])


def run(folder: Path, items: int) -> Watched:
    """Ingest a catalog of so many items that share one small COG."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    scene(files / "small.tif", 64, driver="COG")
    with source(files, items) as host, catalog(folder / "bulk", GRATICULE_FETCH_ALLOW=host) as (url, process, _):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token(folder / 'bulk')}"
        session.post(f"{url}/stac/collections", json=collection()).raise_for_status()
        base = f"{url}/inma/collections/bench/ingestions"
        definition = {"importType": "StaticCatalog", "sourceCatalogUrl": f"http://{host}/catalog.json"}
        made = session.post(base, json=definition)
        made.raise_for_status()
        begun = time.perf_counter()
        started = session.post(f"{base}/{made.json()['id']}/runs")
        started.raise_for_status()
        watched = Watched(items)
        _watch(watched, session, url, f"{base}/{made.json()['id']}/runs/{started.json()['id']}", process)
        watched.seconds = time.perf_counter() - begun
        _check_end(watched, session, url)
        return watched


def _watch(watched: Watched, session: requests.Session, url: str, run_url: str, process: psutil.Process) -> None:
    done, last_post = 0, time.monotonic()
    while True:
        before = _found(session, url) - len(watched.waits)
        operation: dict[str, Any] = session.get(run_url).json()["operation"]
        after = _found(session, url) - len(watched.waits)
        succeeded, failed = operation["totalSuccessfulItems"], operation["totalFailedItems"]
        total, pending = operation["totalItems"], operation["totalPendingItems"]
        watched.looks += 1
        if succeeded + failed + pending != total:
            watched.faults.append(f"{succeeded} + {failed} + {pending} is not {total}")
        if failed or succeeded < done:
            watched.faults.append(f"{failed} failed, {succeeded} after {done}")
        if not before <= succeeded <= after:
            watched.faults.append(f"{succeeded} are counted, {before} to {after} are there")
        done = succeeded
        watched.memory.append((done, _resident(process)))
        if operation["status"] not in {"Pending", "Running"}:
            if operation["status"] != "Succeeded":
                watched.faults.append(f"the run ended {operation['status']}")
            return
        if time.monotonic() - last_post > _POST:
            last_post = time.monotonic()
            watched.waits.append(_posted(session, url, len(watched.waits)))
            print(f"{done} of {total}, {watched.memory[-1][1]:.0f} MiB, a post took {watched.waits[-1]:.2f} s",
                  file=sys.stderr, flush=True)  # fmt: skip
        time.sleep(_LOOK)


def _posted(session: requests.Session, url: str, number: int) -> float:
    begun = time.perf_counter()
    items = f"{url}/stac/collections/bench/items"
    session.post(items, json=made_item(f"single-{number}", number, None)).raise_for_status()
    while session.get(f"{items}/single-{number}").status_code != 200:
        time.sleep(0.02)
    return time.perf_counter() - begun


def _check_end(watched: Watched, session: requests.Session, url: str) -> None:
    count = _found(session, url)
    if count != watched.items + len(watched.waits):
        watched.faults.append(f"{count} items are there, not {watched.items} and {len(watched.waits)} posted")


def _found(session: requests.Session, url: str) -> int:
    """How many items a search finds."""
    found = session.post(f"{url}/stac/search", json={"collections": ["bench"], "limit": 1}).json()
    return int(found.get("numberMatched", found.get("context", {}).get("matched")))


def _resident(process: psutil.Process) -> float:
    """What processes do not share, and cannot give back as they can the pages of a file, MiB.

    Each maps the database file, which grows: its pages count for whoever looked at them, as long as nobody else did.
    """
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text("ascii").splitlines()
        except OSError:
            continue  # it has just ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty:", "Swap:")))
    return total / 1024


def report(watched: Watched) -> list[str]:
    """As Markdown."""
    waits = watched.waits or [0.0]
    memory = ", ".join(f"{watched.memory_near(share):.0f}" for share in (0.1, 0.5, 0.9))
    faults = "none" if not watched.faults else f"**{len(watched.faults)}**: {watched.faults[0]}"
    return [
        "## A long bulk run",
        "",
        f"| a run of {watched.items:,} items with one COG each | figure |",
        "| --- | --- |",
        f"| items/s | {watched.rate:.0f} |",
        f"| looks at its counts; faults | {watched.looks}; {faults} |",
        f"| memory of all processes at 10, 50 and 90 %, without pages of files, MiB | {memory} |",
        (
            f"| {len(watched.waits)} single posts meanwhile to visible, median and longest, s |"
            f" {statistics.median(waits):.2f}, {max(waits):.2f} |"
        ),
        "",
    ]
