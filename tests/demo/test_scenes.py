"""The demo's pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject
from rio_cogeo.cogeo import cog_validate

from graticule.demo.scenes import BUILT, CLASSES, NODATA, STRIPED, Scene, make_scenes


def pixels(scene: Scene) -> NDArray[np.uint8]:
    with rasterio.open(scene.path) as dataset:
        return np.asarray(dataset.read(1), dtype=np.uint8)


def on_a_common_grid(scene: Scene, transform: Affine, size: int) -> NDArray[np.uint8]:
    canvas = np.zeros((size, size), dtype=np.uint8)
    with rasterio.open(scene.path) as dataset:
        reproject(
            rasterio.band(dataset, 1),
            canvas,
            dst_transform=transform,
            dst_crs=CRS.from_epsg(4326),
            resampling=Resampling.nearest,
        )
    return canvas


def test_all_but_one_are_valid_cogs_with_overviews_where_they_are_large(scenes: tuple[Scene, ...]) -> None:
    for scene in scenes:
        if scene.is_striped:
            continue
        valid, errors, _ = cog_validate(str(scene.path))
        assert valid, errors


def test_one_is_a_plain_striped_geotiff(scenes: tuple[Scene, ...]) -> None:
    (striped,) = (scene for scene in scenes if scene.is_striped)
    assert striped.tile.id == STRIPED
    with rasterio.open(striped.path) as dataset:
        assert not dataset.profile["tiled"]
        assert dataset.overviews(1) == []
    assert not cog_validate(str(striped.path))[0]


def test_every_scene_is_in_its_own_utm_zone_with_nodata_and_a_colour_map(scenes: tuple[Scene, ...]) -> None:
    for scene in scenes:
        with rasterio.open(scene.path) as dataset:
            assert dataset.crs.to_epsg() == scene.tile.epsg
            assert dataset.nodata == NODATA
            assert dataset.dtypes == ("uint8",)
            assert dataset.shape == scene.shape
            assert tuple(dataset.transform) == tuple(scene.transform)
            assert dataset.colormap(1)[BUILT][:3] == CLASSES[BUILT][1]


def test_a_scene_holds_known_classes_and_a_turned_edge_of_nodata(scenes: tuple[Scene, ...]) -> None:
    for scene in scenes:
        values = set(np.unique(pixels(scene)).tolist())
        assert values <= set(CLASSES)
        assert len(values) >= 7
        assert 0 < np.mean(pixels(scene) == NODATA) < 0.1


def test_neighbours_show_the_same_ground_where_they_overlap(scenes: tuple[Scene, ...]) -> None:
    west, east = scenes[0], scenes[2]
    step = 10 / 111_320
    common = Affine(step, 0, east.bbox[0], 0, -step, east.bbox[1] + 300 * step)
    left, right = (on_a_common_grid(scene, common, 50) for scene in (west, east))
    both = (left != NODATA) & (right != NODATA)
    assert both.sum() > 500
    assert np.mean(left[both] == right[both]) > 0.8  # two nearest-neighbour warps from two zones


def test_another_year_is_the_same_place_a_little_changed(scenes: tuple[Scene, ...]) -> None:
    now, before = pixels(scenes[0]), pixels(scenes[4])
    changed = np.mean(now != before)
    assert 0.001 < changed < 0.2
    assert (now == BUILT).sum() > (before == BUILT).sum()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    def content(folder: str, seed: int) -> bytes:
        (scene,) = make_scenes(tmp_path / folder, [("23M", 2023)], seed=seed, side=256)
        return scene.path.read_bytes()

    assert content("a", 7) == content("b", 7)
    assert content("c", 8) != content("a", 7)


def test_previews_and_the_thumbnail_are_pngs_in_colour(scenes: tuple[Scene, ...], thumbnail: Path) -> None:
    for path in (*(scene.preview for scene in scenes), thumbnail):
        assert path.read_bytes().startswith(b"\x89PNG")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                assert dataset.count == 4
                assert len(np.unique(dataset.read(1))) > 3


def test_no_sidecar_files_are_left(scenes: tuple[Scene, ...]) -> None:
    assert {path.suffix for path in scenes[0].path.parent.iterdir()} == {".tif", ".png"}
