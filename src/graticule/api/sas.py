"""Signed access: tokens for a collection's container, signed hrefs, and taking all of them back (api.md section 4)."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.responses import Response

from graticule.access import Role, sign_href
from graticule.api.documents import duration_minutes
from graticule.api.routing import Call, Endpoint, json_response
from graticule.errors import InvalidParameter


async def collection_token(call: Call) -> Response:
    """``GET /sas/token/{collectionId}``: reads everything in the collection's container."""
    minutes = duration_minutes(call)
    record = await call.services.catalog.collection(call.path["collectionId"])
    minted = await call.services.tokens.mint_container(record.container, minutes)
    return json_response({"msft:expiry": _expiry(minted.expires_at), "token": minted.query})


async def sign(call: Call) -> Response:
    """``GET /sas/sign?href=``: an href that is not this catalog's comes back as it is, without an expiry."""
    minutes = duration_minutes(call)
    href = call.query.get("href")
    if not href:
        raise InvalidParameter("href is required: the URL of an asset of this catalog.", target="href")
    signed = await sign_href(call.services.tokens, href, call.links.base, minutes)
    body: dict[str, str] = {"href": signed.href}
    if signed.expires_at is not None:
        body["msft:expiry"] = _expiry(signed.expires_at)
    return json_response(body)


async def revoke(call: Call) -> Response:
    """``POST /sas/token/revoke``: every token ever given out stops working within two seconds."""
    await call.services.tokens.revoke()
    return Response(status_code=200)


def _expiry(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


ENDPOINTS = (
    Endpoint("GET", "/sas/token/{collectionId}", collection_token, Role.READER, "Token of a collection", ("duration",)),
    Endpoint("GET", "/sas/sign", sign, Role.READER, "Sign an href", ("href", "duration")),
    Endpoint("POST", "/sas/token/revoke", revoke, Role.ADMINISTRATOR, "Revoke all tokens", ("duration",)),
)
