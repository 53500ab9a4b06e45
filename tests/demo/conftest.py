"""A small set of the demo's scenes, drawn once for all its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from graticule.demo.scenes import Scene, make_scenes, make_thumbnail

WANTED = (("23M", 2023), ("23L", 2023), ("24M", 2023), ("24L", 2023), ("23M", 2022))


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, ...]:
    """The demo's scenes, a quarter of their length and width."""
    return make_scenes(tmp_path_factory.mktemp("scenes"), WANTED, side=512)


@pytest.fixture(scope="session")
def thumbnail(tmp_path_factory: pytest.TempPathFactory, scenes: tuple[Scene, ...]) -> Path:
    """The picture of the four tiles."""
    path = tmp_path_factory.mktemp("thumbnail") / "thumbnail.png"
    make_thumbnail(path, scenes[:4], size=256)
    return path
