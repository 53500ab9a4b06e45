"""Rasters made on the spot, and the way from files to Items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from graticule.forge import Forge, Forged, Grouping, Recipe, TimeRules, find_files, group_scenes

MakeRaster = Callable[..., Path]
MakeItem = Callable[..., Forged]


@pytest.fixture
def make_raster(tmp_path: Path) -> MakeRaster:
    """Writes a small GeoTIFF below the test's folder: ``make_raster("scene/a_B01.tif", crs="EPSG:32632")``."""

    def make(
        place: str,
        *,
        crs: str | None = "EPSG:32632",
        transform: Affine | None = None,
        size: tuple[int, int] = (20, 10),
        count: int = 1,
        dtype: str = "uint8",
        values: Any = 1,
        tags: dict[str, str] | None = None,
        colormap: dict[int, tuple[int, ...]] | None = None,
        **options: Any,
    ) -> Path:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "GTiff", "width": size[0], "height": size[1], "count": count, "dtype": dtype, **options}
        place_on_map = {"crs": crs, "transform": transform or Affine(10, 0, 400_000, 0, -10, 5_200_000)}
        with rasterio.open(path, "w", **profile, **(place_on_map if crs else {})) as dataset:
            dataset.write(np.broadcast_to(np.asarray(values, dtype), (count, size[1], size[0])))
            dataset.update_tags(**(tags or {}))
            if colormap:
                dataset.write_colormap(1, colormap)
        return path

    return make


@pytest.fixture
def make_item() -> MakeItem:
    """The Item of the one scene that the files are; by default of 2020."""

    def make(*files: Path, grouping: str = "auto", when: str | None = "2020-01-01", **recipe: Any) -> Forged:
        scenes, _ = group_scenes(find_files(files), Grouping(grouping))
        assert len(scenes) == 1
        recipe.setdefault("times", TimeRules.from_options(when, None, None))
        return Forge(Recipe("c", **recipe)).make(scenes[0])

    return make
