"""A catalog in a process of its own: `graticule serve`, started for the demo and stopped with it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from graticule.errors import GraticuleError

#: How long a catalog may take until it serves requests, seconds.
START_TIMEOUT = 60
#: How long it may take to end when asked to, seconds.
STOP_TIMEOUT = 10

_PR_SET_PDEATHSIG = 1
# Loaded here, because nothing but the call itself is safe between fork and exec.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class CatalogFailed(GraticuleError):
    """The catalog's process does not run."""

    code = "CatalogFailed"


@dataclass(frozen=True)
class RunningCatalog:
    """Where a started catalog is."""

    url: str
    data_dir: Path

    async def token(self) -> str:
        """A bearer token of an administrator, as `graticule token` prints it.

        Raises:
            CatalogFailed: the command failed.
        """
        arguments = ("token", "--data-dir", str(self.data_dir))
        process = await asyncio.create_subprocess_exec(
            *_command(*arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(()),
        )
        printed, complaint = await process.communicate()
        if process.returncode != 0:
            raise CatalogFailed(f"`graticule token` failed: {complaint.decode(errors='replace').strip()}")
        return printed.decode().strip()


@asynccontextmanager
async def running_catalog(folder: Path, *, fetch_allow: Sequence[str]) -> AsyncIterator[RunningCatalog]:
    """Run a catalog in a folder, on a free port, until the block is left.

    Args:
        folder: becomes the parent of the data folder and of the log, ``serve.log``.
        fetch_allow: the private host:port that it may fetch assets from.

    Raises:
        CatalogFailed: it did not come up; the message ends with its last words.
    """
    data_dir, log = folder / "catalog", folder / "serve.log"
    port = free_port()
    arguments = ("serve", "--data-dir", str(data_dir), "--host", "127.0.0.1", "--port", str(port))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *_command(*arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(fetch_allow),
            start_new_session=True,  # Ctrl-C is for us; we then stop it in order
            preexec_fn=_die_with_parent,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        await _until_healthy(process, url, log)
        yield RunningCatalog(url, data_dir)
    finally:
        await _stop(process)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_healthy(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT), aiohttp.ClientSession() as session:
            while process.returncode is None:
                with suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/healthz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise CatalogFailed(f"The catalog did not come up in {START_TIMEOUT} s. {_last_words(log)}") from None
    raise CatalogFailed(f"The catalog ended with code {process.returncode}. {_last_words(log)}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    try:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
    except TimeoutError:
        pass  # it is killed now
    finally:
        # It leads a session of its own: whatever it may have left behind ends too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _command(*arguments: str) -> tuple[str, ...]:
    return sys.executable, "-m", "graticule", *arguments


def _environment(fetch_allow: Sequence[str]) -> dict[str, str]:
    """Ours without its settings: the demo is the same whatever the user's own catalog is set to."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRATICULE_")}
    return inherited | ({"GRATICULE_FETCH_ALLOW": ",".join(fetch_allow)} if fetch_allow else {})


def _die_with_parent() -> None:
    """Between fork and exec: have Linux end the catalog should this process be killed outright."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return "Its last lines:\n" + "\n".join(lines[-15:]) if lines else "It said nothing."
