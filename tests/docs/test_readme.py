"""The README's Python, run as it stands against a real server; only the two URLs are this test's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import requests
from rasterio.io import MemoryFile
from rasterio.transform import from_bounds

from acceptance.serving import Served
from acceptance.source import Source

ROOT = Path(__file__).resolve().parents[2]


def striped_geotiff(bbox: list[float]) -> bytes:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=64,
            height=64,
            count=1,
            dtype="uint16",
            crs="EPSG:4326",
            transform=from_bounds(*bbox, 64, 64),
        ) as dataset:
            dataset.write(pixels)
        content: bytes = memory.read()
        return content


@pytest.mark.acceptance
def test_the_readme_ends_with_a_signed_url_that_opens(tmp_path: Path) -> None:
    script = readme_block("python")
    assert "http://127.0.0.1:8080" in script
    examples = tmp_path / "docs" / "examples"
    examples.mkdir(parents=True)
    item = json.loads((ROOT / "docs" / "examples" / "item.json").read_text())
    with Source({"preview.tif": striped_geotiff(item["bbox"])}) as source:
        item["assets"]["image"]["href"] = source.href("preview.tif")
        (examples / "item.json").write_text(json.dumps(item))
        (examples / "collection.json").write_bytes((ROOT / "docs" / "examples" / "collection.json").read_bytes())
        with Served(tmp_path, env={"GRATICULE_FETCH_ALLOW": source.host}) as served:
            done = subprocess.run(
                [sys.executable, "-c", script.replace("http://127.0.0.1:8080", served.url)],
                cwd=tmp_path,
                env=user_environment(served),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr + served.log_text()
            status, href = done.stdout.split()
            assert status == "Succeeded"
            answer = requests.get(href, timeout=30)
            assert answer.status_code == 200
            with MemoryFile(answer.content) as memory, memory.open() as dataset:
                assert dataset.crs == rasterio.CRS.from_epsg(4326)
                assert dataset.read(1)[0, 1] == 1
            assert requests.get(href.partition("?")[0], timeout=30).status_code in {403, 409}


def test_every_command_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"\bmake ([a-z]+)", text))
    assert {"setup", "demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def readme_block(language: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, f"the README has {len(blocks)} {language} blocks"
    return str(blocks[0])


def user_environment(served: Served) -> dict[str, str]:
    """A shell in which `.venv` is activated and the catalog is the user's own."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    return {**served.environment(), "GRATICULE_DATA_DIR": str(served.data_dir), "PATH": path}
