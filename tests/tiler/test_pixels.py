"""Pixel truth: what the catalog answers about real rasters is what rio-tiler answers about the same file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from rio_tiler.io import Reader
from rio_tiler.models import ImageData

from tiler.served import Tiled, array, bounds_of, colours, tiled

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

#: Item → asset → file of the test data.
RASTERS = {
    "rgb": {"image": "sentinel2/TCI.tif"},
    "sentinel": {"B01": "sentinel2/B01.tif", "B09": "sentinel2/B09.tif"},
    "landsat": {"band": "landsat/cog_uint16.tif"},
    "naip": {"image": "naip/m_4112001_sw_10_060_20220716.tif"},
    "dem": {"dem": "dem/dem_epsg2056.tif"},
    "palette": {"classes": "landcover/cog_cmap.tif"},
    "mask": {"image": "aerial/201404_13SED190110_CL_1_mask.tif"},
    "alpha": {"image": "aerial/201404_13SED190110_CL_1_alpha.tif"},
    "degrees": {"image": "aerial/naip_rmnp_rgb_4326.tif"},
    "scaled": {"values": "odd/cog_scale_offset.tif"},
    "int16": {"values": "odd/nodata_int16.tif"},
    "years": {"cover": "landcover/above_annual_31band.tif"},
}
SINGLE = [(item, *assets) for item, assets in RASTERS.items() if len(assets) == 1]
WEB = morecantile.tms.get("WebMercatorQuad")


@pytest.fixture(scope="module")
def catalog(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    items = {
        item: {key: test_data / "raster" / name for key, name in assets.items()} for item, assets in RASTERS.items()
    }
    with tiled(tmp_path_factory.mktemp("tiler"), items) as running:
        yield running


def middle_tile(path: Path, *, deeper: int = 0, tms: morecantile.TileMatrixSet = WEB) -> morecantile.Tile:
    west, south, east, north = bounds_of(path)
    with Reader(str(path), tms=tms) as reader:
        zoom = min(max(reader.maxzoom + deeper, tms.minzoom), tms.maxzoom)
    return tms.tile((west + east) / 2, (south + north) / 2, zoom)


def same(found: np.ndarray[Any, Any], expected: ImageData) -> None:
    """An npy answer against rio-tiler's image: valid pixels and mask, bit for bit."""
    mask = expected.mask
    np.testing.assert_array_equal(found[-1], mask)
    np.testing.assert_array_equal(found[:-1], expected.array.data)


@pytest.mark.parametrize(("item", "asset"), SINGLE)
@pytest.mark.parametrize("deeper", [-3, 0, 1])
def test_a_tile_is_rio_tilers(catalog: Tiled, item: str, asset: str, deeper: int) -> None:
    path = catalog.file(item, asset)
    tile = middle_tile(path, deeper=deeper)
    answer = catalog.get(item, f"tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.npy", assets=asset)
    with Reader(str(path)) as reader:
        same(array(answer), reader.tile(tile.x, tile.y, tile.z))
    assert answer.headers["content-type"] == "application/x-binary"


@pytest.mark.parametrize(("item", "asset"), SINGLE)
def test_a_preview_is_rio_tilers(catalog: Tiled, item: str, asset: str) -> None:
    with Reader(str(catalog.file(item, asset))) as reader:
        same(array(catalog.get(item, "preview.npy", assets=asset, max_size=200)), reader.preview(max_size=200))


@pytest.mark.parametrize(("item", "asset"), SINGLE)
def test_a_box_is_rio_tilers(catalog: Tiled, item: str, asset: str) -> None:
    path = catalog.file(item, asset)
    west, south, east, north = bounds_of(path)
    box = (west + (east - west) / 4, south + (north - south) / 4, east, north)
    found = array(catalog.get(item, f"bbox/{','.join(map(str, box))}.npy", assets=asset))
    with Reader(str(path)) as reader:
        same(found, reader.part(box, max_size=1024))


@pytest.mark.parametrize(("item", "asset"), SINGLE)
def test_a_point_is_rio_tilers(catalog: Tiled, item: str, asset: str) -> None:
    path = catalog.file(item, asset)
    west, south, east, north = bounds_of(path)
    with Reader(str(path)) as reader:
        for part in (0.3, 0.5, 0.6):
            lon, lat = west + part * (east - west), south + part * (north - south)
            answer = catalog.get(item, f"point/{lon},{lat}", assets=asset).json()
            expected = reader.point(lon, lat)
            assert answer["coordinates"] == [lon, lat]
            assert answer["values"] == expected.array.tolist()
            assert answer["band_names"] == [f"{asset}_{name}" for name in expected.band_names]


