"""The how-to of forge, run as it stands; where it shows what is printed, that is what is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from acceptance.rasters import small_geotiff
from docs.conftest import DOCS, blocks_of


def test_every_block_of_the_how_to_runs_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    for name in ("field_20230501.tif", "field_20230601.tif"):
        (tmp_path / "rasters").mkdir(exist_ok=True)
        (tmp_path / "rasters" / name).write_bytes(small_geotiff())
    command = tmp_path / "bin" / "graticule"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m graticule "$@"\n', "utf-8")
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "GRATICULE_DATA_DIR": str(tmp_path / "catalog"),
    }
    printed, shown = None, 0
    for block in blocks_of(DOCS / "how-to" / "forge.md"):
        if block.language == "bash":
            run = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.code],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert run.returncode == 0, f"line {block.line}: {run.stdout}"
            printed = run.stdout
        elif block.language == "text" and printed is not None:
            assert printed.endswith(block.code), f"line {block.line}: {printed}"
            printed, shown = None, shown + 1
    assert shown == 5
