"""Searching while items are written: p95 and the longest answer, idle and beside 200 items a second, in turns.

    make bench-busy                              # or: python -m benchmarks.busy [--rate 200] [--concurrency 4]

Starts a catalog of its own, on SQLite, or on the database that GRATICULE_DATABASE_URL names (it must be empty). Items
are posted through the API without assets and published by the worker. At the end every posted item must be there, once.
Prints one Markdown table; only the ratio of the two p95 means anything on another machine.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import requests

from benchmarks.items import COLLECTIONS, item, scene, write
from benchmarks.service import GRATICULE, catalog

#: Items of one POST.
_BATCH: Final = 20
#: Seconds after which a published item is counted as lost.
_PATIENCE: Final = 120.0


@dataclass(slots=True)
class Phase:
    """What searches took in one state of the catalog."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0

    def p95(self) -> float:
        """Milliseconds."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)] * 1000


class Writer:
    """Posts items at a steady rate."""

    def __init__(self, url: str, token: str, rate: int, first: int) -> None:
        """`first`: number of the first scene to post."""
        self._url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._rate = rate
        self._numbers = count(first)
        self.posted = 0
        self.errors = 0

    def run(self, seconds: float) -> None:
        """Post for so long."""
        begun = time.perf_counter()
        for turn in range(int(seconds * self._rate / _BATCH)):
            time.sleep(max(0.0, begun + turn * _BATCH / self._rate - time.perf_counter()))
            self._post()

    def _post(self) -> None:
        documents = [item(scene(next(self._numbers))) | {"assets": {}} for _ in range(_BATCH)]
        for name in COLLECTIONS:
            if features := [document for document in documents if document["collection"] == name]:
                body = {"type": "FeatureCollection", "features": features}
                answer = self._session.post(f"{self._url}/stac/collections/{name}/items", json=body, timeout=60)
                self.errors += not answer.ok
                self.posted += len(features) if answer.ok else 0


def search(url: str, token: str, seconds: float, seed: int, phase: Phase) -> None:
    """Small boxes round scenes, newest first, one after the other."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    random = Random(seed)  # noqa: S311 - places to search, no secret
    until = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until:
        x0, y0, x1, y1 = item(scene(random.randrange(1000)))["bbox"]
        body = {"bbox": [x0 + 0.2, y0 + 0.2, x1 - 0.2, y1 - 0.2], "collections": list(COLLECTIONS), "limit": 10}
        begun = time.perf_counter()
        answer = session.post(f"{url}/stac/search", json=body, timeout=60)
        phase.seconds.append(time.perf_counter() - begun)
        phase.errors += not (answer.ok and answer.json()["features"])


def measure(url: str, token: str, arguments: argparse.Namespace, phase: Phase, writer: Writer | None) -> None:
    """One phase, with or without a writer."""
    seconds: float = arguments.seconds
    threads = [
        threading.Thread(target=search, args=(url, token, seconds, seed, phase))
        for seed in range(arguments.concurrency)
    ]
    if writer is not None:
        threads.append(threading.Thread(target=writer.run, args=(seconds,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def published(url: str, token: str, wanted: int) -> int:
    """How many items there are, once there are enough."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    give_up_at = time.monotonic() + _PATIENCE
    while True:
        found = 0
        for name in COLLECTIONS:
            answer: Any = session.post(
                f"{url}/stac/search", json={"collections": [name], "limit": 1}, timeout=60
            ).json()
            found += answer.get("numberMatched", answer.get("context", {}).get("matched", 0))
        if found >= wanted or time.monotonic() > give_up_at:
            return found
        time.sleep(0.5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000, help="items that are there before")
    parser.add_argument("--rate", type=int, default=200, help="items written a second")
    parser.add_argument("--seconds", type=float, default=10, help="of one phase")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=4)
    arguments = parser.parse_args()
    idle, busy = Phase(), Phase()
    with tempfile.TemporaryDirectory(prefix="bench-busy-") as name:
        folder, source = Path(name) / "catalog", Path(name) / "source"
        write(source, arguments.items)[1].rename(source / "items.ndjson")
        command = [*GRATICULE, "load", "--data-dir", str(folder), str(source)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with catalog(folder) as (url, _, _):
            command = [*GRATICULE, "token", "--data-dir", str(folder)]
            token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            writer = Writer(url, token, arguments.rate, arguments.items)
            for _ in range(arguments.rounds):
                measure(url, token, arguments, idle, None)
                measure(url, token, arguments, busy, writer)
                published(url, token, arguments.items + writer.posted)
            found = published(url, token, arguments.items + writer.posted)
    print("| state | searches/s | p95 ms | longest ms | errors |")
    print("| --- | --- | --- | --- | --- |")
    for label, phase in (("idle", idle), (f"{arguments.rate} items/s", busy)):
        rate = len(phase.seconds) / arguments.seconds / arguments.rounds
        print(f"| {label} | {rate:.0f} | {phase.p95():.1f} | {max(phase.seconds) * 1000:.0f} | {phase.errors} |")
    achieved = writer.posted / arguments.seconds / arguments.rounds
    print(f"\np95 busy to idle: {busy.p95() / idle.p95():.1f}. Posted: {achieved:.0f} items/s, {writer.errors} failed,")
    print(f"{arguments.items + writer.posted - found} of {writer.posted} lost.")


if __name__ == "__main__":
    main()
