"""The fast encoders: the pixels are those that GDAL's pictures of the same array have."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rio_tiler.colormap import cmap
from rio_tiler.models import ImageData

from graticule.tiler import encoding
from graticule.tiler.encoding import encode, encode_classes, rescaled, table

# rio-tiler says that it cuts values of 16 bits down to 8 where a map has 256 colours; so do we.
pytestmark = pytest.mark.filterwarnings("ignore:Input array is of type uint16")

SHAPE = (64, 48)
RANDOM = np.random.default_rng(3)
HALF = np.tile(np.arange(SHAPE[1]) < 20, (SHAPE[0], 1))
#: Class → colour; one is half transparent, and most values have none.
CLASSES = {0: (0, 0, 0, 0), 10: (255, 0, 0, 255), 20: (0, 255, 0, 128), 200: (1, 2, 3, 255)}


def _bands(count: int, dtype: str = "uint8", most: int = 256) -> NDArray[Any]:
    return RANDOM.integers(0, most, (count, *SHAPE), dtype=dtype)


def _colours(picture: bytes | None) -> NDArray[np.uint8]:
    assert picture is not None
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGBA"))


def _expected(values: NDArray[Any], valid: NDArray[np.bool_] | None, colormap: Any = None) -> NDArray[np.uint8]:
    """The colours of rio-tiler's PNG; where nothing shows, whatever colour it has."""
    mask = np.zeros(values.shape, bool) if valid is None else np.broadcast_to(~valid, values.shape)
    image = ImageData(np.ma.MaskedArray(values, mask=mask.copy()))
    return _colours(image.render(img_format="PNG", colormap=colormap))


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("valid", [None, HALF, np.ones(SHAPE, bool), np.zeros(SHAPE, bool)])
@pytest.mark.parametrize("missing", ["", "fpng"])
def test_a_png_holds_the_same_pixels(
    bands: int, valid: NDArray[np.bool_] | None, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing:
        monkeypatch.setattr(encoding, missing, None)
    values = _bands(bands)
    np.testing.assert_array_equal(_colours(encode(values, valid, "png")), _expected(values, valid))


def test_alpha_is_there_only_where_something_is_transparent() -> None:
    for valid, mode in ((None, "RGB"), (np.ones(SHAPE, bool), "RGB"), (HALF, "RGBA")):
        picture = encode(_bands(3), valid, "png")
        assert picture is not None
        with Image.open(io.BytesIO(picture)) as image:
            assert image.mode == mode


@pytest.mark.parametrize(
    "colormap", [CLASSES, cmap.get("viridis"), [((0, 15), (9, 8, 7, 255)), ((15, 99), (1, 1, 1, 9))]]
)
@pytest.mark.parametrize("valid", [None, HALF, "zeros"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_classes_have_the_same_colours(colormap: Any, valid: Any, dtype: str) -> None:
    values = (_bands(1, dtype, 12) * 10).astype(dtype)
    if isinstance(valid, str):
        valid = values[0] != 0  # as nodata: every pixel of a value is transparent, so a palette can say it
    colors = table(colormap, values.dtype)
    assert colors is not None
    everywhere = np.ones(SHAPE, bool) if valid is None else valid
    found = _colours(encode_classes(values[0], everywhere, colors, "png"))
    np.testing.assert_array_equal(found, _expected(values, valid, colormap))


def test_classes_are_a_trimmed_palette_where_that_can_be() -> None:
    values = np.array([[0, 10], [10, 20]], "uint8")
    colors = table(CLASSES, values.dtype)
    assert colors is not None
    picture = encode_classes(values, values != 0, colors, "png")
    assert picture is not None
    with Image.open(io.BytesIO(picture)) as image:
        assert image.mode == "P"
        assert len(image.getpalette() or ()) == 3 * 21
    other = encode_classes(values, np.array([[True, True], [False, True]]), colors, "png")
    assert other is not None
    with Image.open(io.BytesIO(other)) as image:  # 10 shows in one place and not in another
        assert image.mode == "RGBA"


@pytest.mark.parametrize("name", ["jpeg", "webp"])
@pytest.mark.parametrize("bands", [1, 3])
def test_lossy_pictures_are_close(name: str, bands: int) -> None:
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    values = np.stack([128 + 60 * np.sin(rows / 9) + 60 * np.cos(columns / 7)] * bands).clip(0, 255).astype("uint8")
    found = _colours(encode(values, None, name))
    assert np.abs(found[..., 0].astype(int) - values[0]).mean() < 3
    assert (found[..., 3] == 255).all()
    if name == "webp":
        transparent = _colours(encode(values, HALF, name))
        np.testing.assert_array_equal(transparent[..., 3] > 0, HALF)


@pytest.mark.parametrize(("library", "name"), [("simplejpeg", "jpeg"), ("_pillow", "webp")])
def test_a_library_may_be_missing(library: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert encode(_bands(3), None, name) is not None
    monkeypatch.setattr(encoding, library, None)
    assert encode(_bands(3), None, name) is None


def test_what_is_no_picture_of_8_bits_is_left_to_gdal() -> None:
    assert encode(_bands(3, "uint16"), None, "png") is None
    assert encode(_bands(2), None, "png") is None
    assert encode(_bands(3), None, "jp2") is None
    assert table(CLASSES, np.dtype("float32")) is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("pairs", [((0.0, 200.0),), ((10.0, 100.0), (0.0, 255.0), (-5.5, 3000.0))])
def test_rescaling_is_rio_tilers(dtype: str, pairs: tuple[tuple[float, float], ...]) -> None:
    values = RANDOM.integers(0, np.iinfo(dtype).max, (3, *SHAPE)).astype(dtype)
    mask = np.broadcast_to(~HALF, values.shape).copy()
    expected = ImageData(np.ma.MaskedArray(values.copy(), mask=mask.copy())).rescale(list(pairs)).array
    found = rescaled(np.ma.MaskedArray(values, mask=mask), pairs)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert rescaled(np.ma.MaskedArray(values.astype("float32")), pairs) is None
