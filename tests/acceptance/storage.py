"""What lies in a data folder, compared with what the ledger says should lie there."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from acceptance.reading import rows

#: Seconds; buried bytes are removed by a job in the background.
SWEEP_LIMIT = 30


@dataclass(frozen=True)
class Stored:
    """Files and rows at one moment."""

    files: dict[str, int]  #: container/key to size, of what lies in the assets folder
    live: dict[str, int]  #: the same, of the ledger's live blobs
    staging: tuple[str, ...]  #: files under way
    items: dict[str, str]  #: container/key to item id, of live blobs

    @property
    def agrees(self) -> bool:
        return self.files == self.live and not self.staging

    def of(self, item_id: str) -> list[str]:
        """The keys of an item's blobs."""
        return [name for name, owner in self.items.items() if owner == item_id]


def look(data_dir: Path, url: str | None = None) -> Stored:
    """What is there now; ``url`` is that of the catalog's PostgreSQL database, if it has one."""
    assets, staging = data_dir / "assets", data_dir / "staging"
    blobs = rows(data_dir, "SELECT container, key, size, item_id FROM blobs WHERE state='live'", url)
    return Stored(
        files=dict(_sizes(assets)),
        live={f"{container}/{key}": size for container, key, size, _ in blobs},
        staging=tuple(name for name, _ in _sizes(staging)),
        items={f"{container}/{key}": item_id for container, key, _, item_id in blobs},
    )


def settled(data_dir: Path, url: str | None = None) -> Stored:
    """What is there once the sweep has done its work: exactly the bytes of published assets."""
    until = time.monotonic() + SWEEP_LIMIT
    while not (stored := look(data_dir, url)).agrees:
        assert time.monotonic() < until, (
            f"files without a live blob: {stored.files.keys() - stored.live.keys()}; "
            f"live blobs without a file: {stored.live.keys() - stored.files.keys()}; staging: {stored.staging}"
        )
        time.sleep(0.05)
    return stored


def _sizes(folder: Path) -> list[tuple[str, int]]:
    found = []
    for place, _, names in os.walk(folder):  # which passes over folders that are swept while it looks
        for name in names:
            path = Path(place, name)
            with suppress(FileNotFoundError):
                found.append((path.relative_to(folder).as_posix(), path.stat().st_size))
    return found
