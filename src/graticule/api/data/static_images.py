"""Static images: asked for by POST, drawn by GET (api.md 6.5; preview version only)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from graticule.api.data.answers import send_picture
from graticule.api.data.images import around_of
from graticule.api.data.signing import image_subject_of
from graticule.api.routing import Call, json_response
from graticule.errors import InvalidRequestBody, OutsideData, RequestError
from graticule.tiler import Box, Job, RenderParameters, parse_parameters, select
from graticule.tiler.static_images import StaticImage

_MAX_BODY_BYTES: Final = 1_000_000
_CRS: Final = "epsg:3857"


async def create_static_image(call: Call) -> Response:
    """``POST /data/collections/{collectionId}/image/static``: the URL of a picture, with a signature that ends."""
    collection_id = call.path["collectionId"]
    await call.services.catalog.collection(collection_id)  # NotFound
    body = await call.json_object(_MAX_BODY_BYTES)
    image = await call.services.tiler.static_images.add(collection_id, body)
    try:
        await _job(call, image)  # so that what cannot be drawn is said now
    except OutsideData:
        pass  # the answer to its GET; items may come
    except RequestError as exc:
        raise InvalidRequestBody(f"render_params: {exc.message}", target="render_params") from None
    signature = await call.services.templates.sign(image_subject_of(collection_id, image.id))
    url = call.links.versioned("data", "collections", collection_id, "image", "static", image.id)
    return json_response({"url": f"{url}&{urlencode(signature.pairs)}"})


async def get_static_image(call: Call) -> Response:
    """``GET …/image/static/{id}``: the picture as PNG, of the items that there are now."""
    await call.services.catalog.collection(call.path["collectionId"])  # NotFound
    image = await call.services.tiler.static_images.get(call.path["collectionId"], call.path["imageId"])
    return await send_picture(call, await _job(call, image))


async def _job(call: Call, image: StaticImage) -> Job:
    tiler = call.services.tiler
    target = await tiler.found(image.collection, image.search)
    parameters = _parameters(image)
    selection = select(parameters, await target.keys())
    area = Box(image.box(await target.bounds()))
    around = await around_of(area, parameters)
    return await tiler.job("image", target, selection, parameters, area, around=around)


def _parameters(image: StaticImage) -> RenderParameters:
    path = {"format": "png", "width": image.columns, "height": image.rows}
    return replace(parse_parameters(image.pairs, path), coord_crs=_CRS, dst_crs=_CRS)
