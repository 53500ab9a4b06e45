"""Which bands of which assets a request reads: its parameters, held against the asset keys that there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from graticule.errors import InvalidParameter, NotFound
from graticule.tiler.expressions import Expression, parse_expression
from graticule.tiler.parameters import RenderParameters


@dataclass(frozen=True, slots=True)
class BandRead:
    """Bands of one asset."""

    asset: str
    indexes: tuple[int, ...] | None  #: from 1; None: all but alpha
    #: Over the asset's own bands b1, b2, …; its outputs take the bands' place.
    expression: Expression | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What is read, in order, and what is made of it."""

    reads: tuple[BandRead, ...]
    expression: Expression | None = None
    #: Per operand of the expression: its place among all bands that are read, from 0.
    places: tuple[int, ...] = ()
    asset_as_band: bool = False  #: each asset has one band, which bears the asset's key

    @property
    def assets(self) -> tuple[str, ...]:
        """Keys of the assets that are read."""
        return tuple(read.asset for read in self.reads)


def select(parameters: RenderParameters, keys: Iterable[str], *, optional: bool = False) -> Selection:
    """Hold ``assets``, ``asset_bidx``, ``bidx``, ``asset_expression`` and ``expression`` against the keys.

    Args:
        parameters: of the request.
        keys: of the assets that can be read.
        optional: may a request name no asset? Then all of them are meant.

    Raises:
        InvalidParameter: neither ``assets`` nor ``expression`` is given, or they do not go together.
        NotFound: an asset that is named is not there.
    """
    keys = tuple(keys)
    assets = parameters.assets or (keys if optional and parameters.expression is None else ())
    _check_known((*assets, *(key for key, _ in parameters.asset_bidx)), keys)
    if parameters.expression is not None:
        return _of_expression(parameters, assets, keys)
    if not assets:
        message = f"Name what to draw with assets or expression. Readable assets: {_listed(keys)}."
        raise InvalidParameter(message, target="assets")
    return Selection(tuple(_read(parameters, asset) for asset in assets), asset_as_band=parameters.asset_as_band)


def _of_expression(parameters: RenderParameters, assets: tuple[str, ...], keys: tuple[str, ...]) -> Selection:
    assert parameters.expression is not None
    try:
        expression = parse_expression(parameters.expression, keys=keys, asset_as_band=parameters.asset_as_band)
    except ValueError as exc:
        message = f"expression: {exc}. Readable assets: {_listed(keys)}."
        raise InvalidParameter(message, target="expression") from None
    if not expression.assets:
        if not assets:
            message = "expression: b1, b2, … count the bands of assets: name them, or write asset_b1."
            raise InvalidParameter(message, target="expression")
        reads = tuple(_read(parameters, asset) for asset in assets)
        return Selection(reads, expression, tuple(operand.band - 1 for operand in expression.operands))
    if any(operand.asset is None for operand in expression.operands):
        message = "expression: write either asset_b1 or b1 throughout."
        raise InvalidParameter(message, target="expression")
    wanted: dict[str, list[int]] = {}
    for operand in expression.operands:
        bands = wanted.setdefault(operand.asset or "", [])
        if operand.band not in bands:
            bands.append(operand.band)
    order = [(asset, band) for asset, bands in wanted.items() for band in bands]
    return Selection(
        tuple(BandRead(asset, tuple(bands)) for asset, bands in wanted.items()),
        expression,
        tuple(order.index((operand.asset or "", operand.band)) for operand in expression.operands),
    )


def _read(parameters: RenderParameters, asset: str) -> BandRead:
    indexes = dict(parameters.asset_bidx).get(asset) or parameters.bidx or None
    text = dict(parameters.asset_expression).get(asset)
    if text is None:
        return BandRead(asset, indexes)
    try:
        expression = parse_expression(text, keys=(), asset_as_band=False)
    except ValueError as exc:
        raise InvalidParameter(f"asset_expression: {exc}.", target="asset_expression") from None
    bands = tuple(sorted({operand.band for operand in expression.operands}))
    return BandRead(asset, bands, expression)


def _check_known(named: Iterable[str], keys: tuple[str, ...]) -> None:
    for asset in named:
        if asset not in keys:
            raise NotFound(
                f"There is no readable asset {asset[:80]!r}. Readable are: {_listed(keys)}.", target="assets"
            )


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:40]) or "none"
