"""Owns: the colour maps that a request may name: ramps of 256 steps, classes by value, and intervals (api.md 5.1).

The ramps come with rio-tiler and are known here by name only, so that no pixel library is loaded to check a name. The
maps of single datasets are in ``colormaps.json``: the published colours of the public Planetary Computer's datasets
(github.com/microsoft/planetary-computer-apis, MIT licence), as a value → RGBA object or a list of intervals.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

import orjson

from graticule.tiler.names import RAMPS, find

Color = tuple[int, int, int, int]
#: Value → colour; or ``((from, to), colour)``, where `to` is not part of the interval.
Classes = tuple[tuple[float, Color], ...]
Intervals = tuple[tuple[tuple[float, float], Color], ...]
Kind = Literal["ramp", "classes", "intervals"]

_MOST_ENTRIES: Final = 4096


def names() -> tuple[str, ...]:
    """Every colour map that may be named, in alphabetical order."""
    return tuple(sorted((*RAMPS, *_datasets())))


@cache
def find_name(name: str) -> str | None:
    """A colour map's exact spelling; None where there is no such map."""
    return find(name, RAMPS) or find(name, _datasets())


def kind(name: str) -> Kind:
    """What sort of map it is. The name is one of `names`."""
    if name in RAMPS:
        return "ramp"
    return "classes" if isinstance(_datasets()[name], dict) else "intervals"


@cache
def classes(name: str) -> Classes:
    """The colours of a map of classes, by ascending value."""
    found = _datasets()[name]
    assert isinstance(found, dict)
    return tuple(sorted((float(value), _color(color)) for value, color in found.items()))


@cache
def intervals(name: str) -> Intervals:
    """The colours of a map of intervals, in the order they are looked up."""
    found = _datasets()[name]
    assert isinstance(found, list)
    return tuple(((bounds[0], bounds[1]), _color(color)) for bounds, color in found)


def parse_colormap(value: Any) -> tuple[Classes | None, Intervals | None]:
    """A colour map by value: an object value → colour, or a list of ``[[from, to], colour]``.

    A colour is ``[r, g, b]``, ``[r, g, b, a]`` or ``#rgb[a]``, ``#rrggbb[aa]``.

    Raises:
        ValueError: it is neither; the message says what is wrong where.
    """
    if not isinstance(value, dict | list) or not value:
        raise ValueError("give a JSON object from value to colour, or a list of [[from, to], colour]")
    if len(value) > _MOST_ENTRIES:
        raise ValueError(f"at most {_MOST_ENTRIES} entries are taken")
    if isinstance(value, dict):
        return tuple(sorted((_number(key), parse_color(color)) for key, color in value.items())), None
    return None, tuple(_interval(entry) for entry in value)


def parse_color(value: Any) -> Color:
    """A colour, opaque where it does not say otherwise.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str) and value.startswith("#") and len(value) in {4, 5, 7, 9}:
        digits = value[1:] if len(value) > 5 else "".join(digit * 2 for digit in value[1:])
        try:
            value = list(bytes.fromhex(digits))
        except ValueError:
            value = None
    if (
        isinstance(value, list)
        and len(value) in {3, 4}
        and all(isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 255 for part in value)
    ):
        red, green, blue, alpha = (*value, 255)[:4]
        return red, green, blue, alpha
    raise ValueError("a colour is [r, g, b, a] with integers of 0 to 255, or #rrggbbaa")


def _interval(entry: Any) -> tuple[tuple[float, float], Color]:
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], list) or len(entry[0]) != 2:
        raise ValueError("an interval is [[from, to], colour]")
    return (_number(entry[0][0]), _number(entry[0][1])), parse_color(entry[1])


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError("a value is a number")  # noqa: TRY004 - it is what was written that is wrong
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{str(value)[:40]!r} is no number") from None
    if number != number:  # noqa: PLR0124 - NaN: nothing equals it, not even a pixel
        raise ValueError("NaN cannot be coloured: mask it with nodata=nan")
    return number


@cache
def _datasets() -> dict[str, dict[str, list[int]] | list[Any]]:
    document: dict[str, Any] = orjson.loads(files(__package__).joinpath("colormaps.json").read_bytes())
    return document


def _color(parts: list[int]) -> Color:
    red, green, blue, alpha = parts
    return red, green, blue, alpha
