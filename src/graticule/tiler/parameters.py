"""Render parameters: everything of api.md 5.2 that a query may carry, read and checked once into `RenderParameters`.

One superset is read everywhere and what does not apply is ignored (api.md 5.3). Both spellings of names (``coord_crs``
and ``coord-crs``) and both forms of lists (repeated, and joined by commas) mean the same (api.md 1.2). The result is
frozen, holds plain values only and is sent to render processes as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from graticule.errors import InvalidParameter
from graticule.tiler import names
from graticule.tiler.colormaps import Classes, Intervals, find_name, parse_colormap
from graticule.tiler.datacube import CubeSelection, parse_cube

T = TypeVar("T")
Pair = tuple[float, float]

#: Largest values that are taken; beyond them it is a mistake, and each costs memory.
MOST_ASSETS: Final = 40
MAX_BUFFER: Final = 256
MAX_PADDING: Final = 64
MAX_SIDE: Final = 16384
_LONGEST_TEXT: Final = 100_000

_CRS: Final = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9_]{1,20}:[A-Za-z0-9_]{1,20}|https?://www\.opengis\.net/def/crs/[\w/.]{3,60})"
)


@dataclass(frozen=True, slots=True)
class Colormap:
    """How the values of one band become colours: one of the three is set."""

    name: str | None = None  #: a ramp of rio-tiler
    classes: Classes | None = None
    intervals: Intervals | None = None


@dataclass(frozen=True, slots=True)
class MosaicLimits:
    """Where the search for a mosaic's items ends (api.md 5.2)."""

    scan_limit: int = 10_000  #: items looked at
    items_limit: int = 100  #: items used
    time_limit: float = 5.0  #: seconds
    exitwhenfull: bool = True  #: end when the area is covered
    skipcovered: bool = True  #: leave out items that are hidden by those above them


@dataclass(frozen=True, slots=True)
class StatisticsOptions:
    """What statistics count."""

    categorical: bool = False
    categories: tuple[float, ...] = ()
    percentiles: tuple[float, ...] = (2, 98)
    bins: int | tuple[float, ...] = 10  #: how many, or their edges
    range: Pair | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderParameters:
    """What to read, how to treat it and how to show it. Defaults are those of the contract."""

    # --- what is read
    assets: tuple[str, ...] = ()
    expression: str | None = None  #: checked against a target's asset keys by `selection.select`
    asset_bidx: tuple[tuple[str, tuple[int, ...]], ...] = ()  #: asset key and its bands, from 1
    asset_expression: tuple[tuple[str, str], ...] = ()  #: asset key and an expression over its own b1, b2, …
    bidx: tuple[int, ...] = ()
    asset_as_band: bool = False
    nodata: float | None = None
    unscale: bool = False
    resampling: str = "nearest"
    reproject: str = "nearest"
    cube: CubeSelection = field(default_factory=CubeSelection)
    # --- where, and how large
    buffer: float = 0.0  #: pixels on each side
    padding: int = 0  #: pixels read besides, and cut off again
    scale: int = 1
    max_size: int = 1024
    width: int | None = None
    height: int | None = None
    coord_crs: str = "epsg:4326"
    dst_crs: str | None = None
    tile_matrix_set: str = names.DEFAULT_TILE_MATRIX_SET
    # --- how it is shown
    algorithm: str | None = None
    algorithm_params: tuple[tuple[str, Any], ...] = ()
    color_formula: str | None = None
    rescale: tuple[Pair, ...] = ()
    colormap: Colormap | None = None
    return_mask: bool = True
    format: str | None = None  #: None: png where pixels are missing, else jpeg
    # --- documents about tiles
    tile_format: str | None = None
    tile_scale: int = 1
    minzoom: int | None = None
    maxzoom: int | None = None
    # --- mosaics
    mosaic: MosaicLimits = field(default_factory=MosaicLimits)
    pixel_selection: str = "first"
    collection: str | None = None  #: whose configuration applies to a search
    # --- statistics
    statistics: StatisticsOptions = field(default_factory=StatisticsOptions)


