"""Rasters come through with everything they had, checked with plain rasterio and rio-cogeo."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rio_cogeo.cogeo import cog_validate

from graticule.errors import CogTransformationError, EmptyAsset
from graticule.ingestion.conversion import ConversionResult, Georeference, Outcome, SidecarKind
from graticule.ingestion.conversion.models import COG_MEDIA_TYPE
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.settings import load_settings

from .conftest import MakeRaster, MakeRequest

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.asyncio(loop_scope="module"),
]

ENDINGS = {".tif", ".jpg", ".jpeg", ".png", ".jp2"}
SIDECARS = {
    ".jgw": SidecarKind.WORLD_FILE,
    ".pgw": SidecarKind.WORLD_FILE,
    ".prj": SidecarKind.PROJECTION,
    ".msk": SidecarKind.MASK,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConversionPool]:
    """One pool for all of this module: most of a test's time would be the start of a process."""
    folder = tmp_path_factory.mktemp("pool")
    async with ConversionPool(load_settings(data_dir=folder, conversion_processes=2), folder) as pool:
        yield pool


def assert_same_raster(source: Path, result: Path, *, is_placed_by_sidecar: bool = False) -> None:
    """Every pixel and every fact about them; metadata tags that the source has."""
    with rasterio.open(source) as before, rasterio.open(result) as after:
        assert (before.width, before.height, before.dtypes) == (after.width, after.height, after.dtypes)
        for row in range(0, before.height, 1024):
            window = ((row, min(row + 1024, before.height)), (0, before.width))
            assert before.read(window=window).tobytes() == after.read(window=window).tobytes()
            for band in before.indexes:
                assert np.array_equal(before.read_masks(band, window=window), after.read_masks(band, window=window))
        assert before.transform.almost_equals(after.transform, precision=1e-9)
        if not is_placed_by_sidecar:
            assert before.crs == after.crs
        for name in ("scales", "offsets", "units", "descriptions", "colorinterp", "mask_flag_enums"):
            assert getattr(before, name) == getattr(after, name), name
        for one, other in zip(before.nodatavals, after.nodatavals, strict=True):
            assert one == other or (math.isnan(one) and math.isnan(other))
        assert _gcps(before) == _gcps(after)
        assert not before.gcps[0] or before.gcps[1] == after.gcps[1]
        assert (before.rpcs and before.rpcs.to_dict()) == (after.rpcs and after.rpcs.to_dict())
        assert _colormap(before) == _colormap(after)
        assert before.tags().items() <= after.tags().items()
        for band in before.indexes:
            assert before.tags(band).items() <= after.tags(band).items()


def assert_true_facts(result: ConversionResult) -> None:
    """What the child said of the file, against rasterio's own answers."""
    facts = result.facts
    with rasterio.open(result.path) as dataset:
        assert (facts.width, facts.height, facts.count) == (dataset.width, dataset.height, dataset.count)
        assert tuple(band.dtype for band in facts.bands) == dataset.dtypes
        assert tuple(band.scale for band in facts.bands) == dataset.scales
        assert tuple(band.offset for band in facts.bands) == dataset.offsets
        assert tuple(band.color for band in facts.bands) == tuple(color.name for color in dataset.colorinterp)
        for band, nodata in zip(facts.bands, dataset.nodatavals, strict=True):
            assert band.nodata == nodata or (band.nodata == "nan" and math.isnan(nodata))
        if facts.transform is None:
            assert dataset.transform.is_identity
            return
        assert facts.transform == tuple(dataset.transform)[:6]
        assert facts.crs is None or rasterio.CRS.from_user_input(facts.crs) == dataset.crs
        if not (dataset.transform.b or dataset.transform.d):
            west, south, east, north = dataset.bounds
            assert facts.bbox == pytest.approx((west, min(south, north), east, max(south, north)))


