"""The ``az`` that `graticule env` puts first on PATH: its file, and the search for the real one behind it."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import Final

#: In every file that we make, so that two catalogs on one PATH do not call each other for ever.
_MARK: Final = b"# Made by graticule env:"


def write_shim(bin_dir: Path, data_dir: Path) -> Path:
    """Write ``az`` for this interpreter and a data folder; answers its path."""
    bin_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = bin_dir / "az"
    # -P: az is called in any folder, and none of its files is to be imported.
    text = (
        "#!/bin/sh\n"
        f"{_MARK.decode()} answers for a catalog, hands the rest to the az further along PATH.\n"
        f'exec {shlex.quote(sys.executable)} -P -m graticule.cli.az {shlex.quote(str(data_dir))} "$@"\n'
    )
    temporary = path.with_name(f".az.{secrets.token_hex(6)}")
    temporary.write_text(text, "utf-8")
    temporary.chmod(0o700)
    temporary.replace(path)
    return path


def find_real_az(search_path: str) -> str | None:
    """The first ``az`` on PATH that is not one of ours: this one's, a copy's, or another catalog's."""
    for folder in search_path.split(os.pathsep):
        candidate = Path(folder or ".") / "az"
        if candidate.is_file() and os.access(candidate, os.X_OK) and not _is_shim(candidate):
            return str(candidate)
    return None


def _is_shim(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _MARK in file.read(200)
    except OSError:  # executable but not readable: not ours, ours is 0700
        return False