def parse_parameters(pairs: Iterable[tuple[str, str]], path: Mapping[str, Any] | None = None) -> RenderParameters:
    """Read a query.

    Args:
        pairs: names and values as they come, several of a name included.
        path: what the path says; it wins: ``format``, ``scale``, ``width``, ``height``, ``tileMatrixSetId``.

    Raises:
        InvalidParameter: names the parameter, what is wrong and what it takes.
    """
    query = _Query(pairs)
    for name, value in (path or {}).items():
        query.override(name, str(value))
    return RenderParameters(
        assets=query.list("assets", str, most=MOST_ASSETS, split=False),
        expression=query.text("expression"),
        asset_bidx=_keyed(query, "asset_bidx", _indexes),
        asset_expression=_keyed(query, "asset_expression", str),
        bidx=query.list("bidx", _index, most=256),
        asset_as_band=query.boolean("asset_as_band", default=False),
        nodata=query.one("nodata", _nodata),
        unscale=query.boolean("unscale", default=False),
        resampling=query.choice("resampling", names.RESAMPLING) or "nearest",
        reproject=query.choice("reproject", names.REPROJECT) or "nearest",
        cube=query.guarded("sel", lambda: parse_cube(query.values)),
        buffer=query.one("buffer", _buffer) or 0.0,
        padding=query.whole("padding", 0, MAX_PADDING) or 0,
        scale=query.whole("scale", 1, 4) or 1,
        max_size=query.whole("max_size", 1, MAX_SIDE) or 1024,
        width=query.whole("width", 1, MAX_SIDE),
        height=query.whole("height", 1, MAX_SIDE),
        coord_crs=query.one("coord_crs", _crs) or "epsg:4326",
        dst_crs=query.one("dst_crs", _crs),
        tile_matrix_set=query.text("tileMatrixSetId") or names.DEFAULT_TILE_MATRIX_SET,
        algorithm=query.choice("algorithm", names.ALGORITHMS),
        algorithm_params=query.one("algorithm_params", _algorithm_params) or (),
        color_formula=query.text("color_formula"),
        rescale=_rescale(query),
        colormap=_colormap(query),
        return_mask=query.boolean("return_mask", default=True),
        format=query.choice("format", names.FORMATS),
        tile_format=query.choice("tile_format", names.FORMATS),
        tile_scale=query.whole("tile_scale", 1, 4) or 1,
        minzoom=query.whole("minzoom", 0, 30),
        maxzoom=query.whole("maxzoom", 0, 30),
        mosaic=_mosaic(query),
        pixel_selection=query.choice("pixel_selection", names.PIXEL_SELECTIONS) or "first",
        collection=query.text("collection"),
        statistics=_statistics(query),
    )