def _gcps(dataset: Any) -> list[tuple[Any, ...]]:
    return [(point.row, point.col, point.x, point.y, point.z) for point in dataset.gcps[0]]


def _colormap(dataset: Any) -> Any:
    try:
        return dataset.colormap(1)
    except ValueError:
        return None


def assert_is_cog(path: Path) -> None:
    valid, faults, remarks = cog_validate(path, strict=True, quiet=True)
    assert valid, faults + remarks


def _sidecars_beside(path: Path) -> dict[SidecarKind, Path]:
    beside = [other for other in path.parent.iterdir() if other != path and other.name.startswith(path.stem)]
    return {SIDECARS[other.suffix]: other for other in beside if other.suffix in SIDECARS}


async def test_every_real_raster_comes_through(
    test_data: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    rasters = [
        path
        for path in sorted((test_data / "raster").rglob("*"))
        if path.suffix.lower() in ENDINGS and path.parent.name != "corrupt"
    ]
    assert len(rasters) > 60

    async def check(path: Path) -> Outcome:
        # The tiny rotated one has no CRS: only as a picture it is accepted.
        roles = ("visual",) if path.name == "rotated_tiny.tif" else ("data",)
        result = await pool.convert(make_request(path, roles=roles, sidecars=_sidecars_beside(path)))
        await asyncio.to_thread(check_one, path, result)
        return result.outcome

    def check_one(path: Path, result: ConversionResult) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            if result.outcome is Outcome.CONVERTED:
                assert_is_cog(result.path)
                assert_same_raster(path, result.path, is_placed_by_sidecar=path.parent.name == "worldfile")
                with rasterio.open(result.path) as cog:
                    assert cog.crs or cog.gcps[1]
                    assert result.facts.size_bytes == result.path.stat().st_size
                assert result.media_type == COG_MEDIA_TYPE
            else:
                assert result.path == path
            assert_true_facts(result)
            assert (result.outcome is Outcome.COPIED) == (
                result.facts.crs is not None and cog_validate(path, quiet=True)[0] and result.path == path
            )

    outcomes = await asyncio.gather(*(check(path) for path in rasters))
    assert {outcome: outcomes.count(outcome) for outcome in Outcome}.keys() == set(Outcome)
    for path, outcome in zip(rasters, outcomes, strict=True):
        if path.parent.name in ("striped", "worldfile", "jpeg2000"):
            assert outcome is Outcome.CONVERTED, path.name
        if path.parent.name in ("landsat", "mosaic_world"):
            assert outcome is Outcome.COPIED, path.name


@pytest.mark.parametrize("name", ["cog_truncated.tif", "corrupt_jpeg_tiles.tif", "naip_truncated.tif"])
async def test_damaged_files_fail(name: str, test_data: Path, pool: ConversionPool, make_request: MakeRequest) -> None:
    request = make_request(test_data / "raster" / "corrupt" / name)
    with pytest.raises(CogTransformationError, match=rf"asset '{name}': .*upload it again") as failure:
        await pool.convert(request)
    assert not failure.value.retriable
    assert not request.output.exists()


@pytest.mark.parametrize(
    "where",
    [
        "striped/RGB.byte.tif",
        "worldfile/bahamas_l7.jpg",
        "jpeg2000/s2_tci_crop.jp2",
        "worldfile/landsat_antarctic_16bit.png",
    ],
)
async def test_a_file_cut_off_in_the_middle_fails(
    where: str, test_data: Path, tmp_path: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    whole = (test_data / "raster" / where).read_bytes()
    cut = tmp_path / Path(where).name
    cut.write_bytes(whole[: len(whole) * 3 // 5])
    place = Georeference(transform=(30, 0, 0, 0, -30, 0), crs="EPSG:32618")
    with pytest.raises(CogTransformationError, match="damaged"):
        await pool.convert(make_request(cut, georeference=place))


async def test_a_damaged_block_of_a_striped_file_fails(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(compress="deflate", tiled=False, blockysize=16)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(CogTransformationError, match="cannot be read"):
        await pool.convert(make_request(path))


async def test_a_damaged_block_of_a_cog_fails(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(driver="COG", compress="deflate")
    content = bytearray(path.read_bytes())
    content[-3000:-2000] = b"\xff" * 1000
    path.write_bytes(content)
    with pytest.raises(CogTransformationError, match="cannot be read"):
        await pool.convert(make_request(path))


def _describe(dataset: Any) -> None:
    dataset.scales, dataset.offsets, dataset.units = (0.5,), (-10.0,), ("m",)
    dataset.set_band_description(1, "height above ground")
    dataset.update_tags(SURVEY="third", AREA_OR_POINT="Point")
    dataset.update_tags(1, SENSOR="lidar")


def _colour(dataset: Any) -> None:
    dataset.write_colormap(1, {value: (value, 255 - value, 7, 255) for value in range(256)})


def _mask(dataset: Any) -> None:
    mask = np.full(dataset.shape, 255, dtype="uint8")
    mask[100:300, 50:500] = 0
    dataset.write_mask(mask)


def _gcp(dataset: Any) -> None:
    corners = [(0, 0, -75.5, 38.5), (0, 600, -75.0, 38.5), (700, 0, -75.5, 38.0), (700, 600, -75.0, 38.0)]
    dataset.gcps = ([GroundControlPoint(row, column, x, y, 0.0) for row, column, x, y in corners], "EPSG:4326")


def _rpc(dataset: Any) -> None:
    ones = [1.0] + [0.0] * 19
    dataset.rpcs = RPC(
        height_off=50.0,
        height_scale=50.0,
        lat_off=38.0,
        lat_scale=0.2,
        line_den_coeff=ones,
        line_num_coeff=[0.0, 0.0, -1.0] + [0.0] * 17,
        line_off=350.0,
        line_scale=350.0,
        long_off=-75.0,
        long_scale=0.2,
        samp_den_coeff=ones,
        samp_num_coeff=[0.0, 1.0] + [0.0] * 18,
        samp_off=300.0,
        samp_scale=300.0,
        err_bias=None,
        err_rand=None,
    )


def _flag_as_mask(dataset: Any) -> None:
    dataset.update_tags(INTERNAL_MASK_FLAGS_1=2)  # GDAL takes no .msk without


def _alpha(dataset: Any) -> None:
    dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)


NOISE = np.random.default_rng(7)
FLOATS = NOISE.normal(size=(700, 600)).astype("float32")
FLOATS[5:50] = np.nan
NOWHERE: dict[str, Any] = {"crs": None, "transform": None}
CASES: dict[str, dict[str, Any]] = {
    "scale, offset, unit, description and tags": {"finish": _describe},
    "colour map": {
        "values": NOISE.integers(0, 256, (700, 600), dtype="uint8"),
        "finish": _colour,
        "photometric": "palette",
    },
    "internal mask": {"finish": _mask},
    "ground control points only": {"finish": _gcp, **NOWHERE},
    "rpcs only": {"finish": _rpc, **NOWHERE},
    "alpha": {"values": NOISE.integers(0, 256, (4, 700, 600), dtype="uint8"), "finish": _alpha, "photometric": "rgb"},
    "nan as nodata": {"values": FLOATS, "nodata": math.nan},
    "float64 with predictor": {"values": FLOATS.astype("float64"), "compress": "lzw", "predictor": 3},
    "complex64": {"values": (FLOATS + 1j * FLOATS).astype("complex64")},
    "int8": {"values": NOISE.integers(-128, 127, (700, 600), dtype="int8"), "nodata": -128},
    "one bit": {"values": NOISE.integers(0, 2, (700, 600), dtype="uint8"), "nbits": 1},
    "twelve bits": {"values": NOISE.integers(0, 4096, (700, 600), dtype="uint16"), "nbits": 12},
    "int64": {"values": NOISE.integers(-(2**60), 2**60, (700, 600), dtype="int64")},
    "jpeg tiles": {
        "values": NOISE.integers(90, 99, (3, 700, 600), dtype="uint8"),
        "compress": "jpeg",
        "photometric": "ycbcr",
        "interleave": "pixel",
    },
    "lerc": {"values": FLOATS, "compress": "lerc", "max_z_error": 0},
    "bands apart": {
        "values": NOISE.integers(0, 9999, (5, 700, 600), dtype="uint16"),
        "interleave": "band",
        "bigtiff": "yes",
    },
    "south up and sheared": {"transform": rasterio.Affine(10, 2, 500_000, 3, 10, 4_000_000)},
    "a crs without code": {
        "crs": "+proj=laea +lat_0=47.123 +lon_0=8.77 +x_0=12345 +y_0=6789 +ellps=bessel +units=m +no_defs"
    },
    "big endian": {"endianness": "big"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:.*shape transforms.*")
async def test_nothing_is_lost(
    case: str, make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(**CASES[case])
    result = await pool.convert(make_request(path))
    assert result.outcome is Outcome.CONVERTED
    assert_is_cog(result.path)
    assert_same_raster(path, result.path)


async def test_a_cog_comes_back_as_it_is(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(driver="COG", compress="lzw")
    request = make_request(path)
    before = path.read_bytes()
    result = await pool.convert(request)
    assert (result.outcome, result.path, result.media_type) == (Outcome.COPIED, path, COG_MEDIA_TYPE)
    assert path.read_bytes() == before
    assert not request.output.exists()
    assert (result.facts.crs, result.facts.dtype, result.facts.width) == ("EPSG:32618", "uint16", 600)
    assert result.facts.transform == (30, 0, 200_000, 0, -30, 4_000_000)


async def test_a_cog_that_was_edited_is_made_anew(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(driver="COG", compress="deflate")
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.write(NOISE.integers(0, 60000, (1, 700, 600), dtype="uint16"))
    result = await pool.convert(make_request(path))
    assert result.outcome is Outcome.CONVERTED
    assert_same_raster(path, result.path)


async def test_classes_are_never_averaged(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    values = NOISE.choice(np.array([10, 90], dtype="uint8"), (1400, 1200))
    found = make_raster("found.tif", values=values)
    quantities = make_raster("quantities.tif", values=NOISE.integers(0, 60000, (1400, 1200), dtype="uint16"))
    for path, has_classes in ((found, False), (quantities, True)):
        result = await pool.convert(make_request(path, has_classes=has_classes))
        with rasterio.open(path) as source, rasterio.open(result.path, OVERVIEW_LEVEL=0) as overview:
            assert np.isin(overview.read(1), source.read(1)).all()


async def test_quantities_are_averaged_in_overviews(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(values=NOISE.integers(0, 60000, (1400, 1200), dtype="uint16"))
    result = await pool.convert(make_request(path))
    with rasterio.open(path) as source, rasterio.open(result.path, OVERVIEW_LEVEL=0) as overview:
        means = source.read(1).reshape(700, 2, 600, 2).mean(axis=(1, 3))
        assert np.abs(overview.read(1) - means).max() <= 1


async def test_an_image_is_placed_by_its_world_file_and_prj(
    test_data: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    for name, code in (("bahamas_l7.jpg", 32618), ("landsat_antarctic_16bit.png", 3031)):
        path = test_data / "raster" / "worldfile" / name
        result = await pool.convert(make_request(path, sidecars=_sidecars_beside(path)))
        assert_same_raster(path, result.path, is_placed_by_sidecar=True)
        with rasterio.open(result.path) as cog:
            assert cog.crs == rasterio.CRS.from_epsg(code)


@pytest.mark.parametrize("where", ["plain_image/389225main_sw_1965_1024.jpg", "worldfile/landsat_antarctic_16bit.png"])
async def test_an_image_is_placed_by_its_item(
    where: str, test_data: Path, tmp_path: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = shutil.copy(test_data / "raster" / where, tmp_path)
    with rasterio.open(path) as source:
        shape = source.shape
    place = Georeference(transform=(0.1, 0, -20.5, 0, -0.2, 60.25), crs="EPSG:4326", shape=shape)
    result = await pool.convert(make_request(Path(path), georeference=place))
    assert (result.outcome, result.facts.crs, result.facts.transform) == (
        Outcome.CONVERTED,
        "EPSG:4326",
        place.transform,
    )
    with rasterio.open(path) as source, rasterio.open(result.path) as cog:
        assert np.array_equal(source.read(), cog.read())
        assert cog.bounds.left == -20.5


async def test_a_tiff_with_a_transform_takes_only_the_crs_from_its_item(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(crs=None)
    crs = json.dumps(rasterio.CRS.from_epsg(5070).to_dict(projjson=True))
    result = await pool.convert(make_request(path, georeference=Georeference(transform=(1, 0, 0, 0, -1, 0), crs=crs)))
    assert (result.facts.transform, result.facts.crs) == ((30, 0, 200_000, 0, -30, 4_000_000), "EPSG:5070")


async def test_a_transform_of_another_shape_is_not_used(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    place = Georeference(transform=(1, 0, 0, 0, -1, 0), crs="EPSG:4326", shape=(70, 60))
    with pytest.raises(CogTransformationError, match="not georeferenced"):
        await pool.convert(make_request(make_raster(**NOWHERE), georeference=place))


async def test_an_unknown_crs_of_the_item_fails(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    place = Georeference(transform=(1, 0, 0, 0, -1, 0), crs="EPSG:999999")
    with pytest.raises(CogTransformationError, match="proj:code"):
        await pool.convert(make_request(make_raster(**NOWHERE), georeference=place))


async def test_a_mask_beside_a_cog_is_taken_in(
    make_raster: MakeRaster, tmp_path: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster("masked.tif", driver="COG")
    mask = make_raster(
        "mask.tif", values=np.where(np.indices((700, 600))[0] > 300, 255, 0).astype("uint8"), finish=_flag_as_mask
    )
    mask.rename(tmp_path / "sidecar")
    result = await pool.convert(make_request(path, sidecars={SidecarKind.MASK: tmp_path / "sidecar"}))
    with rasterio.open(result.path) as cog:
        assert cog.mask_flag_enums[0] == [MaskFlags.per_dataset]
        assert (cog.read_masks(1)[:301] == 0).all()
        assert (cog.read_masks(1)[301:] == 255).all()


async def test_overviews_beside_a_tiff_are_taken_in(
    make_raster: MakeRaster, tmp_path: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(compress="deflate")
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2], rasterio.enums.Resampling.nearest)
    overviews = path.with_name(path.name + ".ovr").rename(tmp_path / "sidecar")
    result = await pool.convert(make_request(path, sidecars={SidecarKind.OVERVIEWS: overviews}))
    assert_is_cog(result.path)
    with rasterio.open(path) as source, rasterio.open(result.path, OVERVIEW_LEVEL=0) as overview:
        assert np.array_equal(overview.read(1), source.read(1)[::2, ::2])


async def test_facts_of_an_aux_xml_are_kept_and_its_references_are_not(
    make_raster: MakeRaster, tmp_path: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    other = make_raster("other.tif", values=np.full((350, 300), 9, dtype="uint16"))
    pam = tmp_path / "side.xml"
    pam.write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{other}</MDI></Metadata>'
        '<PAMRasterBand band="1"><NoDataValue>12</NoDataValue><Description>depth</Description></PAMRasterBand>'
        "</PAMDataset>"
    )
    result = await pool.convert(make_request(make_raster(), sidecars={SidecarKind.PAM: pam}))
    with rasterio.open(result.path) as cog:
        assert (cog.nodata, cog.descriptions) == (12, ("depth",))
    with rasterio.open(result.path, OVERVIEW_LEVEL=0) as overview:
        assert (overview.read(1) != 9).any()


async def test_a_tiff_that_names_another_file_as_overviews_fails(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(
        finish=lambda dataset: dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/vsicurl/http://127.0.0.1/a.tif")
    )
    with pytest.raises(CogTransformationError, match="refers to another file"):
        await pool.convert(make_request(path))


async def test_a_plain_image_is_left_as_it_is(test_data: Path, pool: ConversionPool, make_request: MakeRequest) -> None:
    path = test_data / "raster" / "plain_image" / "389225main_sw_1965_1024.jpg"
    result = await pool.convert(make_request(path))
    assert (result.outcome, result.path, result.media_type) == (Outcome.UNTOUCHED, path, None)
    assert (result.facts.driver, result.facts.crs, result.facts.transform) == ("JPEG", None, None)


async def test_a_tiff_without_place_fails_as_data_and_stays_as_picture(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster(**NOWHERE)
    with pytest.raises(CogTransformationError, match=r"asset 'made.tif': .*not georeferenced.*proj:transform"):
        await pool.convert(make_request(path))
    assert (await pool.convert(make_request(path, roles=("visual",)))).outcome is Outcome.UNTOUCHED


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "HTML"),
        (b'<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code></Error>', "XML"),
        (b"<VRTDataset rasterXSize='1' rasterYSize='1'><VRTRasterBand/></VRTDataset>", "XML"),
        (b'{"error": "expired"}', "JSON"),
        (b"/vsicurl/http://127.0.0.1:9/a.tif", "not a raster"),
        (b"PK\x03\x04rest", "archive"),
        (b"GRIB\0\0\0\2", "not a raster"),
        (b"II*\0\x08\0\0\0", "cannot be opened"),
        (b"\x89PNG\r\n\x1a\n", "cannot be opened"),
        (b"\xff\xd8\xff\xe0", "cannot be opened"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "cannot be opened"),
    ],
)
async def test_what_is_no_raster_fails_by_its_looks(
    content: bytes, words: str, tmp_path: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = tmp_path / "asset.tif"
    path.write_bytes(content)
    with pytest.raises(CogTransformationError, match=words) as failure:
        await pool.convert(make_request(path))
    assert str(tmp_path) not in str(failure.value)


async def test_an_empty_file_fails_as_empty(tmp_path: Path, pool: ConversionPool, make_request: MakeRequest) -> None:
    path = tmp_path / "asset.tif"
    path.touch()
    with pytest.raises(EmptyAsset, match=r"asset 'asset.tif'"):
        await pool.convert(make_request(path))


@pytest.mark.parametrize(("side", "words"), [(1_000_000, "split it"), (300_000, "bomb")])
async def test_decompression_bombs_fail_at_once(
    side: int, words: str, tmp_path: Path, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=1, dtype="uint8", crs="EPSG:3857", sparse_ok=True,
        transform=rasterio.Affine(1, 0, 0, 0, -1, 0), tiled=True, blockxsize=16384, blockysize=16384, bigtiff="YES",
    ):  # fmt: skip
        pass
    assert path.stat().st_size < 200_000
    with pytest.raises(CogTransformationError, match=words):
        await pool.convert(make_request(path))


async def test_several_pages_are_not_silently_reduced_to_one(
    make_raster: MakeRaster, pool: ConversionPool, make_request: MakeRequest
) -> None:
    path = make_raster()
    make_raster(append_subdataset=True)
    with rasterio.open(path) as dataset:
        assert len(dataset.subdatasets) == 2
    with pytest.raises(CogTransformationError, match="2 pages"):
        await pool.convert(make_request(path))
    assert (await pool.convert(make_request(path, roles=()))).outcome is Outcome.UNTOUCHED
