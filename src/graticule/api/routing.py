"""Endpoints as data, and the one path every request takes: identify, authorise, check the version, handle, answer.

A handler is ``async (Call) -> Response``. Authorisation comes before the body is read and before anything is looked up,
so that a caller without the right learns nothing from a 404 or a 400.
"""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from graticule.access import Principal, Role, require
from graticule.access.templates import EXPIRES, SIGNATURE
from graticule.api.errors import envelope, error_response
from graticule.api.links import Links, base_url
from graticule.api.versions import api_version
from graticule.database import passing_fault, unreachable
from graticule.errors import BodyTooLarge, GraticuleError, InvalidRequestBody, Unauthorized, Unavailable, UrlTooLong
from graticule.services import Services

log = logging.getLogger(__name__)

#: Of a path and query. Proxies pass on 8,000 bytes at the least, most of them some more (RFC 9110 section 4.1).
MAX_URL_BYTES = 32_000


class Call:
    """One request on its way through a handler."""

    def __init__(self, request: Request, services: Services, principal: Principal | None) -> None:
        """Keep the request, the parts of the catalog, and who asks."""
        self.request = request
        self.services = services
        self.principal = principal

    @property
    def path(self) -> Mapping[str, str]:
        """Path parameters, decoded."""
        return self.request.path_params

    @cached_property
    def query(self) -> Mapping[str, str]:
        """Query parameters; the last of several equal names wins."""
        return self.request.query_params

    def lists(self, *names: str) -> dict[str, str]:
        """As `query`; parameters of these names may come several times, which means the same as commas between.

        Clients do either (api.md 1.2).
        """
        parameters = self.request.query_params
        return {
            name: ",".join(parameters.getlist(name)) if name in names else value for name, value in parameters.items()
        }

    @cached_property
    def version(self) -> str:
        """The api-version in force."""
        return api_version(self.request.query_params.getlist("api-version"))

    @cached_property
    def links(self) -> Links:
        """URLs for this answer."""
        explicit = "api-version" in self.request.query_params
        return Links(base_url(self.request, self.services.settings), self.version, explicit)

    def here(self, path: Sequence[str], lists: Sequence[str] = (), **changed: str) -> str:
        """The URL of this request, below the base: its path, and its parameters but for those that are changed."""
        asked = {name: value for name, value in self.lists(*lists).items() if name != "api-version"}
        return self.links.to(*path, **{**asked, **changed})

    async def chunks(self, limit: int | None = None) -> AsyncIterator[bytes]:
        """The body as it arrives, at most ``max_body_bytes``, or fewer where an operation sets a limit of its own.

        Raises:
            BodyTooLarge: it is larger; the rest is not read.
            InvalidRequestBody: it is compressed.
        """
        coding = self.request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            raise InvalidRequestBody(
                f"The body has the Content-Encoding {coding[:40]!r}: send it as it is.", target="Content-Encoding"
            )
        largest = self.services.settings.max_body_bytes
        limit = largest if limit is None else min(limit, largest)
        declared = self.request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise BodyTooLarge(_too_large(limit, largest))
        whole = int(declared) if declared.isdecimal() else None
        size, more = 0, True
        # The server has the end of a body to tell in a message of its own, and each takes a way between its threads:
        # where a length was declared, it is not waited for.
        while more and size != whole:
            message = await self.request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(_too_large(limit, largest))
            if chunk:
                yield chunk

    async def body(self, limit: int | None = None) -> bytes:
        """The whole body; as `chunks`."""
        return b"".join([chunk async for chunk in self.chunks(limit)])

    async def json(self, limit: int | None = None) -> Any:
        """The body as JSON; its size as in `chunks`.

        Raises:
            InvalidRequestBody: it is not JSON.
        """
        document = read_json(await self.body(limit), "The request body")
        # Kept until the answer is on its way: to free a large one takes as long as to read it.
        self.request.state.document = document
        return document

    async def json_object(self, limit: int | None = None) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            InvalidRequestBody: it is not one.
        """
        document = await self.json(limit)
        if not isinstance(document, dict):
            raise InvalidRequestBody("The request body must be a JSON object.")
        return document


def read_json(text: bytes | bytearray, subject: str, *, target: str | None = None) -> Any:
    """JSON that a client sent, and that can be written again.

    Raises:
        InvalidRequestBody: it is not JSON, or nested deeper than can be written.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequestBody(f"{subject} is not JSON: {exc}.", target=target) from exc
    try:
        # orjson reads 1024 levels and writes 254; answers wrap what was sent in a few of their own.
        orjson.dumps([[[[document]]]])
    except orjson.JSONEncodeError as exc:
        message = f"{subject} is nested too deeply: at most 250 levels are taken."
        raise InvalidRequestBody(message, target=target) from exc
    return document


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """One operation of the HTTP interface."""

    method: str
    path: str
    handler: Handler
    role: Role | None  #: who may call it; None: public, one of the closed list in ``api/__init__.py``
    summary: str
    query: tuple[str, ...] = ()  #: names of its query parameters, beside api-version
    status: int = 200  #: of success
    tags: tuple[str, ...] = field(default=())
    operation: str = ""  #: its name in OpenAPI, where several paths share a handler; else the handler's
    #: What a signature in the URL must be for, where one may stand for a bearer token.
    signed: Callable[[Request], Sequence[object]] | None = None


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; bytes are taken as JSON that is ready."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(content, status_code=status, media_type="application/json", headers=dict(headers or {}))


