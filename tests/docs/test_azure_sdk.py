"""The how-to of the official SDK, run as it stands: over TLS, with the login that `graticule env` arranges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = "how-to/azure-sdk.md"


@pytest.mark.acceptance
def test_every_block_of_the_how_to_runs_in_order(
    python_blocks: Callable[[str], list[Any]],
    shell_blocks: Callable[[str], list[Any]],
    serving: Callable[..., Any],
    tmp_path: Path,
) -> None:
    (login,) = (block.code for block in shell_blocks(PAGE) if block.language == "bash")
    script = tmp_path / "script.py"
    script.write_text("\n".join(block.code for block in python_blocks(PAGE)), "utf-8")
    with serving("--tls") as surroundings:
        assert surroundings.catalog_url.startswith("https://")
        run = subprocess.run(
            ["bash", "-euc", f'{login}\nexec "{sys.executable}" "{script}"'],
            env=surroundings.environment | {"SOURCE_URL": surroundings.source_url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Succeeded" in run.stdout
