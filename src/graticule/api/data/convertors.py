"""Numbers and formats in paths, as clients write them (api.md 1.2): ``13``, ``13.0``, ``-84.3``, ``png``.

With these a path says by itself what it is: ``…/3282.0`` is a row, ``…/3282.0.png`` a row and a format.
"""

from __future__ import annotations

from starlette.convertors import StringConvertor, register_url_convertor


class _Number(StringConvertor):
    regex = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"


class _Format(StringConvertor):
    regex = r"[A-Za-z][A-Za-z0-9]{0,15}"


def register() -> None:
    """Make ``{name:number}`` and ``{name:format}`` known to the router."""
    register_url_convertor("number", _Number())
    register_url_convertor("format", _Format())