@pytest.mark.parametrize(("item", "asset"), SINGLE)
def test_statistics_are_rio_tilers(catalog: Tiled, item: str, asset: str) -> None:
    answer = catalog.get(item, "statistics", assets=asset, max_size=256).json()
    with Reader(str(catalog.file(item, asset))) as reader:
        expected = reader.statistics(max_size=256)
    assert list(answer) == [f"{asset}_{name}" for name in expected]
    for name, statistics in expected.items():
        members = statistics.model_dump(exclude={"description"})
        assert answer[f"{asset}_{name}"] == members


def test_a_feature_is_cut_out(catalog: Tiled) -> None:
    path = catalog.file("rgb", "image")
    west, south, east, north = bounds_of(path)
    triangle = {
        "type": "Polygon",
        "coordinates": [[[west, south], [east, south], [(west + east) / 2, north], [west, south]]],
    }
    feature = {"type": "Feature", "properties": {"name": "t"}, "geometry": triangle}
    with Reader(str(path)) as reader:
        expected = reader.feature(triangle, max_size=300)
    same(array(catalog.post("rgb", "feature.npy", feature, assets="image", max_size=300)), expected)
    bare = catalog.post("rgb", "feature", feature, assets="image", max_size=300, format="npy")
    same(array(bare), expected)
    sized = array(catalog.post("rgb", "feature/100x50.npy", feature, assets="image"))
    assert sized.shape == (4, 50, 100)
    found = catalog.post("rgb", "statistics", feature, assets="image", max_size=300).json()
    coverage = expected.get_coverage_array(triangle)
    statistics = expected.statistics(coverage=coverage)
    assert found["properties"]["name"] == "t"
    assert found["geometry"] == triangle
    assert found["properties"]["statistics"]["image_b1"]["mean"] == pytest.approx(statistics["b1"].mean)
    assert found["properties"]["statistics"]["image_b1"]["count"] == pytest.approx(statistics["b1"].count)


def test_several_assets_become_bands_in_the_order_they_are_named(catalog: Tiled) -> None:
    path = catalog.file("sentinel", "B01")
    tile = middle_tile(path)
    url = f"tiles/{tile.z}/{tile.x}/{tile.y}.npy"
    found = array(catalog.get("sentinel", url, assets=["B09", "B01"]))
    with Reader(str(path)) as first, Reader(str(catalog.file("sentinel", "B09"))) as ninth:
        one, nine = (reader.tile(tile.x, tile.y, tile.z) for reader in (first, ninth))
    np.testing.assert_array_equal(found[0], nine.array.data[0])
    np.testing.assert_array_equal(found[1], one.array.data[0])
    for text in ("(B09_b1 - B01_b1) / (B09_b1 + B01_b1)", "(b2-b1)/(b2+b1)", "(B09-B01)/(B09+B01)"):
        query = {"expression": text, "asset_as_band": "true"} | ({"assets": ["B01", "B09"]} if "b2" in text else {})
        index = array(catalog.get("sentinel", url, **query))
        expected = ImageData.create_from_list([one, nine])
        expected.band_names = ["b1", "b2"]
        np.testing.assert_array_equal(index[0], expected.apply_expression("(b2-b1)/(b2+b1)").array.data[0])


def test_parameters_of_reading_are_handed_on(catalog: Tiled) -> None:
    path = catalog.file("scaled", "values")
    tile = middle_tile(path)
    url = f"tiles/{tile.z}/{tile.x}/{tile.y}.npy"
    with Reader(str(path)) as reader:
        same(array(catalog.get("scaled", url, assets="values", unscale="True")), reader.tile(*tile, unscale=True))
        same(array(catalog.get("scaled", url, assets="values", nodata="500")), reader.tile(*tile, nodata=500))
        expected = reader.tile(*tile, resampling_method="bilinear", reproject_method="cubic")
        same(array(catalog.get("scaled", url, assets="values", resampling="bilinear", reproject="cubic")), expected)
        expected = reader.tile(*tile, buffer=1.5, padding=4)
        same(array(catalog.get("scaled", url, assets="values", buffer="1.5", padding="4")), expected)
    doubled = array(catalog.get("scaled", f"tiles/{tile.z}/{tile.x}/{tile.y}@2x.npy", assets="values"))
    assert doubled.shape == (2, 512, 512)


@pytest.mark.parametrize("name", ["WGS1984Quad", "EuropeanETRS89_LAEAQuad", "UTM31WGS84Quad", "WorldCRS84Quad"])
def test_tiles_of_other_matrix_sets_are_rio_tilers(catalog: Tiled, name: str) -> None:
    path = catalog.file("rgb", "image")
    tms = morecantile.tms.get(name)
    tile = middle_tile(path, tms=tms)
    with Reader(str(path), tms=tms) as reader:
        expected = reader.tile(*tile)
    same(array(catalog.get("rgb", f"tiles/{name}/{tile.z}/{tile.x}/{tile.y}.npy", assets="image")), expected)
    in_query = catalog.get("rgb", f"tiles/{tile.z}/{tile.x}/{tile.y}.npy", assets="image", TileMatrixSetId=name)
    same(array(in_query), expected)


