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
    this = asyncio.current_task()
    watching: asyncio.Task[None] | None = None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_left = True
        if this is not None:
            this.cancel()

    def begin_to_watch() -> None:
        nonlocal watching
        watching = asyncio.get_running_loop().create_task(watch())

    # A timer, and no task for the work: most of it is done before.
    soon = asyncio.get_running_loop().call_later(_SOON, begin_to_watch)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and this is not None and not this.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        soon.cancel()
        if watching is not None:
            watching.cancel()
