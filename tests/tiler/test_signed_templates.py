"""Signed templates: what they open, what they do not, how they end; and GDAL, which sends no headers, draws by them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

import morecantile
import numpy as np
import pytest
import rasterio
import requests
from rasterio.warp import transform_bounds
from rasterio.windows import from_bounds

from tiler.served import COLLECTION, Tiled, bounds_of, colours

pytestmark = [pytest.mark.acceptance, pytest.mark.filterwarnings("ignore::UserWarning")]

Box = tuple[float, float, float, float]

WMTS = "{http://www.opengis.net/wmts/1.0}"


def bare(url: str) -> requests.Response:
    """``GET`` without any header that says who asks."""
    return requests.get(url, timeout=30)


def tilejson(catalog: Tiled, **query: Any) -> dict[str, Any]:
    answer = catalog.mosaic("tilejson.json", **{"assets": "image", "sign": "true"} | query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def with_query(url: str, **changes: str | None) -> str:
    """The URL with parameters changed, added, or (None) taken away."""
    parts = urlsplit(url)
    pairs = [(name, value) for name, value in parse_qsl(parts.query) if name not in changes]
    pairs += [(name, value) for name, value in changes.items() if value is not None]
    return parts._replace(query=urlencode(pairs)).geturl()


@pytest.fixture(scope="module")
def signed(mosaics: Tiled, middle_tile: morecantile.Tile) -> str:
    """The URL of a tile, filled into a signed template."""
    (template,) = tilejson(mosaics)["tiles"]
    filled: str = template.format(z=middle_tile.z, x=middle_tile.x, y=middle_tile.y)
    return filled


def test_a_signed_template_draws_without_a_token(mosaics: Tiled, signed: str) -> None:
    picture = bare(signed)
    assert picture.status_code == 200
    assert picture.content == mosaics.client.get(with_query(signed, signature=None, expires=None)).content
    assert bare(with_query(signed, signature=None, expires=None)).status_code == 401
    assert str(mosaics.client.headers["authorization"]).split()[-1] not in signed
    (unsigned,) = tilejson(mosaics, sign="false")["tiles"]
    assert "signature" not in unsigned


def test_it_holds_for_every_tile_scale_format_and_order_of_parameters(mosaics: Tiled) -> None:
    (template,) = tilejson(mosaics, rescale=["0,200", "0,100", "0,50"], pixel_selection="mean", tile_format="webp")[
        "tiles"
    ]
    west, south, east, north = bounds_of(mosaics.file("whole", "image"))
    for z in (5, 9):
        x, y, _ = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, z)
        assert bare(template.format(z=z, x=x, y=y)).status_code == 200
        assert bare(template.format(z=z, x=x, y=y).replace(".webp", "@2x.png")).status_code == 200
    filled = template.format(z=z, x=x, y=y)
    parts = urlsplit(filled)
    pairs = parse_qsl(parts.query)
    ordered = sorted(pairs, key=lambda pair: pair[0], reverse=True)
    assert bare(parts._replace(query=urlencode(ordered)).geturl()).status_code == 200
    swapped = [("rescale", "0,100") if pair == ("rescale", "0,200") else pair for pair in pairs]
    assert bare(parts._replace(query=urlencode(swapped)).geturl()).status_code == 403


@pytest.mark.parametrize(
    "changed",
    [
        lambda url: with_query(url, assets="other"),
        lambda url: with_query(url, ids="first"),
        lambda url: with_query(url, colormap_name="viridis"),
        lambda url: with_query(url, items_limit="10000"),
        lambda url: with_query(url, expires="9999999999"),
        lambda url: with_query(url, expires="x"),
        lambda url: with_query(url, expires=None),
        lambda url: with_query(url, signature="A" * 43),
        lambda url: with_query(url, signature="A"),
        lambda url: url.replace("/WebMercatorQuad/", "/WGS1984Quad/"),
        lambda url: url.replace(f"/collections/{COLLECTION}/", f"/collections/{COLLECTION}/items/first/"),
        lambda url: url.replace(f"/collections/{COLLECTION}/", "/collections/another/"),
    ],
)
def test_what_was_changed_is_refused(signed: str, changed: Any) -> None:
    answer = bare(changed(signed))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AuthenticationFailed"), answer.text


def test_it_opens_nothing_but_pictures(mosaics: Tiled, signed: str) -> None:
    query = urlsplit(signed).query
    base = mosaics.served.url
    for path in (
        f"data/mosaic/collections/{COLLECTION}/tiles",
        f"data/mosaic/collections/{COLLECTION}/info",
        f"data/mosaic/collections/{COLLECTION}/point/1,1",
        f"stac/collections/{COLLECTION}",
        f"stac/collections/{COLLECTION}/items",
    ):
        assert bare(f"{base}/{path}?{query}").status_code == 401, path
    assert requests.post(signed, timeout=10).status_code == 405
    # Whoever comes with a bearer token is who that says, whatever the URL carries.
    assert requests.get(signed, headers={"Authorization": "Bearer wrong"}, timeout=10).status_code == 401


def test_it_ends_and_cannot_be_made_to_last(mosaics: Tiled, signed: str) -> None:
    before = int(parse_qs(urlsplit(signed).query)["expires"][0])
    document = f"{mosaics.served.url}/data/mosaic/collections/{COLLECTION}/tilejson.json?{urlsplit(signed).query}"
    found = bare(f"{document}&sign=true&duration=600")
    assert found.status_code == 200
    (template,) = found.json()["tiles"]
    assert int(parse_qs(urlsplit(template).query)["expires"][0]) == before
    short = tilejson(mosaics, duration="5")["tiles"][0]
    long = tilejson(mosaics, duration="120")["tiles"][0]
    ends = [int(parse_qs(urlsplit(url).query)["expires"][0]) for url in (short, long)]
    assert 113 * 60 <= ends[1] - ends[0] <= 117 * 60
    for wrong in ({"duration": "0"}, {"duration": "99999999"}, {"duration": "soon"}, {"sign": "maybe"}):
        answer = mosaics.mosaic("tilejson.json", **{"assets": "image", "sign": "true"} | wrong)
        assert answer.status_code == 400, wrong


def test_signatures_are_not_in_the_log(mosaics: Tiled, signed: str) -> None:
    signature = parse_qs(urlsplit(signed).query)["signature"][0]
    assert bare(signed).status_code == 200
    assert bare(with_query(signed, assets="other")).status_code == 403
    log = mosaics.served.log_text()
    assert signature not in log
    assert "signature=" not in log


def capabilities(catalog: Tiled, prefix: str, **query: Any) -> str:
    """The signed address of a WMTS document, as the document itself tells it."""
    answer = catalog.client.get(
        f"{catalog.served.url}/{prefix}/WMTSCapabilities.xml", params={"assets": "image", "sign": "true", **query}
    )
    assert answer.status_code == 200, answer.text
    (element,) = ET.fromstring(answer.content).iter(f"{WMTS}ServiceMetadataURL")
    return element.attrib["{http://www.w3.org/1999/xlink}href"]


def search_prefix(catalog: Tiled) -> str:
    made = catalog.client.post(f"{catalog.served.url}/data/mosaic/register", json={"collections": [COLLECTION]})
    return f"data/mosaic/searches/{made.json()['searchid']}"


@pytest.mark.parametrize("kind", ["collection", "search", "item", "preview item"])
def test_gdal_reads_wmts(mosaics: Tiled, kind: str) -> None:
    prefix = {
        "collection": f"data/mosaic/collections/{COLLECTION}",
        "search": search_prefix(mosaics),
        "item": f"data/mosaic/collections/{COLLECTION}/items/whole",
        "preview item": f"data/collections/{COLLECTION}/items/whole/WebMercatorQuad",
    }[kind]
    address = capabilities(mosaics, prefix, minzoom=4, maxzoom=8)
    assert re.search("[Bb]earer", address) is None
    box = scene(mosaics)
    with rasterio.open(f"WMTS:{address},layer=default") as dataset:
        assert dataset.crs.to_epsg() == 3857
        picture = read(dataset, box)
    assert_shows_the_scene(picture, mosaics, box)


def test_gdal_reads_xyz(mosaics: Tiled) -> None:
    (template,) = tilejson(mosaics, tile_format="png")["tiles"]
    for name in "xyz":
        template = template.replace(f"{{{name}}}", f"${{{name}}}")
    half = 20037508.342789244
    description = f"""<GDAL_WMS><Service name="TMS"><ServerUrl>{template.replace("&", "&amp;")}</ServerUrl></Service>
      <DataWindow><UpperLeftX>-{half}</UpperLeftX><UpperLeftY>{half}</UpperLeftY><LowerRightX>{half}</LowerRightX>
      <LowerRightY>-{half}</LowerRightY><TileLevel>8</TileLevel><TileCountX>1</TileCountX><TileCountY>1</TileCountY>
      <YOrigin>top</YOrigin></DataWindow><Projection>EPSG:3857</Projection><BlockSizeX>256</BlockSizeX>
      <BlockSizeY>256</BlockSizeY><BandsCount>4</BandsCount><ZeroBlockHttpCodes>204,404</ZeroBlockHttpCodes></GDAL_WMS>"""
    box = scene(mosaics)
    with rasterio.open(description) as dataset:
        picture = read(dataset, box)
    assert_shows_the_scene(picture, mosaics, box)


def scene(catalog: Tiled) -> Box:
    """Around the scene in EPSG:3857, metres."""
    box: Box = transform_bounds("EPSG:4326", "EPSG:3857", *bounds_of(catalog.file("whole", "image")))
    return box


def read(dataset: Any, box: Box) -> np.ndarray[Any, Any]:
    """What a map shows of the scene, at about zoom 8: rows, columns, bands."""
    window = from_bounds(*box, transform=dataset.transform)
    bands: np.ndarray[Any, Any] = dataset.read(window=window, out_shape=(dataset.count, 256, 256), boundless=False)
    return bands.transpose(1, 2, 0)


def assert_shows_the_scene(picture: np.ndarray[Any, Any], catalog: Tiled, box: Box) -> None:
    path = f"bbox/{','.join(map(str, box))}/256x256.png"
    answer = catalog.mosaic(path, assets="image", coord_crs="epsg:3857", dst_crs="epsg:3857")
    expected = colours(answer.content).astype(int)
    seen = (expected[..., -1] > 0) & (picture[..., -1] > 0)
    assert seen.mean() > 0.4
    assert abs((expected[..., -1] > 0).mean() - (picture[..., -1] > 0).mean()) < 0.05
    difference = np.abs(expected[..., :3] - picture[..., :3].astype(int))[seen]
    assert np.median(difference) < 12, "the same scene, resampled once more"


@pytest.mark.parametrize("kind", ["wmts", "xyz"])
def test_qgis_draws_a_private_collection(mosaics: Tiled, tmp_path: Path, kind: str) -> None:
    """Needs QGIS, a gigabyte: name the Python that has its bindings with GRATICULE_TEST_QGIS (/usr/bin/python3)."""
    python = os.environ.get("GRATICULE_TEST_QGIS")
    if not python:
        pytest.skip("GRATICULE_TEST_QGIS is not set")
    if kind == "wmts":
        address = capabilities(mosaics, f"data/mosaic/collections/{COLLECTION}", minzoom=4, maxzoom=8)
        uri = "crs=EPSG:3857&format=image/png&layers=default&styles=default&tileMatrixSet=WebMercatorQuad"
    else:
        (address,) = tilejson(mosaics, tile_format="png")["tiles"]
        uri = "type=xyz&zmin=4&zmax=9"
    # QGIS widens what has another shape than its picture.
    left, bottom, right, top = scene(mosaics)
    x, y, half = (left + right) / 2, (bottom + top) / 2, max(right - left, top - bottom) / 2
    box = x - half, y - half, x + half, y + half
    drawn = tmp_path / "drawn.png"
    script = Path(__file__).with_name("qgis_draw.py")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [python, str(script), f"{uri}&url={quote(address, safe='')}", ",".join(map(str, box)), str(drawn)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert_shows_the_scene(colours(drawn.read_bytes()), mosaics, box)
