"""Work that is worth doing only as long as the client waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")

#: Nobody hangs up sooner, and most answers are there by then: only then is it looked at, seconds.
_SOON: Final = 0.25


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work answers; it is cancelled when the client hangs up. The request's body has been read.

    Raises:
        ClientDisconnect: it did.
    """
    task = asyncio.ensure_future(work)
    gone: asyncio.Task[None] | None = None
    try:
        done, _ = await asyncio.wait({task}, timeout=_SOON)
        if not done:
            gone = asyncio.create_task(_disconnected(request))
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for one in (task, gone):
            if one is not None:
                one.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