def routes(endpoints: Iterable[Endpoint]) -> list[Route]:
    """Starlette routes for endpoints; those with the same path share one, so that 405 names all methods."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        methods = by_path.setdefault(endpoint.path, {})
        if endpoint.method in methods:
            raise ValueError(f"{endpoint.method} {endpoint.path} is listed twice")
        methods[endpoint.method] = endpoint
    return [
        Route(path, _Dispatcher(methods), methods=list(methods), include_in_schema=False)
        for path, methods in by_path.items()
    ]


class Table(Router):
    """Starlette's router, which tries every route in turn, shown only those that may be it.

    Where a route has the request's path to the letter, it is known which match it; else those of its length may.
    """

    def __init__(self, routes: list[Route]) -> None:
        """Take the routes, in the order in which they are tried."""
        super().__init__(routes, redirect_slashes=False)
        self._literal = {
            path: [route for route in routes if route.path_regex.match(path)]
            for path in (route.path for route in routes if not route.param_convertors)
        }
        lengths = {route.path.count("/") for route in routes}
        self._of_any_length = [route for route in routes if ":path}" in route.path]
        self._of_length = {
            length: [route for route in routes if ":path}" in route.path or route.path.count("/") == length]
            for length in lengths
        }

    def candidates(self, path: str) -> Sequence[Route]:
        """The routes that may match a path, in order."""
        return self._literal.get(path) or self._of_length.get(path.count("/"), self._of_any_length)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to its route; what has none, or another method, goes Starlette's way."""
        if scope["type"] == "http" and not scope.get("root_path"):
            for route in self.candidates(scope["path"]):
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope["router"], scope["route"] = self, route
                    scope.update(found)
                    await route.handle(scope, receive, send)
                    return
        await super().app(scope, receive, send)


class _Dispatcher:
    """The application behind a path: an object, for Starlette wraps functions to catch what `_answer` has caught."""

    def __init__(self, methods: Mapping[str, Endpoint]) -> None:
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._methods.get(scope["method"]) or self._methods["GET"]  # HEAD is answered as GET
        request = Request(scope, receive, send)
        response = await _answer(endpoint, request)
        try:
            await response(scope, receive, send)
        except Exception as exc:  # too late for an envelope: the server ends the connection, and the client sees that
            _log_place(endpoint, exc, response.headers["x-ms-request-id"])
            raise


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    services: Services = request.app.state.services
    request_id = str(uuid.uuid4())
    try:
        principal = await _authorise(endpoint, request, services)
        call = Call(request, services, principal)
        if endpoint.role is not None:
            _check_url(request)
            _ = call.version  # an unknown version is refused before anything is done; public protocols have their own
        response = await endpoint.handler(call)
    except GraticuleError as exc:
        response = error_response(exc)
        if response.status_code >= 500:
            extra = {"action": "request_failed", "request_id": request_id}
            log.warning("%s %s: %s", endpoint.method, endpoint.path, exc, extra=extra)
    except HTTPException as exc:
        response = envelope(exc.status_code, None, str(exc.detail))
    except ClientDisconnect:
        response = envelope(400, None, "The request ended before its body did.")  # nobody reads it
    except Exception as exc:  # noqa: BLE001 - the last door: whatever it is, the caller gets an envelope
        response = _crashed(endpoint, exc, request_id)
    response.raw_headers.append((b"x-ms-request-id", request_id.encode("ascii")))
    client_id = request.headers.get("x-ms-client-request-id")
    if client_id is not None and client_id.isprintable() and len(client_id) <= 128:
        response.headers["x-ms-client-request-id"] = client_id
    return response


def _crashed(endpoint: Endpoint, exc: Exception, request_id: str) -> Response:
    """A failure that nobody expected. Its place goes to the log, not its text: that may quote a URL or a document."""
    fault = passing_fault(exc)
    if fault is not None:  # its place tells no more, and every request may meet it until it has passed: one line each
        action = "database_away" if unreachable(exc) else "request_failed"
        extra = {"action": action, "request_id": request_id}
        log.warning("%s %s: %s", endpoint.method, endpoint.path, fault, extra=extra)
        return error_response(Unavailable(f"The catalog cannot do this right now: {fault}. Try again in a while."))
    _log_place(endpoint, exc, request_id)
    return envelope(500, "InternalError", f"The catalog failed. Its log tells why, under request {request_id}.")


def _log_place(endpoint: Endpoint, exc: Exception, request_id: str) -> None:
    log.error(
        "%s %s failed: %s\n%s",
        endpoint.method,
        endpoint.path,
        type(exc).__qualname__,
        "".join(traceback.format_tb(exc.__traceback__)),
        extra={"action": "request_crashed", "request_id": request_id},
    )


async def _authorise(endpoint: Endpoint, request: Request, services: Services) -> Principal | None:
    if endpoint.role is None:
        return None
    if endpoint.signed is not None and "authorization" not in request.headers:
        signature = request.query_params.get(SIGNATURE)
        if signature:
            expires = request.query_params.get(EXPIRES, "")
            principal = await services.templates.check(endpoint.signed(request), expires, signature)
            require(principal, endpoint.role)
            return principal
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized
    principal = await services.identity.authenticate(token.strip())
    require(principal, endpoint.role)
    return principal


def _check_url(request: Request) -> None:
    size = len(request.scope.get("raw_path") or b"") + len(request.scope["query_string"])
    # A next link is longer than what it follows: by a token, and where clients wrote it, by percent signs.
    if size > MAX_URL_BYTES * (4 if "token" in request.query_params else 1):
        raise UrlTooLong(
            f"The URL has {size} bytes; at most {MAX_URL_BYTES} are taken: send the search as POST /stac/search, with"
            " its parameters in the body."
        )


def _too_large(limit: int, largest: int) -> str:
    setting = " (GRATICULE_MAX_BODY_BYTES)" if limit == largest else ""
    return f"The request body is larger than {limit} bytes{setting}: send less at a time."
