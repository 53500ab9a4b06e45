"""The gallery shows what the tiler draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_gallery_is_what_the_tiler_draws() -> None:
    script = [sys.executable, str(ROOT / "docs" / "gallery.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
