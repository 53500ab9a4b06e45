"""Both servers with the same COGs: the bytes that Graticule stores are those that the peer opens, on the same disk.

Ours is `graticule serve` as a user starts it, with authentication; its items came in by ingestion. The peer is
titiler-pgstac as an operator would tune it: GDAL's settings from titiler's guide, a process for each core, uvloop and
httptools, no access log, no authentication, its caches of items and searches on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
import requests

from benchmarks.search.load import Root
from benchmarks.search.servers import GRATICULE, Server, answers, free_port, libpq, wait
from benchmarks.tiles.scenes import GRID, SINGLE, Scene, collection

REQUIREMENTS: Final = Path(__file__).with_name("requirements-peer.txt")
#: https://developmentseed.org/titiler/advanced/performance_tuning/
_GDAL: Final = {
    "CPL_TMPDIR": "/tmp", "GDAL_CACHEMAX": "200", "GDAL_INGESTED_BYTES_AT_OPEN": "32768",  # noqa: S108
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES", "GDAL_HTTP_VERSION": "2", "VSI_CACHE": "TRUE", "VSI_CACHE_SIZE": "5000000",
}  # fmt: skip


@contextmanager
def ours(folder: Path, scenes: Sequence[Scene]) -> Iterator[tuple[Server, dict[str, str]]]:
    """Graticule, which has ingested the scenes; and where their files lie, by item."""
    data, ready = folder / "graticule", folder / "graticule" / "ingested"
    names = "\n".join(str(scene.file) for scene in scenes)
    if not ready.exists() or ready.read_text("utf-8") != names:
        shutil.rmtree(data, ignore_errors=True)
        _ingest(data, scenes)
        ready.write_text(names, "utf-8")
    with _serving(data, {}, "--no-worker") as (url, process):
        root = Root(url, (("Authorization", f"Bearer {_token(data, 'reader')}"),))
        files = {scene.id: str(next((data / "assets").glob(f"*/*/{scene.id}/data.*"))) for scene in scenes}
        yield Server("graticule", root, (psutil.Process(process.pid),)), files


@contextmanager
def peer(
    folder: Path, programs: Path | None, dsn: str, scenes: Sequence[Scene], files: dict[str, str]
) -> Iterator[Server]:
    """titiler-pgstac on the same files.

    Args:
        folder: for its environment and its items.
        programs: of an environment that has it installed; None: it is installed.
        dsn: an empty database, or the one of an earlier run.
        scenes: what there is.
        files: where they lie, by item.
    """
    programs = programs or _installed(folder / "peer")
    _fill(folder, programs, dsn, scenes, files)
    port, cores = free_port(), str(len(os.sched_getaffinity(0)))
    environment = {**os.environ, **libpq(dsn), **_GDAL}
    environment.pop("PYTHONPATH", None)
    listening = ["--host", "127.0.0.1", "--port", str(port), "--workers", cores]
    quiet = ["--log-level", "warning", "--no-access-log"]
    command = [str(programs / "uvicorn"), "titiler.pgstac.main:app", *listening, *quiet]
    process = subprocess.Popen(command, env=environment)
    try:
        wait(lambda: answers(port), process, 60)
        yield Server("titiler-pgstac", Root(f"http://127.0.0.1:{port}"), (psutil.Process(process.pid),))
    finally:
        process.terminate()
        process.wait(20)


# --- inside


@contextmanager
def _serving(data: Path, environment: dict[str, str], *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    announced = data / "serve.json"
    announced.unlink(missing_ok=True)
    command = [*GRATICULE, "serve", "--data-dir", str(data), "--port", "0", *arguments]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    try:
        wait(announced.exists, process, 60)
        yield json.loads(announced.read_text("utf-8"))["url"], process
    finally:
        process.terminate()
        process.wait(30)


def _token(data: Path, role: str) -> str:
    asked = [*GRATICULE, "token", "--data-dir", str(data), "--role", role]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def _ingest(data: Path, scenes: Sequence[Scene]) -> None:
    handler = partial(_Quiet, directory=str(scenes[0].file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as source:
        threading.Thread(target=source.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{source.server_address[1]}"
        with _serving(data, {"GRATICULE_FETCH_ALLOW": host}) as (url, _):
            token = _token(data, "administrator")
            for name in (SINGLE, GRID):
                _send(f"{url}/stac/collections", token, collection(name))
            begun = time.perf_counter()
            for scene in scenes:
                item = scene.item(f"http://{host}/{scene.file.name}")
                _send(f"{url}/stac/collections/{scene.collection}/items", token, item)
            print(f"{len(scenes)} scenes ingested in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        source.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _send(url: str, token: str, document: dict[str, Any]) -> None:
    """Create something, and wait until it is there."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.post(url, json=document, headers=headers, timeout=60)
    answer.raise_for_status()
    operation = answer.headers.get("location")
    while operation is not None:
        found = requests.get(operation, headers=headers, timeout=60).json()
        if found["status"] == "Succeeded":
            return
        if found["status"] in {"Failed", "Canceled"}:
            raise SystemExit(f"ingestion failed: {found}")
        time.sleep(0.05)


def _installed(folder: Path) -> Path:
    programs, marker = folder / "bin", folder / "installed"
    if not marker.exists() or marker.read_text("utf-8") != REQUIREMENTS.read_text("utf-8"):
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([programs / "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        marker.write_text(REQUIREMENTS.read_text("utf-8"))
    return programs


def _fill(folder: Path, programs: Path, dsn: str, scenes: Sequence[Scene], files: dict[str, str]) -> None:
    pypgstac = str(programs / "pypgstac")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'pgstac'").fetchone() is None:
            migrate = [pypgstac, "migrate", "--dsn", dsn]
            subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL, env=environment)
        name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        connection.execute(f'ALTER DATABASE "{name}" SET search_path TO pgstac, public'.encode())
    written = {"collections": folder / "collections.ndjson", "items": folder / "items.ndjson"}
    written["collections"].write_text("".join(json.dumps(collection(name)) + "\n" for name in (SINGLE, GRID)), "utf-8")
    lines = [json.dumps(scene.item(files[scene.id])) + "\n" for scene in scenes]
    written["items"].write_text("".join(lines), "utf-8")
    for what, file in written.items():
        load = [pypgstac, "load", what, str(file), "--dsn", dsn, "--method", "upsert"]
        subprocess.run(load, check=True, stdout=subprocess.DEVNULL, env=environment)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")
