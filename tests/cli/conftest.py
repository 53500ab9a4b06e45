"""Commands as a shell starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A shell's environment in which this code is what `python -m graticule` finds, from any folder."""
    home = tmp_path / "home"
    home.mkdir()
    source = Path(__file__).resolve().parents[2] / "src"
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(source), "NO_COLOR": "1"}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def start(
        *command: str | Path, program: str | Path | None = None, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        start_of = [str(program)] if program is not None else [sys.executable, "-m", "graticule"]
        return subprocess.run(
            [*start_of, *map(str, command)],
            env={**environment, **(more or {})},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start
