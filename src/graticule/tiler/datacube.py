"""Which slice of a data cube is meant: variable, messages, time and other dimensions (api.md 5.2, product.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graticule.tiler import names


@dataclass(frozen=True, slots=True)
class CubeSelection:
    """What a request says about a multi-dimensional asset; a plain raster has no use for it."""

    subdataset_name: str | None = None
    subdataset_bands: tuple[int, ...] = ()
    crs: str | None = None
    datetime: str | None = None
    sel: tuple[tuple[str, str], ...] = ()  #: dimension and value
    sel_method: str | None = None


def parse_cube(values: Mapping[str, list[str]]) -> CubeSelection:
    """Read a query whose names are folded.

    Raises:
        ValueError: a part of it has not the right form; the message says which.
    """

    def last(name: str) -> str | None:
        given = values.get(name)
        return given[-1] if given else None

    sel = []
    for text in values.get("sel", []):
        dimension, equals, value = text.partition("=")
        if not equals or not dimension:
            raise ValueError(f"{text[:60]!r} is not of the form dimension=value")
        sel.append((dimension, value))
    method = last("sel_method")
    if method is not None:
        found = names.find(method, names.SEL_METHODS)
        if found is None:
            raise ValueError(f"sel_method {method[:40]!r} is not known: give one of {', '.join(names.SEL_METHODS)}")
        method = found
    bands = [part for text in values.get("subdataset_bands", []) for part in text.split(",") if part.strip()]
    if not all(part.strip().isdecimal() and 0 < int(part) < 100_000 for part in bands):
        raise ValueError("subdataset_bands are whole numbers from 1")
    return CubeSelection(
        subdataset_name=last("subdataset_name"),
        subdataset_bands=tuple(int(part) for part in bands),
        crs=last("crs"),
        datetime=last("datetime"),
        sel=tuple(sel),
        sel_method=method,
    )
