"""Assets of a collection itself, and its thumbnail (api.md 2.3)."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from graticule.access import Role
from graticule.api.assets import send_blob
from graticule.api.documents import Documents
from graticule.api.routing import Call, Endpoint, json_response
from graticule.api.uploads import receive_upload
from graticule.catalog import CollectionRecord
from graticule.errors import NotFound


async def create_collection_asset(call: Call) -> Response:
    """``POST …/assets``: a form with the parts ``data`` (JSON) and ``file``; 201 with the collection."""
    collection_id = call.path["collectionId"]
    await call.services.collection_assets.check(collection_id)
    async with receive_upload(call, file_part="file", json_part="data") as (data, upload):
        record = await call.services.collection_assets.add(collection_id, data, upload)
    return await _collection(call, record, 201)


async def replace_collection_asset(call: Call) -> Response:
    """``PUT …/assets/{assetId}``: the same form; 200 with the collection."""
    collection_id, key = call.path["collectionId"], call.path["assetId"]
    await call.services.collection_assets.check(collection_id, key)
    async with receive_upload(call, file_part="file", json_part="data") as (data, upload):
        record = await call.services.collection_assets.replace(collection_id, key, data, upload)
    return await _collection(call, record)


async def delete_collection_asset(call: Call) -> Response:
    """``DELETE …/assets/{assetId}``: 200 with the collection."""
    record = await call.services.collection_assets.remove(call.path["collectionId"], call.path["assetId"])
    return await _collection(call, record)


async def get_thumbnail(call: Call) -> Response:
    """``GET …/thumbnail``: the bytes of the asset keyed ``thumbnail``, or a redirect to where they lie elsewhere."""
    blob, href = await call.services.collection_assets.thumbnail(call.path["collectionId"])
    if blob is not None:
        # The picture behind this URL may be replaced: ask again, and mostly be answered 304.
        return await send_blob(call, blob.container, blob.key, cache_control="private, no-cache")
    if not href.startswith(("https://", "http://")):
        raise NotFound("The collection's thumbnail lies at no URL that can be opened.", target="thumbnail")
    return RedirectResponse(href, status_code=302)


async def _collection(call: Call, record: CollectionRecord, status: int = 200) -> Response:
    return json_response(await Documents(call).collection(record), status)


_COLLECTION = "/stac/collections/{collectionId}"
_ASSETS = _COLLECTION + "/assets"
_ASSET = _ASSETS + "/{assetId}"

ENDPOINTS = (
    Endpoint("POST", _ASSETS, create_collection_asset, Role.ADMINISTRATOR, "Add an asset to a collection", status=201),
    Endpoint("PUT", _ASSET, replace_collection_asset, Role.ADMINISTRATOR, "Replace an asset of a collection"),
    Endpoint("DELETE", _ASSET, delete_collection_asset, Role.ADMINISTRATOR, "Delete an asset of a collection"),
    Endpoint("GET", _COLLECTION + "/thumbnail", get_thumbnail, Role.READER, "Read a collection's thumbnail"),
)
