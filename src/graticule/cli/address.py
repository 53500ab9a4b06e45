"""Where the catalog of a data folder listens: ``serve.json``, written by `graticule serve`, read by other commands."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from graticule.errors import SettingsError

if TYPE_CHECKING:
    from graticule.settings import Settings

#: Where `graticule serve` listens unless told otherwise.
DEFAULT_URL: Final = "http://127.0.0.1:8080"


def address_of(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Family and socket address to listen at for a name or number: the same in every process of a service.

    Raises:
        SettingsError: it is no address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no host name"
        raise SettingsError(f"--host {host} is no address of this machine: {reason}.") from exc
    return family, address


def bound_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """A socket bound to the port. Where it is `shared`, other processes may bind it too: the kernel deals out.

    Raises:
        SettingsError: the port is taken, or this is no address of this machine.
    """
    family, address = address_of(host, port)
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as after a restart; a listener still conflicts
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as exc:
        bound.close()
        if exc.errno == errno.EADDRINUSE:
            raise SettingsError(f"Port {port} is taken by another program: name another with --port.") from exc
        raise SettingsError(f"Cannot listen at {address[0]}:{port}: {exc.strerror}.") from exc
    return bound


def write_address(data_dir: Path, url: str) -> None:
    """Note the URL of this process; a stopped server's note stays, since the next start mostly has the same."""
    path = data_dir / "serve.json"
    temporary = path.with_name(f".serve.json.{secrets.token_hex(6)}")
    temporary.write_text(json.dumps({"url": url.rstrip("/"), "pid": os.getpid()}), "utf-8")
    temporary.replace(path)


def read_address(data_dir: Path) -> str:
    """The URL noted last, else the default."""
    try:
        noted = json.loads((data_dir / "serve.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return DEFAULT_URL
    url = noted.get("url") if isinstance(noted, dict) else None
    return url if isinstance(url, str) and url.startswith(("http://", "https://")) else DEFAULT_URL


def base_urls(settings: Settings) -> list[str]:
    """The base URLs that clients know the catalog by, the best first."""
    known = (settings.public_url, read_address(settings.data_dir))
    return list(dict.fromkeys(url for url in known if url is not None))
