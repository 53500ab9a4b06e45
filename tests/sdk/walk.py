"""Calls operations of whatever version of the SDK this process finds: a job as JSON comes in, answers as JSON go out.

Job: url, token, mode (``sync``, ``async``), calls (operation → keyword options), arguments (as
`operations.arguments`). Answer: operations (all that the SDK has), answers (operation → ``{"bytes": base64}``,
``{"json": …, "type": …}`` or ``{"status": …, "error": …}``).
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import sys
import time
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.planetarycomputer import PlanetaryComputerProClient
from azure.planetarycomputer._utils.model_base import SdkJSONEncoder
from azure.planetarycomputer.aio import PlanetaryComputerProClient as AsyncClient


class Credential:
    """Never asked: `Bearer` sends the token."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken("unused", int(time.time()) + 3600)


class Bearer(SansIOHTTPPolicy):  # type: ignore[type-arg]
    """The SDK's own refuses http."""

    def __init__(self, token: str) -> None:
        self._token = token

    def on_request(self, request: Any) -> None:
        request.http_request.headers["Authorization"] = f"Bearer {self._token}"


def keywords(method: Any, name: str, job: dict[str, Any], learned: dict[str, Any]) -> dict[str, Any]:
    """What an operation requires, by name, and its options."""
    known: dict[str, Any] = {**job["arguments"]["*"], **learned, **job["arguments"].get(name, {})}
    parameters = [
        parameter for parameter in inspect.signature(method).parameters.values() if parameter.name != "kwargs"
    ]
    required = [
        parameter.name
        for parameter in parameters
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or parameter.default is inspect.Parameter.empty
    ]
    return {**{parameter: known[parameter] for parameter in required}, **job["calls"][name]}


def learn(name: str, found: Any, learned: dict[str, Any]) -> None:
    """Keep the ids that later operations ask for."""
    if name == "register_mosaics_search":
        learned["search_id"] = found["searchid"]
    elif name == "create_static_image":
        learned["id"] = found["url"].partition("?")[0].rsplit("/", 1)[-1]


def told(found: Any) -> dict[str, Any]:
    if isinstance(found, bytes):
        return {"bytes": base64.b64encode(found).decode()}
    return {"json": json.loads(json.dumps(found, cls=SdkJSONEncoder)), "type": type(found).__name__}


def failed(exc: Exception) -> dict[str, Any]:
    return {"status": getattr(exc, "status_code", None), "error": f"{type(exc).__name__}: {exc}"[:2000]}


def walk(job: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    learned: dict[str, Any] = {"search_id": "0" * 32, "id": "none"}
    with PlanetaryComputerProClient(job["url"], Credential(), authentication_policy=Bearer(job["token"])) as client:
        names = [name for name in dir(client.data) if not name.startswith("_")]
        for name in job["calls"]:
            try:
                method = getattr(client.data, name)
                found = method(**keywords(method, name, job, learned))
                if not isinstance(found, dict | list) and hasattr(found, "__next__"):
                    found = b"".join(found)
                answers[name] = told(found)
                learn(name, answers[name].get("json"), learned)
            except (HttpResponseError, TypeError, ValueError, KeyError, AttributeError) as exc:
                answers[name] = failed(exc)
    return {"operations": names, "answers": answers}


async def walk_async(job: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    learned: dict[str, Any] = {"search_id": "0" * 32, "id": "none"}
    never_asked: Any = Credential()
    async with AsyncClient(job["url"], never_asked, authentication_policy=Bearer(job["token"])) as client:
        names = [name for name in dir(client.data) if not name.startswith("_")]
        for name in job["calls"]:
            try:
                method = getattr(client.data, name)
                found = await method(**keywords(method, name, job, learned))
                if hasattr(found, "__aiter__"):
                    found = b"".join([chunk async for chunk in found])
                answers[name] = told(found)
                learn(name, answers[name].get("json"), learned)
            except (HttpResponseError, TypeError, ValueError, KeyError, AttributeError) as exc:
                answers[name] = failed(exc)
    return {"operations": names, "answers": answers}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump(walk(given) if given["mode"] == "sync" else asyncio.run(walk_async(given)), sys.stdout)
