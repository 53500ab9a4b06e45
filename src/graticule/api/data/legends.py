"""Legends of colour maps (api.md 5.1)."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from graticule.access import Role
from graticule.api.routing import Call, Endpoint, json_response
from graticule.errors import InvalidParameter
from graticule.tiler import legends
from graticule.tiler.parameters import number, whole_number

#: A colour map changes with the version of the catalog only.
_HEADERS: Final = {"Cache-Control": "private, max-age=86400"}
_MOST_TRIMMED: Final = 100_000


async def class_map_legend(call: Call) -> Response:
    """``GET /data/legend/classmap/{classmapName}``: value → colour."""
    return json_response(legends.class_map(call.path["classmapName"], *_trims(call)), headers=_HEADERS)


async def interval_legend(call: Call) -> Response:
    """``GET /data/legend/interval/{classmapName}``: ``[[from, to], colour]``, ascending."""
    return json_response(legends.interval_map(call.path["classmapName"], *_trims(call)), headers=_HEADERS)


async def colormap_legend(call: Call) -> Response:
    """``GET /data/legend/colormap/{colorMapName}``: a PNG of all colours; its size is in inches."""
    trim_start, trim_end = _trims(call)
    body = legends.picture(
        call.path["colorMapName"],
        width=_inches(call, "width", legends.DEFAULT_WIDTH),
        height=_inches(call, "height", legends.DEFAULT_HEIGHT),
        trim_start=trim_start,
        trim_end=trim_end,
    )
    return Response(body, media_type="image/png", headers=_HEADERS)


def _trims(call: Call) -> tuple[int, int]:
    return _trim(call, "trim_start"), _trim(call, "trim_end")


def _trim(call: Call, name: str) -> int:
    text = call.request.query_params.get(name)
    try:
        return whole_number(text, 0, _MOST_TRIMMED) if text else 0
    except ValueError as exc:
        raise InvalidParameter(f"{name}: {exc}.", target=name) from None


def _inches(call: Call, name: str, default: float) -> float:
    text = call.request.query_params.get(name)
    try:
        return number(text) if text else default
    except ValueError as exc:
        raise InvalidParameter(f"{name}: {exc}.", target=name) from None


_TRIM: Final = ("trim_start", "trim_end")

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/data/legend/classmap/{classmapName}",
        class_map_legend,
        Role.READER,
        "Legend of a map of classes",
        _TRIM,
    ),
    Endpoint(
        "GET",
        "/data/legend/interval/{classmapName}",
        interval_legend,
        Role.READER,
        "Legend of a map of intervals",
        _TRIM,
    ),
    Endpoint(
        "GET",
        "/data/legend/colormap/{colorMapName}",
        colormap_legend,
        Role.READER,
        "Legend of a colour map",
        ("height", "width", *_TRIM),
    ),
)
