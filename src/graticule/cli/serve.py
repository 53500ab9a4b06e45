"""``graticule serve``: the API and a worker as one supervised service."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graticule.cli.address import bound_socket
from graticule.cli.options import DataDir
from graticule.errors import DataFolderInUse

if TYPE_CHECKING:
    from graticule.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command, and the hidden one that its API processes run."""
    app.command("serve")(serve)
    app.command("_api", hidden=True)(api)


def serve(
    data_dir: DataDir = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8080,
    *,
    tls: Annotated[
        bool, typer.Option("--tls", help="Serve https, with a local authority made on first start.")
    ] = False,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Answer requests only.")] = False,
) -> int:
    """Start the catalog: it stays up until Ctrl-C or SIGTERM."""
    from graticule.cli.supervision import Child, supervise  # noqa: PLC0415 - not needed for `--help`
    from graticule.sealing import prepare_data_dir  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415

    settings = load_settings(data_dir=data_dir)
    prepare_data_dir(settings.data_dir)
    # On a database server several may serve one catalog, also from a data folder that they share.
    lock = _data_folder_lock(settings.data_dir) if settings.database_url is None else nullcontext()
    with lock, _reserved(host, port) as actual_port:
        graticule = [sys.executable, "-m", "graticule"]
        folder = ["--data-dir", str(settings.data_dir)]
        api_command = [*graticule, "_api", *folder, "--host", host, "--port", str(actual_port)]
        api_command += ["--tls"] if tls else []
        children = [Child("The API", [*api_command, "--announce"])]
        children += [Child(f"API process {number}", api_command) for number in range(2, settings.api_process_count + 1)]
        if not no_worker:
            children.append(Child("The worker", [*graticule, "worker", *folder, "--quiet"]))
        return asyncio.run(supervise(children, longest_delay=settings.restart_delay))


def api(
    data_dir: DataDir = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    tls: bool = False,
    announce: bool = False,
) -> None:
    """Answer HTTP requests: one of the processes that `serve` watches."""
    import uvloop  # noqa: PLC0415 - the heavy imports

    from graticule.cli.api_process import serve_api  # noqa: PLC0415
    from graticule.cli.logs import set_up_logging  # noqa: PLC0415
    from graticule.cli.supervision import adopt  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415

    adopt()
    settings = load_settings(data_dir=data_dir)
    set_up_logging(settings.log_level)
    uvloop.run(serve_api(settings, host, port, tls=tls, announce=_announcement(settings) if announce else None))


def _announcement(settings: Settings) -> str:
    return f"""Graticule is ready at {{url}}
  data folder  {settings.data_dir}
  database     {settings.database_place}
  assets       {settings.assets_place}
  get a token  graticule token --data-dir {settings.data_dir}
  stop         Ctrl-C"""


@contextmanager
def _data_folder_lock(folder: Path) -> Iterator[None]:
    """One `serve` per data folder; the kernel frees the lock with the process, however that ends."""
    descriptor = os.open(folder / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataFolderInUse(_in_use(folder, os.pread(descriptor, 32, 0).decode("ascii", "replace"))) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _in_use(folder: Path, pid: str) -> str:
    try:
        url = json.loads((folder / "serve.json").read_text("utf-8"))["url"]
    except (OSError, ValueError, KeyError):
        url = "an address it has not told yet"
    return (
        f"`graticule serve` runs on the data folder {folder} already (process {pid or '?'}, {url}): "
        "stop it, or name another folder with --data-dir."
    )


@contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """Keep the port for the API processes, which bind it too (SO_REUSEPORT); a foreign listener is told at once."""
    with bound_socket(host, port, shared=False) as probe:
        actual: int = probe.getsockname()[1]
    with bound_socket(host, actual, shared=True):
        yield actual
