"""What is accepted as the options of a render option: the real ones of the open Planetary Computer, and no slips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graticule.errors import InvalidParameter
from graticule.tiler.options import check_options, read_options

#: A Sentinel-like collection: a picture of three bands, single bands, one of which nothing is known.
KNOWN = {"visual": 3, "B04": 1, "B08": 1, "data": None}

#: Expressions of the service before it took asset keys for bands only with asset_as_band, and ; between outputs: no
#: tile can be drawn with these, in the original neither.
BROKEN = {
    "expression=(SR_B5-SR_B4)/(SR_B5+SR_B4)": "asset_as_band=true",
    "expression=(SR_B5-SR_B6)/(SR_B5+SR_B6)": "asset_as_band=true",
    "expression=(B08-B04)/(B08+B04)": "asset_as_band=true",
    "expression=(B8A-B11)/(B8A+B11)": "asset_as_band=true",
    "expression=C02_2km_wm,0.45*C02_2km_wm+0.1*C03_2km_wm+0.45*C01_2km_wm,C01_2km_wm": "Tuple",
}


def published(test_data: Path) -> Iterator[tuple[str, str, dict[str, int | None]]]:
    """Data set, options, assets by its item_assets."""
    config = test_data / "config"
    for path in sorted((config / "pc-datasets").glob("*/config.json")):
        template = json.loads(path.with_name("template.json").read_text("utf-8"))
        info = json.loads(path.read_text("utf-8")).get("mosaic_info") or {}
        for option in info.get("render_options") or []:
            yield path.parent.name, option["options"], dict.fromkeys(template.get("item_assets") or {})
    for name, entry in json.loads((config / "collection_config.json").read_text("utf-8")).items():
        for option in entry["mosaic_info"].get("renderOptions") or []:
            yield name, option["options"], {}
    for path in sorted((config / "explorer").glob("*/mosaicInfo.json")):
        for option in json.loads(path.read_text("utf-8")).get("renderOptions") or []:
            yield path.parent.name, option["options"], {}


def test_the_published_options_are_taken(test_data: Path) -> None:
    failures, broken = {}, set()
    options = list(published(test_data))
    assert len(options) > 180
    for name, text, known in options:
        expression = next((part for part in (text or "").split("&") if part in BROKEN), None)
        if expression is not None and "asset_as_band" not in text:
            with pytest.raises(InvalidParameter, match=BROKEN[expression]):
                check_options(text, known)
            broken.add(expression)
            continue
        try:
            check_options(text or "", known)
        except InvalidParameter as exc:
            failures[name, text] = exc.message
    assert failures == {}
    assert broken == set(BROKEN)


@pytest.mark.parametrize(
    "text",
    [
        "assets=visual&asset_bidx=visual|1,2,3",
        "assets=visual&asset_bidx=visual%7C1%2C2%2C3",
        "?assets=visual",
        "assets%3Dvisual%26asset_bidx%3Dvisual%7C3%26colormap_name%3Dviridis",
        "expression=(B08-B04)/(B08+B04)&asset_as_band=true&rescale=-1,1&colormap_name=RdYlGn",
        "expression=%28B08_b1-B04_b1%29%2F%28B08_b1%2BB04_b1%29&rescale=-1%2C1",
        "assets=B04&assets=B08&assets=B04&rescale=0,3000&rescale=0,4000&rescale=0,5000",
        "assets=data&exitwhenfull=False&skipcovered=False&colormap=%7B%220%22%3A%20%5B0%2C0%2C0%2C0%5D%7D",
        "assets=data&asset_bidx=data|7&algorithm=hillshade&buffer=3",
        "assets=visual&color_formula=gamma RGB 2.7, saturation 1.2, sigmoidal RGB 15 0.55",
        "assets=data&vendor_extension=anything",
    ],
)
def test_what_can_be_drawn_is_taken(text: str) -> None:
    check_options(text, KNOWN)


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("assets=visaul", "assets", ["'visaul'", "visual, B04"]),
        ("assets=visual&asset_bidx=visuals|1", "asset_bidx", ["'visuals'"]),
        ("assets=visual&asset_bidx=visual|4", "asset_bidx", ["3 bands", "band 4"]),
        ("assets=visual&asset_bidx=visual|0", "asset_bidx", ["0"]),
        ("assets=B04&bidx=2", "bidx", ["'B04'", "1 bands"]),
        ("expression=visual_b5-visual_b1", "expression", ["band 5"]),
        ("expression=B8A_b1/B04_b1", "expression", ["B8A", "visual, B04"]),
        ("expression=B08_b1/", "expression", ["formula"]),
        ("expression=__import__('os')", "expression", []),
        ("assets=visual&colormap_name=virids", "colormap_name", ["'virids'"]),
        ("assets=visual&colormap_name=viridis", "colormap", ["one band, not 3"]),
        ('assets=data&colormap={"1":[0,0,300]}', "colormap", ["0 to 255"]),
        ("assets=data&rescale=10", "rescale", ["min,max"]),
        ("assets=data&rescale=10,1", "rescale", ["min is below max"]),
        ("assets=visual&rescale=0,1&rescale=0,2", "rescale", ["2 pairs for 3 bands"]),
        ("assets=data&color_formula=gama RGB 2", "color_formula", ["gama"]),
        ("assets=data&resampling=nearer", "resampling", ["nearest"]),
        ("assets=data&algorithm=hillshadow", "algorithm", ["hillshade"]),
        ("assets=data&colormapname=viridis", "colormapname", ["'colormap_name'"]),
        ("assets=data&nodata=none", "nodata", ["number"]),
    ],
)
def test_what_cannot_be_drawn_is_named(text: str, target: str, words: list[str]) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_options(text, KNOWN)
    assert caught.value.target == target
    for word in words:
        assert word in caught.value.message


def test_without_knowledge_of_assets_the_form_is_checked() -> None:
    check_options("assets=anything&asset_bidx=anything|9", {})
    check_options("expression=(nir08-red)/(nir08+red)&asset_as_band=true", {})
    with pytest.raises(InvalidParameter):
        check_options("expression=(nir08-red", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("expression=a_b1+a_b2", "a_b1+a_b2"),
        ("expression=a_b1%2Ba_b2", "a_b1+a_b2"),
        ("expression=a_b1+%2B+a_b2", "a_b1 + a_b2"),
        ("expression%3Da_b1%252Ba_b2", "a_b1+a_b2"),
    ],
)
def test_a_plus_is_what_was_meant(text: str, expected: Any) -> None:
    assert read_options(text) == [("expression", expected)]
