"""How verbs answer: with an ETag that follows the data, 304 where the caller has it, and never from a shared cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from starlette.responses import Response

from graticule.api.routing import Call, json_response
from graticule.tiler import Answer, Job, RenderParameters, parse_parameters
from graticule.tiler.grids import grid_name

#: Kept by the client that asked, and asked about each time: an answer is right after the item was replaced.
_CACHE_CONTROL: Final = "private, no-cache"


def parameters_of(call: Call, **path: str) -> RenderParameters:
    """The render parameters of a request; what the path says wins over the query.

    Raises:
        InvalidParameter: one of them cannot be used.
        NotFound: there is no such tile matrix set.
    """
    names = ("scale", "format", "width", "height", "tileMatrixSetId")
    given = {name: call.path[name] for name in names if name in call.path} | path
    pairs = [pair for pair in call.request.query_params.multi_items() if pair[0] != "api-version"]
    asked = given.get("tileMatrixSetId") or _last(pairs, "tilematrixsetid")
    if asked is not None:
        given["tileMatrixSetId"] = grid_name(asked)
    return _parsed(tuple(pairs), tuple(given.items()))


@lru_cache(maxsize=512)
def _parsed(pairs: tuple[tuple[str, str], ...], given: tuple[tuple[str, str], ...]) -> RenderParameters:
    """The tiles of a layer are asked for with the same query, hundreds a second."""
    return parse_parameters(pairs, dict(given))


async def send_picture(call: Call, job: Job) -> Response:
    """The picture that a job makes."""
    if (kept := _not_modified(call, job)) is not None:
        return kept
    answer = await call.services.tiler.run(job)
    return Response(answer.body, media_type=str(answer.header["media_type"]), headers=_headers(job))


async def send_json(call: Call, job: Job, made: Callable[[Mapping[str, Any]], Any]) -> Response:
    """JSON made of what a job finds."""
    if (kept := _not_modified(call, job)) is not None:
        return kept
    answer: Answer = await call.services.tiler.run(job)
    return json_response(made(answer.header), headers=_headers(job))


def _headers(job: Job) -> dict[str, str]:
    return {"ETag": job.etag, "Cache-Control": _CACHE_CONTROL}


def _not_modified(call: Call, job: Job) -> Response | None:
    tags = call.request.headers.get("if-none-match")
    if tags is None:
        return None
    if tags.strip() == "*" or job.etag in {tag.strip().removeprefix("W/") for tag in tags.split(",")}:
        return Response(status_code=304, headers=_headers(job))
    return None


def _last(pairs: list[tuple[str, str]], name: str) -> str | None:
    return next((value for key, value in reversed(pairs) if key.lower() == name and value), None)
