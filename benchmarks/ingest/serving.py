"""What takes part: the peer with its transactions, and a source of files, each in processes of its own.

The peer is stac-fastapi on pgstac with the transactions extension, as an operator would tune it: no response models,
pools of connections, uvloop and httptools, no access log, no authentication. It stores documents as they are sent and
fetches nothing. PostgreSQL and SQLite both make each commit durable.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.search.load import Root
from benchmarks.search.servers import GRATICULE, REQUIREMENTS, answers, database, free_port, libpq, postgres, wait

#: Items that a part of a static catalog lists.
PART: Final = 500


@contextmanager
def peer(folder: Path, programs: Path | None) -> Iterator[Root]:
    """stac-fastapi-pgstac with transactions, on a database of its own; `programs`: of an environment that has it."""
    programs = programs or _installed(folder / "peer")
    with postgres(folder) as (address, _):
        dsn = database(address, "ingest")
        with psycopg.connect(dsn, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'pgstac'").fetchone() is None:
                migrate = [str(programs / "pypgstac"), "migrate", "--dsn", dsn]
                subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL, env=_clean())
            connection.execute("ALTER DATABASE ingest SET search_path TO pgstac, public")
        port = free_port()
        environment = {
            **_clean(), **libpq(dsn),
            "ENABLE_TRANSACTIONS_EXTENSIONS": "TRUE", "ENABLE_RESPONSE_MODELS": "FALSE", "USE_API_HYDRATE": "TRUE",
            "DB_MIN_CONN_SIZE": "4", "DB_MAX_CONN_SIZE": "10",
        }  # fmt: skip
        application = ["stac_fastapi.pgstac.app:create_app", "--factory"]
        listening = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "critical", "--no-access-log"]
        command = [str(programs / "uvicorn"), *application, *listening]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            wait(lambda: answers(port), process, 60)
            yield Root(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(20)


def token(data: Path) -> str:
    """An administrator's, for the catalog of a data folder."""
    command = [*GRATICULE, "token", "--data-dir", str(data), "--expires-in", "12h"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def source(folder: Path, items: int = 0) -> Iterator[str]:
    """A folder, served by a process of its own, and a static catalog of so many items; answers its host:port.

    ``catalog.json`` leads to parts of `PART` items each; every item has the one asset ``small.tif``.
    """
    theirs, ours = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(ours, folder, items), daemon=True)
    process.start()
    try:
        yield f"127.0.0.1:{theirs.recv()}"
    finally:
        process.terminate()
        process.join(10)


def _serve(ready: Connection, folder: Path, items: int) -> None:
    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            document = _document(self.path.lstrip("/"), items)
            if document is None:
                super().do_GET()
            else:
                _send(self, json.dumps(document).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    ready.send(server.server_address[1])
    server.serve_forever()


def _send(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _document(path: str, items: int) -> dict[str, Any] | None:
    kind, _, rest = path.partition("/")
    number = rest.removesuffix(".json")
    if path == "catalog.json":
        links = [{"rel": "child", "href": f"./part/{part}.json"} for part in range(-(-items // PART))]
    elif kind == "part" and number.isdecimal():
        start = int(number) * PART
        links = [{"rel": "item", "href": f"../item/{each}.json"} for each in range(start, min(start + PART, items))]
    elif kind == "item" and number.isdecimal():
        return made_item(
            f"bulk-{number}", int(number), {"href": "../small.tif", "type": "image/tiff", "roles": ["data"]}
        )
    else:
        return None
    return {"type": "Catalog", "id": path, "stac_version": "1.0.0", "description": "made up", "links": links}


def made_item(item_id: str, number: int, asset: dict[str, Any] | None) -> dict[str, Any]:
    """A small Item, somewhere on the globe."""
    x, y = number * 7 % 3600 / 10 - 180, number * 3 % 1700 / 10 - 85
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "geometry": {"type": "Point", "coordinates": [x, y]},
        "bbox": [x, y, x, y],
        "properties": {"datetime": f"2024-{number % 12 + 1:02}-{number % 28 + 1:02}T10:00:00Z"},
        "links": [],
        "assets": {} if asset is None else {"image": asset},
    }


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _installed(folder: Path) -> Path:
    """The peer's programs, the same as those of `make bench-search`."""
    programs, marker = folder / "bin", folder / "installed"
    if not marker.exists() or marker.read_text("utf-8") != REQUIREMENTS.read_text("utf-8"):
        print("installing the peer", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([programs / "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        marker.write_text(REQUIREMENTS.read_text("utf-8"))
    return programs
