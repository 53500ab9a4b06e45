"""Signed templates: what a signature in a tile's URL is for, and how TileJSON and WMTS come by one.

A signature is for a target (the segments of its path), a tile matrix set and every parameter that changes what is
drawn. Zoom, row, column, scale, format and api-version are free: they are what a map client fills in.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from graticule.access.templates import EXPIRES, SIGNATURE, TemplateSignature
from graticule.api.data.targets import path_prefix
from graticule.api.routing import Call
from graticule.errors import InvalidParameter
from graticule.tiler.grids import grid_name
from graticule.tiler.names import DEFAULT_TILE_MATRIX_SET
from graticule.tiler.parameters import whole_number

_SIGN: Final = "sign"
_DURATION: Final = "duration"
#: Parameters of a document that are not its tiles', and those that may differ from tile to tile.
NOT_FOR_TILES: Final = frozenset(
    {
        *("tile_format", "tile_scale", "minzoom", "maxzoom", "tilematrixsetid", "api_version", "format", "scale"),
        *(_SIGN, _DURATION, EXPIRES, SIGNATURE),
    }
)


def folded(name: str) -> str:
    """The one spelling of a parameter's name."""
    return name.lower().replace("-", "_")


def subject_of(request: Request) -> list[object]:
    """What a signature for this request must be for: a tile or a document about tiles."""
    path = request.path_params
    asked = path.get("tileMatrixSetId")
    if asked is None:
        names = [value for name, value in request.query_params.multi_items() if folded(name) == "tilematrixsetid"]
        asked = names[-1] if names and names[-1] else DEFAULT_TILE_MATRIX_SET
    pairs = [
        [folded(name), value] for name, value in request.query_params.multi_items() if folded(name) not in NOT_FOR_TILES
    ]
    # Clients may order parameters anew, but not the values of one.
    return ["tiles", *path_prefix(request), grid_name(asked), sorted(pairs, key=lambda pair: pair[0])]


def image_subject(request: Request) -> list[object]:
    """The same for a static image, which is all that its URL says."""
    return image_subject_of(request.path_params["collectionId"], request.path_params["imageId"])


def image_subject_of(collection_id: str, image_id: str) -> list[object]:
    """As `image_subject`."""
    return ["image", collection_id, image_id]


async def signature_of(call: Call) -> TemplateSignature | None:
    """The signature that a document's templates carry: a new one with ``sign=true``, else the request's own.

    Whoever came with a signature cannot make one that lasts longer.

    Raises:
        InvalidParameter: ``sign`` or ``duration`` cannot be used.
    """
    query = call.request.query_params
    if "authorization" not in call.request.headers:
        return TemplateSignature(int(query[EXPIRES]), query[SIGNATURE]) if SIGNATURE in query else None
    sign = query.get(_SIGN, "").lower()
    if sign not in {"", "true", "false"}:
        raise InvalidParameter("sign: give true or false.", target=_SIGN)
    if sign != "true":
        return None
    minutes = None
    if query.get(_DURATION):
        try:
            minutes = whole_number(query[_DURATION], 1, 10**9)
        except ValueError as exc:
            raise InvalidParameter(f"duration: {exc}.", target=_DURATION) from None
    return await call.services.templates.sign(subject_of(call.request), minutes)
