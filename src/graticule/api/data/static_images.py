"""Static images of the preview version (api.md 6.5): a picture of a collection's items, under a URL to pass on.

All that an image depends on is in its id, so that nothing is stored, the URL works after a restart, and the pixels
follow the data.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import replace
from typing import Any, Final

import orjson
from starlette.responses import Response

from graticule.access import Role
from graticule.api.data.answers import send_picture
from graticule.api.data.images import polygon_of
from graticule.api.routing import Call, Endpoint, json_response
from graticule.errors import InvalidParameter, InvalidRequestBody, NotFound
from graticule.stac.cql2 import parse_json
from graticule.stac.documents import JsonObject
from graticule.tiler import Box, Job, parse_parameters, select
from graticule.tiler.options import read_options
from graticule.tiler.parameters import MAX_SIDE

#: What is kept of a body; the others say how the original looks (branding), or the same again (imageSize).
_MEMBERS: Final = ("cql", "zoom", "geometry", "render_params", "cols", "rows")
#: An id is part of a URL.
_LONGEST_ID: Final = 6000
_LARGEST_BODY: Final = 1_000_000


async def create_static_image(call: Call) -> Response:
    """``POST …/image/static``: the URL of the picture, which is drawn when it is asked for."""
    body = await call.json_object(_LARGEST_BODY)
    document = {name: body[name] for name in _MEMBERS if body.get(name) is not None}
    await _job(call, document)  # what cannot be drawn is refused now
    image_id = _written(document)
    if len(image_id) > _LONGEST_ID:
        message = "The geometry and filter are too long for the URL of an image: simplify the geometry."
        raise InvalidRequestBody(message, target="geometry")
    url = call.links.versioned("data", "collections", call.path["collectionId"], "image", "static", image_id)
    return json_response({"url": url})


async def get_static_image(call: Call) -> Response:
    """``GET …/image/static/{id}``: a PNG."""
    return await send_picture(call, await _job(call, _read(call.path["id"])))


async def _job(call: Call, document: JsonObject) -> Job:
    """What is to be drawn.

    Raises:
        InvalidRequestBody: a member cannot be used; its target names it.
    """
    size = {name: str(_side(document, member)) for name, member in (("width", "cols"), ("height", "rows"))}
    text = document.get("render_params")
    if not isinstance(text, str):
        raise InvalidRequestBody("'render_params' must be a query string of render parameters.", target="render_params")
    target = await call.services.tiler.collection(call.path["collectionId"], {})
    if condition := document.get("cql"):
        try:
            target = target.narrowed(parse_json(condition))
        except InvalidParameter as exc:
            raise InvalidRequestBody(f"'cql' cannot be used. {exc.message}", target="cql") from exc
    if (geometry := document.get("geometry")) is not None:
        bounds = polygon_of(geometry, "The image").bounds
    else:
        bounds = await target.bounds()
    west, south, east, north = bounds
    if east < west:  # the extent of a collection across the antimeridian
        west, east = -180.0, 180.0
    try:
        parameters = parse_parameters(read_options(text), {**size, "format": "png"})
        if parameters.dst_crs is None:
            parameters = replace(parameters, dst_crs="epsg:3857")  # as the map it was chosen on
        parameters = replace(parameters, coord_crs="epsg:4326")
        selection = select(parameters, await target.keys())
        box = (west, south, east, north)
        return await call.services.tiler.job("image", target, selection, parameters, Box(box), around=box)
    except InvalidParameter as exc:
        raise InvalidRequestBody(f"'render_params' cannot be used. {exc.message}", target="render_params") from exc


def _side(document: JsonObject, name: str) -> int:
    value = document.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIDE:
        raise InvalidRequestBody(f"'{name}' must be a whole number from 1 to {MAX_SIDE}.", target=name)
    return value


def _written(document: JsonObject) -> str:
    packed = zlib.compress(orjson.dumps(document, option=orjson.OPT_SORT_KEYS), 9)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _read(image_id: str) -> JsonObject:
    try:
        packed = base64.b64decode(image_id + "=" * (-len(image_id) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj()
        document: Any = orjson.loads(unpacker.decompress(packed, _LARGEST_BODY))
    except (binascii.Error, ValueError, zlib.error):
        document = None
    if not isinstance(document, dict):
        raise NotFound("There is no such image: POST …/image/static answers the URL of one.", target="id")
    return document


_PATH: Final = "/data/collections/{collectionId}/image/static"

ENDPOINTS: Final = (
    Endpoint("POST", _PATH, create_static_image, Role.READER, "Make a static image"),
    Endpoint("GET", f"{_PATH}/{{id}}", get_static_image, Role.READER, "Read a static image"),
)