def test_every_format_holds_the_same_picture(catalog: Tiled) -> None:
    path = catalog.file("rgb", "image")
    tile = middle_tile(path, deeper=1)
    with Reader(str(path)) as reader:
        expected = reader.tile(*tile)
    url = f"tiles/{tile.z}/{tile.x}/{tile.y}"
    kinds = {
        "png": "image/png",
        "pngraw": "image/png",
        "jpeg": "image/jpeg",
        "jpg": "image/jpeg",
        "webp": "image/webp",
        "jp2": "image/jp2",
        "tif": "image/tiff; application=geotiff",
    }
    for name, media_type in kinds.items():
        answer = catalog.get("rgb", f"{url}.{name}", assets="image")
        assert answer.status_code == 200, (name, answer.text)
        assert answer.headers["content-type"] == media_type
        with rasterio.MemoryFile(answer.content) as memory, memory.open() as dataset:
            bands = dataset.read((1, 2, 3))
            if name == "tif":
                assert dataset.crs.to_epsg() == 3857
                assert dataset.bounds == pytest.approx(tuple(WEB.xy_bounds(tile)))
        if name == "tif":
            np.testing.assert_array_equal(bands, expected.array.data)
        elif name in {"png", "pngraw"}:  # positions may be off by a fraction of a pixel: see test_nearest
            assert (bands != expected.array.data).any(axis=0).mean() < 0.1
        else:
            assert np.abs(bands.astype(int) - expected.array.data).mean() < 8, name
    unset = catalog.get("rgb", url, assets="image")
    assert unset.headers["content-type"] == ("image/png" if expected.array.mask.any() else "image/jpeg")
    edge = WEB.tile(*bounds_of(path)[:2], tile.z)
    assert catalog.get("rgb", f"tiles/{edge.z}/{edge.x}/{edge.y}", assets="image").headers["content-type"] == (
        "image/png"
    )


def test_colours(catalog: Tiled) -> None:
    path = catalog.file("palette", "classes")
    tile = middle_tile(path, deeper=-2)
    url = f"tiles/{tile.z}/{tile.x}/{tile.y}.png"
    with Reader(str(path)) as reader:
        expected = reader.tile(*tile)
        palette = reader.colormap
    drawn = colours(catalog.get("palette", url, assets="classes").content)
    shown = expected.render(colormap=palette)
    np.testing.assert_array_equal(drawn, colours(shown))
    value = int(np.bincount(expected.array.compressed()).argmax())
    answer = catalog.get("palette", url, assets="classes", colormap=f'{{"{value}": "#ff8000"}}')
    picture = colours(answer.content)
    hit = (expected.array.data[0] == value) & ~expected.array.mask[0]
    assert hit.any()
    assert (picture[hit] == (255, 128, 0, 255)).all()
    assert (picture[~hit][:, 3] == 0).all()
    ramp = catalog.get("dem", "preview.png", assets="dem", rescale="400,3000", colormap_name="Terrain", max_size=64)
    assert ramp.status_code == 200
    with Reader(str(catalog.file("dem", "dem"))) as reader:
        from rio_tiler.colormap import cmap  # noqa: PLC0415

        image = reader.preview(max_size=64)
        image.rescale([(400, 3000)])
        expected_png = image.render(colormap=cmap.get("terrain"))
    np.testing.assert_array_equal(colours(ramp.content), colours(expected_png))
    formula = catalog.get("rgb", "preview.png", assets="image", color_formula="gamma RGB 3.5, saturation 1.7")
    assert formula.status_code == 200


def test_algorithms_draw_heights(catalog: Tiled) -> None:
    tile = middle_tile(catalog.file("dem", "dem"))
    url = f"tiles/{tile.z}/{tile.x}/{tile.y}.npy"
    shape = {"hillshade": 1, "slope": 1, "contours": 3, "terrarium": 3, "terrainrgb": 3, "cast": 1, "ceil": 1}
    for name, bands in shape.items():
        answer = catalog.get("dem", url, assets="dem", algorithm=name)
        assert array(answer).shape == (bands + 1, 256, 256), name
    buffered = catalog.get(
        "dem", url, assets="dem", algorithm="hillshade", buffer="3", algorithm_params='{"azimuth": 90}'
    )
    assert array(buffered).shape == (2, 256, 256)
    heights = array(catalog.get("dem", url, assets="dem"))
    red, green, blue, _ = array(catalog.get("dem", url, assets="dem", algorithm="terrainrgb")).astype(float)
    decoded = -10000 + (red * 65536 + green * 256 + blue) * 0.1
    valid = heights[-1] > 0
    assert np.abs(decoded - heights[0])[valid].max() < 0.06
    reduced = array(catalog.get("years", "preview.npy", assets="cover", algorithm="max", max_size=64))
    assert reduced.shape[0] == 2
