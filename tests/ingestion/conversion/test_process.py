"""Folders of conversion processes: swept when their parent is dead, and not while they are being made."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from graticule.ingestion.conversion.process import make_folder, sweep_folders


def test_a_folder_that_is_just_made_survives_sweeps_of_others(tmp_path: Path) -> None:
    is_over = threading.Event()

    def sweep() -> None:
        while not is_over.is_set():
            sweep_folders(tmp_path)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        made = [make_folder(tmp_path) for _ in range(300)]
        assert all(folder.is_dir() for folder, _ in made)
    finally:
        is_over.set()
        sweeper.join()
    for _, lock_fd in made:
        os.close(lock_fd)
    sweep_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []
