"""Owns: the one place where a socket for a user's URL is made.

Every connection of the client goes through `Door.make_socket`, which is handed the very address that the kernel will
be asked to connect to: names, addresses written into the URL (for which no resolver is asked), each hop of a redirect
and each address of a name with several. `Door.resolve` comes before it, for names only: it looks the name up once and
passes on only addresses that may be reached, so that a second look-up can answer what it likes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from graticule.sources.guard import Guard
from graticule.sources.hrefs import Href

#: Looks a name up: host → addresses as text. Raises OSError where there are none.
Lookup = Callable[[str], Awaitable[Sequence[str]]]

# What is being fetched, for the code below aiohttp: a task that opens a socket inherits it.
_wanted: ContextVar[Href] = ContextVar("graticule_wanted_href")


class Door(AbstractResolver):
    """Resolver and socket factory of the client."""

    def __init__(self, guard: Guard, lookup: Lookup | None = None) -> None:
        """Take another look-up than the system's, for tests."""
        self._guard = guard
        self._lookup = lookup or self._ask_system
        # A thread of our own for each look-up: a slow name server must not hold up the loop's shared threads.
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="name-lookup")

    @contextmanager
    def fetching(self, href: Href) -> Iterator[None]:
        """Connections made inside are for this href."""
        self._guard.check(href)
        token = _wanted.set(href)
        try:
            yield
        finally:
            _wanted.reset(token)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - aiohttp's interface; it passes "any"
    ) -> list[ResolveResult]:
        """The addresses of a name that may be connected to.

        Raises:
            SourceForbidden: the name has addresses, and none may be reached.
        """
        href = _wanted.get()
        found = [ipaddress.ip_address(text) for text in await self._lookup(host)]
        if not found:
            raise OSError(None, f"{host} has no address")
        admitted = [address for address in found if self._guard.admits(href, address)]
        if not admitted:
            raise self._guard.refusal(href)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in admitted
        ]

    def make_socket(self, addr_info: AddrInfoType) -> socket.socket:
        """A socket for an address that may be connected to.

        Raises:
            SourceForbidden: the address may not be reached, or is none (the system would look it up again).
        """
        family, kind, protocol, _, address = addr_info
        href = _wanted.get()
        try:
            numeric = ipaddress.ip_address(str(address[0]))
        except ValueError:
            raise self._guard.refusal(href) from None
        if not self._guard.admits(href, numeric):
            raise self._guard.refusal(href)
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Let go of the threads; look-ups still under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask_system(self, host: str) -> Sequence[str]:
        def look_up() -> list[Any]:
            return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)

        answers = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
