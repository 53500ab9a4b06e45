"""Owns: the ``options`` of a render option, a query string of render parameters: read, and checked when it is written.

What a collection's items have is told by the caller as known assets; what is not known is not refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

from graticule.errors import InvalidParameter
from graticule.tiler.expressions import FUNCTIONS, Expression, parse_expression
from graticule.tiler.parameters import RenderParameters, parse_parameters

#: Names that `options` may hold (product.md 8.2 and api.md 5.2), for telling a slip from what belongs to other readers.
NAMES: Final = frozenset(
    {
        *(
            "assets",
            "expression",
            "asset_bidx",
            "bidx",
            "asset_as_band",
            "nodata",
            "unscale",
            "resampling",
            "reproject",
        ),
        *("rescale", "return_mask", "colormap_name", "colormap", "color_formula", "algorithm", "algorithm_params"),
        *("buffer", "padding", "skipcovered", "exitwhenfull", "time_limit", "items_limit", "scan_limit"),
        *("maxitemspertile", "pixel_selection", "subdataset_name", "subdataset_bands", "datetime", "sel", "sel_method"),
        *("crs", "format", "scale", "tile_format", "tile_scale", "minzoom", "maxzoom", "max_size", "width", "height"),
        *("collection", "tilematrixsetid", "dst_crs", "coord_crs", "api_version", "asset_expression"),
    }
)

#: Asset key → how many bands it has; None where that is not known.
KnownAssets = Mapping[str, int | None]


def read_options(text: str) -> list[tuple[str, str]]:
    """The parameters of an `options` text, percent-encoded or not; also where all of it was encoded once more.

    In a text without percent signs a plus is a plus, as people write expressions; else it is a blank.

        >>> read_options("assets=a&expression=a_b1+a_b2")
        [('assets', 'a'), ('expression', 'a_b1+a_b2')]
    """
    text = text.strip().removeprefix("?")
    if "=" not in text and "%3d" in text.lower():
        text = unquote(text)
    if "%" not in text:
        text = text.replace("+", "%2B")
    return parse_qsl(text, keep_blank_values=True)


def check_options(text: str, known: KnownAssets) -> None:
    """Can tiles be drawn with these options?

    Args:
        text: as `read_options` takes it.
        known: the assets that the collection's items have; empty where nothing is known of them.

    Raises:
        InvalidParameter: no; the message names the parameter.
    """
    pairs = read_options(text)
    for name, _ in pairs:
        _check_name(name)
    parameters = parse_parameters(pairs)
    expression = _expression(parameters, known)
    _check_assets(parameters, expression, known)
    _check_bands(parameters, expression, known)
    _check_colors(parameters, _outputs(parameters, expression, known))


# --- inside ----------------------------------------------------------------------------------------------------------


def _check_name(name: str) -> None:
    folded = name.lower().replace("-", "_")
    if folded in NAMES:
        return
    close = difflib.get_close_matches(folded, NAMES, n=1, cutoff=0.8)
    if close:
        raise InvalidParameter(f"{name[:60]!r} is no render parameter: {close[0]!r} is.", target=name[:60])


def _expression(parameters: RenderParameters, known: KnownAssets) -> Expression | None:
    text = parameters.expression
    if text is None:
        return None
    keys = tuple(dict.fromkeys((*known, *parameters.assets)))
    # Where no asset is known, whatever looks like one is taken for it: the formula's form can be checked all the same.
    if not known:
        keys += tuple(_possible_keys(text))
    try:
        return parse_expression(text, keys=keys, asset_as_band=parameters.asset_as_band)
    except ValueError as exc:
        there = f" The collection's assets are: {_listed(known)}." if known else ""
        raise InvalidParameter(f"expression: {exc}.{there}", target="expression") from None


def _possible_keys(text: str) -> Iterable[str]:
    for word in re.findall(r"[A-Za-z][A-Za-z0-9_.]*", text):
        key = re.sub(r"_b[0-9]+$", "", word)
        if key not in FUNCTIONS:
            yield key


def _check_assets(parameters: RenderParameters, expression: Expression | None, known: KnownAssets) -> None:
    if not known:
        return
    named: dict[str, str] = {key: "asset_bidx" for key, _ in parameters.asset_bidx}
    named |= {key: "asset_expression" for key, _ in parameters.asset_expression}
    named |= dict.fromkeys(expression.assets if expression else (), "expression")
    named |= dict.fromkeys(parameters.assets, "assets")
    for key, parameter in named.items():
        if key not in known:
            message = f"{parameter}: no item of the collection has an asset {key[:80]!r}. There are: {_listed(known)}."
            raise InvalidParameter(message, target=parameter)


def _check_bands(parameters: RenderParameters, expression: Expression | None, known: KnownAssets) -> None:
    asked = [(key, band, "asset_bidx") for key, bands in parameters.asset_bidx for band in bands]
    asked += [(key, band, "bidx") for key in parameters.assets for band in parameters.bidx]
    if expression is not None:
        asked += [(operand.asset, operand.band, "expression") for operand in expression.operands if operand.asset]
    for key, band, parameter in asked:
        count = known.get(key)
        if count is not None and band > count:
            message = f"{parameter}: the asset {key[:80]!r} has {count} bands, there is no band {band}."
            raise InvalidParameter(message, target=parameter)


def _outputs(parameters: RenderParameters, expression: Expression | None, known: KnownAssets) -> int | None:
    """How many bands are drawn; None where that cannot be known before a file is open."""
    if parameters.algorithm is not None:
        return None
    if expression is not None:
        return len(expression.outputs)
    indexes, count = dict(parameters.asset_bidx), 0
    for key in parameters.assets:
        bands = indexes.get(key) or parameters.bidx
        of_asset = len(bands) if bands else (1 if parameters.asset_as_band else known.get(key))
        if of_asset is None:
            return None
        count += of_asset
    return count or None


def _check_colors(parameters: RenderParameters, outputs: int | None) -> None:
    if parameters.color_formula is not None:
        try:
            from color_operations import parse_operations  # noqa: PLC0415 - numpy, which a worker has no other use for

            parse_operations(parameters.color_formula)
        except (ValueError, KeyError, IndexError, TypeError) as exc:
            message = f"color_formula: {parameters.color_formula[:80]!r} cannot be read: {str(exc)[:120]}."
            raise InvalidParameter(message, target="color_formula") from None
    if outputs is None:
        return
    if parameters.colormap is not None and outputs != 1:
        message = f"A colour map colours one band, not {outputs}: choose one with asset_bidx or expression."
        raise InvalidParameter(message, target="colormap")
    if parameters.rescale and len(parameters.rescale) not in {1, outputs}:
        message = f"rescale: {len(parameters.rescale)} pairs for {outputs} bands: give one, or one for each."
        raise InvalidParameter(message, target="rescale")


def _listed(known: KnownAssets) -> str:
    return ", ".join(list(known)[:40])
