"""What was measured, as Markdown."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.search.comparing import Pair
from benchmarks.search.load import Round


def ratio(values: Sequence[float]) -> str:
    """Median and range over the rounds."""
    return f"**{statistics.median(values):.1f}** ({values[0]:.1f} to {values[-1]:.1f})"


def pages() -> str:
    """Whether the system has huge pages, which PostgreSQL then takes for its buffers."""
    found = re.search(r"^HugePages_Total: +(\d+)", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
    return ", in huge pages" if found is not None and int(found[1]) > 0 else ""


def machine() -> str:
    """What this ran on, as far as it matters."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, {platform.system()}"


def times(rounds: Sequence[Round]) -> str:
    """p50 / p95 of the median round, ms."""
    return " / ".join(f"{statistics.median(one.percentile(share) for one in rounds):.2f}" for share in (0.5, 0.95))


def compared(pairs: Sequence[Pair], store: str) -> list[str]:
    """A table of latencies at concurrency 1, and one of rates."""
    lines = [
        f"### Latency at concurrency 1, {store}",
        "",
        "| class | peer p50 / p95 ms | graticule p50 / p95 ms | p50, peer to ours (range of the rounds) |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {pair.name} | {times(pair.peer)} | {times(pair.ours)} | {ratio(pair.median_ratios())} |"
        for pair in pairs
        if pair.concurrency == 1
    ]
    lines += [
        "",
        f"### Requests per second, {store}",
        "",
        "| class | at | peer | graticule | ours to the peer's (range of the rounds) | client's CPU, of a core |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for pair in pairs:
        rates = [statistics.median(one.rate for one in rounds) for rounds in (pair.peer, pair.ours)]
        client = statistics.median(one.client / one.seconds for one in pair.ours)
        lines.append(
            f"| {pair.name} | {pair.concurrency} | {rates[0]:.1f} | {rates[1]:.1f} | {ratio(pair.rate_ratios())} | "
            f"{client:.0%} |"
        )
    return [*lines, ""]
