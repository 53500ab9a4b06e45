from __future__ import annotations

import pytest

from graticule.errors import InvalidParameter, NotFound
from graticule.tiler import parse_parameters, select
from graticule.tiler.expressions import Operand, parse_expression

KEYS = ("nir", "red", "visual-10m", "visual", "a.b")


def test_operands_are_bands_of_assets_whatever_their_keys() -> None:
    found = parse_expression("(visual-10m_b3 - visual_b1) / a.b_b2", keys=KEYS, asset_as_band=False)
    assert found.operands == (Operand("visual-10m", 3), Operand("visual", 1), Operand("a.b", 2))
    assert found.programs == ("(v0_ - v1_) / v2_",)
    assert found.assets == ("visual-10m", "visual", "a.b")


def test_an_asset_alone_is_a_band_only_when_asked() -> None:
    found = parse_expression("(nir-red)/(nir+red); where(nir > 3, 1, 0)", keys=KEYS, asset_as_band=True)
    assert found.operands == (Operand("nir", 1), Operand("red", 1))
    assert found.outputs == ("(nir-red)/(nir+red)", "where(nir > 3, 1, 0)")
    with pytest.raises(ValueError, match="'nir' is no band"):
        parse_expression("nir-1", keys=KEYS, asset_as_band=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "1 + 1",
        "nir_b0",
        "nir_b1 +",
        "nir_b1.real",
        "nir_b1[0]",
        "nir_b1 if red_b1 else 1",
        "lambda: nir_b1",
        "__import__('os').system('true') + nir_b1",
        "open(nir_b1)",
        "sin(nir_b1, red_b1)",
        "sum(nir_b1)",
        "'a' * nir_b1",
        "nir_b1 and red_b1",
        "1 < nir_b1 < 2",
        "9**9**9 + nir_b1",
        "nir_b1 ** 100",
        "nir_b1 ** red_b1",
        "1e999 * nir_b1",
        "v0_ + nir_b1",
        "unknown_b1",
        "(" * 500 + "nir_b1" + ")" * 500,
        "-" * 3000 + "nir_b1",
        "+".join(["nir_b1"] * 400),
        ";".join(["nir_b1"] * 20),
        "nir_b1" + " " * 5000,
        "nir_b1\0",
    ],
)
def test_what_is_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_expression(text, keys=KEYS, asset_as_band=False)


def test_a_selection_reads_each_band_once() -> None:
    parameters = parse_parameters([("expression", "nir_b2/nir_b1 + red_b1 + nir_b2")])
    selection = select(parameters, KEYS)
    assert [(read.asset, read.indexes) for read in selection.reads] == [("nir", (2, 1)), ("red", (1,))]
    assert selection.places == (0, 1, 2)


def test_places_count_through_the_assets_that_are_named() -> None:
    parameters = parse_parameters([("assets", "red"), ("assets", "nir"), ("expression", "b2-b1")])
    selection = select(parameters, KEYS)
    assert selection.assets == ("red", "nir")
    assert selection.places == (1, 0)
    with pytest.raises(InvalidParameter, match="name them"):
        select(parse_parameters([("expression", "b2-b1")]), KEYS)
    with pytest.raises(InvalidParameter, match="throughout"):
        select(parse_parameters([("assets", "red"), ("expression", "b1-nir_b1")]), KEYS)


def test_assets_that_are_not_there_are_named() -> None:
    with pytest.raises(NotFound, match="'blue'"):
        select(parse_parameters([("assets", "blue")]), KEYS)
    with pytest.raises(InvalidParameter, match="nir"):
        select(parse_parameters([]), KEYS)
    assert select(parse_parameters([]), KEYS, optional=True).assets == KEYS
