"""The how-to of load and export, run as it stands; where it shows what is printed, that is what is printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from docs.conftest import DOCS, blocks_of

PAGE = DOCS / "how-to" / "load-and-export.md"


def test_every_block_of_the_how_to_runs_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    shutil.copytree(DOCS / "examples", tmp_path / "docs" / "examples")
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "graticule"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m graticule "$@"\n', "utf-8")
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "GRATICULE_DATA_DIR": str(tmp_path / "catalog"),
    }
    printed = ""
    shown = 0
    for block in blocks_of(PAGE):
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
        elif block.language == "text":
            assert printed.endswith(block.code), f"line {block.line}"
            shown += 1
    assert shown == 5