class _Query:
    """Values by name, names folded to one spelling; each `InvalidParameter` names the parameter."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.values: dict[str, list[str]] = {}
        for name, value in pairs:
            if value != "":  # an empty value is how some forms leave a parameter out
                self.values.setdefault(_folded(name), []).append(value)

    def override(self, name: str, value: str) -> None:
        self.values[_folded(name)] = [value]

    def text(self, name: str) -> str | None:
        """The last of several values."""
        given = self.values.get(_folded(name))
        if given is None:
            return None
        if len(given[-1]) > _LONGEST_TEXT:
            raise InvalidParameter(f"{name}: more than {_LONGEST_TEXT} characters.", target=name)
        return given[-1]

    def one(self, name: str, parse: Callable[[str], T]) -> T | None:
        text = self.text(name)
        return None if text is None else self.guarded(name, lambda: parse(text))

    def list(self, name: str, parse: Callable[[str], T], *, most: int = 100, split: bool = True) -> tuple[T, ...]:
        """All values of a name; commas separate too, unless `split` is False."""
        given = self.values.get(_folded(name), [])
        parts = [part.strip() for text in given for part in (text.split(",") if split else [text])]
        parts = [part for part in parts if part]
        if len(parts) > most:
            raise InvalidParameter(f"{name}: {len(parts)} values, at most {most} are taken.", target=name)
        return self.guarded(name, lambda: tuple(parse(part) for part in parts))

    def guarded(self, name: str, parse: Callable[[], T]) -> T:
        try:
            return parse()
        except ValueError as exc:
            raise InvalidParameter(f"{name}: {exc}.", target=name) from None

    def whole(self, name: str, least: int, most: int) -> int | None:
        return self.one(name, lambda text: whole_number(text, least, most))

    def boolean(self, name: str, *, default: bool) -> bool:
        found = self.one(name, _boolean)
        return default if found is None else found

    def choice(self, name: str, known: Sequence[str]) -> str | None:
        return self.one(name, lambda text: _choice(text, known))


def _folded(name: str) -> str:
    return name.replace("-", "_").lower()


# --- values ----------------------------------------------------------------------------------------------------------


def whole_number(text: str, least: int, most: int) -> int:
    """An integer, also as clients write it who have only floats: ``13.0``.

    Raises:
        ValueError: it is none, or outside the limits.
    """
    match = re.fullmatch(r"([+-]?[0-9]{1,18})(\.0*)?", text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no whole number")
    number = int(match[1])
    if not least <= number <= most:
        raise ValueError(f"{number} is not within {least} and {most}")
    return number


def number(text: str) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is no finite number")
    return value


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError(f"{text[:40]!r} is neither true nor false")
    return known[text.lower()]


def _choice(text: str, known: Sequence[str]) -> str:
    found = names.find(text, known)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not known: give one of {', '.join(known)}")
    return found


def _nodata(text: str) -> float:
    if text.lower() in {"nan", "inf", "-inf"}:
        return float(text)
    return number(text)


def _buffer(text: str) -> float:
    value = number(text)
    if not 0 <= value <= MAX_BUFFER or value % 0.5:
        raise ValueError(f"{text[:40]!r} is no multiple of 0.5 within 0 and {MAX_BUFFER}")
    return value


def _crs(text: str) -> str:
    if not _CRS.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no code of a coordinate reference system, such as EPSG:3857")
    return text


def _index(text: str) -> int:
    return whole_number(text, 1, 10_000)


def _indexes(text: str) -> tuple[int, ...]:
    found = tuple(_index(part) for part in text.split(",") if part.strip())
    if not found:
        raise ValueError("an asset without bands: write asset|1,2,3")
    return found


def _pair(text: str) -> Pair:
    parts = [number(part) for part in text.split(",")]
    if len(parts) != 2:
        raise ValueError(f"{text[:40]!r} is no pair min,max")
    return parts[0], parts[1]


# --- parameters with a form of their own -----------------------------------------------------------------------------


def _keyed(query: _Query, name: str, parse: Callable[[str], T]) -> tuple[tuple[str, T], ...]:
    """``asset|value``, several of them: repeated, or joined by a comma that starts a new ``asset|`` (api.md 1.2)."""
    found: dict[str, T] = {}
    for text in query.values.get(name, []):
        for part in re.split(r",(?=[^,|]+\|)", text):
            key, bar, value = part.partition("|")
            if not bar or not key:
                raise InvalidParameter(f"{name}: {part[:60]!r} is not of the form asset|…", target=name)
            found[key] = query.guarded(name, lambda value=value: parse(value))  # type: ignore[misc]
    return tuple(found.items())


def _rescale(query: _Query) -> tuple[Pair, ...]:
    """``min,max`` for each band or for all; also joined: ``0,255,0,100``."""
    parts = [part for text in query.values.get("rescale", []) for part in text.strip("[]").split(",") if part.strip()]
    if len(parts) % 2:
        raise InvalidParameter("rescale: give pairs min,max.", target="rescale")
    pairs = query.guarded(
        "rescale", lambda: tuple(_pair(",".join(parts[at : at + 2])) for at in range(0, len(parts), 2))
    )
    for least, most in pairs:
        if not least < most:
            raise InvalidParameter(f"rescale: {least:g},{most:g} is no range: min is below max.", target="rescale")
    return pairs


def _colormap(query: _Query) -> Colormap | None:
    """``colormap_name`` wins where both are given (api.md 5.2)."""
    from graticule.tiler import colormaps  # noqa: PLC0415 - the module, beside names of it

    name = query.text("colormap_name")
    if name is not None:
        found = find_name(name)
        if found is None:
            raise InvalidParameter(f"colormap_name: there is no colour map {name[:60]!r}.", target="colormap_name")
        kind = colormaps.kind(found)
        if kind == "ramp":
            return Colormap(name=found)
        if kind == "classes":
            return Colormap(classes=colormaps.classes(found))
        return Colormap(intervals=colormaps.intervals(found))
    value = query.one("colormap", _json)
    if value is None:
        return None
    classes, intervals = query.guarded("colormap", lambda: parse_colormap(value))
    return Colormap(classes=classes, intervals=intervals)


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise ValueError(f"it is not JSON ({exc})") from None


def _algorithm_params(text: str) -> tuple[tuple[str, Any], ...]:
    document = _json(text)
    if not isinstance(document, dict):
        raise ValueError("give a JSON object")  # noqa: TRY004 - it is what was written that is wrong
    return tuple(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in sorted(document.items())
        if not isinstance(value, dict)
    )


def _mosaic(query: _Query) -> MosaicLimits:
    default = MosaicLimits()
    time_limit = query.whole("time_limit", 1, 600)
    return MosaicLimits(
        scan_limit=query.whole("scan_limit", 1, 1_000_000) or default.scan_limit,
        items_limit=query.whole("items_limit", 1, 10_000) or default.items_limit,
        time_limit=default.time_limit if time_limit is None else float(time_limit),
        exitwhenfull=query.boolean("exitwhenfull", default=default.exitwhenfull),
        skipcovered=query.boolean("skipcovered", default=default.skipcovered),
    )


def _statistics(query: _Query) -> StatisticsOptions:
    percentiles = query.list("p", _percentile)
    edges = query.list("histogram_bins", number, most=1001)
    bins: int | tuple[float, ...] = 10
    if len(edges) == 1:
        bins = query.whole("histogram_bins", 1, 1000) or 10
    elif edges:
        if list(edges) != sorted(set(edges)):
            raise InvalidParameter("histogram_bins: edges rise.", target="histogram_bins")
        bins = edges
    bounds = query.one("histogram_range", _pair)
    if bounds is not None and not bounds[0] < bounds[1]:
        raise InvalidParameter("histogram_range: min is below max.", target="histogram_range")
    return StatisticsOptions(
        categorical=query.boolean("categorical", default=False),
        categories=query.list("c", number, most=1000),
        percentiles=percentiles or StatisticsOptions().percentiles,
        bins=bins,
        range=bounds,
    )


def _percentile(text: str) -> float:
    value = number(text)
    if not 0 <= value <= 100:
        raise ValueError(f"{text[:40]!r} is not within 0 and 100")
    return int(value) if value.is_integer() else value
