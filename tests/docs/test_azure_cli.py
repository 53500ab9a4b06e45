"""A script that logs in through `az`, run with nothing changed but its two URLs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.acceptance
def test_a_script_with_azure_cli_credential_runs_unchanged(serving: Callable[..., Any]) -> None:
    script = Path(__file__).with_name("azure_cli_script.py")
    with serving("--tls") as surroundings:
        urls = f'"{surroundings.catalog_url}" "{surroundings.source_url}"'
        run = subprocess.run(
            ["bash", "-euc", f'eval "$(graticule env)"\nexec "{sys.executable}" "{script}" {urls}'],
            env=surroundings.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Succeeded" in run.stdout
