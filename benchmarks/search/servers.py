"""The servers that are compared, each in processes of its own, loaded with the same files.

Ours is `graticule serve` with authentication, an API process for each core, and without the worker, which a search has
no use for.
The peer is stac-fastapi on pgstac as an operator would tune it: hydration in the API (five times as fast as its
default), an index for cloud cover, 2 GB of shared buffers, uvloop and httptools, no access log, no authentication.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from benchmarks.search.load import Root

REQUIREMENTS: Final = Path(__file__).with_name("requirements-peer.txt")
GRATICULE: Final = (sys.executable, "-m", "graticule")
_PASSWORD: Final = "bench"  # noqa: S105 - of a server on the loopback that holds made-up scenes
_CONFIGURATION: Final = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
shared_buffers = 2GB
effective_cache_size = 6GB
work_mem = 32MB
maintenance_work_mem = 512MB
max_wal_size = 8GB
random_page_cost = 1.1
max_connections = 60
"""
#: pgstac indexes no property of its own accord.
_CLOUD_INDEX: Final = """
INSERT INTO pgstac.queryables (name, definition, property_wrapper, property_index_type)
SELECT 'eo:cloud_cover', '{"type": "number"}'::jsonb, 'to_float', 'BTREE'
WHERE NOT EXISTS (SELECT 1 FROM pgstac.queryables WHERE name = 'eo:cloud_cover')"""


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    name: str
    root: Root
    processes: tuple[psutil.Process, ...]

    def memory(self) -> float:
        """Anonymous memory of the whole tree, MiB: without the page cache, and without what PostgreSQL shares."""
        return sum(_anonymous(each) for process in self.processes for each in _tree(process)) / 1024


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _anonymous(process: psutil.Process) -> int:
    """KiB; none for a process that has gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    return 0


@contextmanager
def ours(folder: Path, store: str, files: tuple[Path, Path], database_url: str | None) -> Iterator[Server]:
    """Graticule on one of its stores; loaded the first time."""
    data = folder / f"graticule-{store}-{files[1].stem}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRATICULE_")}
    environment["GRATICULE_API_PROCESSES"] = str(os.cpu_count())  # searches alone: nothing else wants the cores
    if database_url is not None:
        environment["GRATICULE_DATABASE_URL"] = database_url
        environment["GRATICULE_SECRET_KEY"] = "0" * 64  # a made-up one; the servers are on this machine alone
    marker = data / "loaded"
    if not marker.exists():
        shutil.rmtree(data, ignore_errors=True)
        for file in files:
            load = [*GRATICULE, "load", "--data-dir", str(data), str(file)]
            _timed(f"graticule load {file.name} ({store})", load, environment)
        marker.touch()
    announced = data / "serve.json"
    announced.unlink(missing_ok=True)
    command = [*GRATICULE, "serve", "--data-dir", str(data), "--port", "0", "--no-worker"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait(announced.exists, process, 60)
        url = json.loads(announced.read_text("utf-8"))["url"]
        asked = [*GRATICULE, "token", "--data-dir", str(data), "--role", "reader"]
        token = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.strip()
        root = Root(f"{url}/stac", (("Authorization", f"Bearer {token}"),))
        yield Server(f"graticule, {store}", root, (psutil.Process(process.pid),))
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def peer(folder: Path, dsn: str, server: psutil.Process, files: tuple[Path, Path]) -> Iterator[Server]:
    """stac-fastapi-pgstac; installed and loaded the first time."""
    programs = _installed(folder / "peer")
    _fill(programs, dsn, files)
    port = free_port()
    environment = {
        **os.environ, **libpq(dsn),
        "ENABLE_RESPONSE_MODELS": "FALSE", "USE_API_HYDRATE": "TRUE", "DB_MIN_CONN_SIZE": "4", "DB_MAX_CONN_SIZE": "10",
    }  # fmt: skip
    application = ["stac_fastapi.pgstac.app:create_app", "--factory"]
    listening = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    process = subprocess.Popen([str(programs / "uvicorn"), *application, *listening], env=environment)
    try:
        wait(lambda: answers(port), process, 60)
        yield Server("stac-fastapi-pgstac", Root(f"http://127.0.0.1:{port}"), (psutil.Process(process.pid), server))
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[Callable[[str], str], psutil.Process]]:
    """A PostgreSQL server of our own, for the peer and for our store on PostgreSQL; answers what makes addresses."""
    programs = postgres_programs()
    account = _account()
    data = folder / "postgres"
    if not (data / "PG_VERSION").exists():
        data.mkdir(parents=True, exist_ok=True)
        if account:
            os.chown(data, account["user"], account["group"])
        secret = folder / "password"
        secret.write_text(_PASSWORD)
        init: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "bench",
            f"--pwfile={secret}",
            "-A",
            "scram-sha-256",
        ]
        init += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd="/", **account)
    port = free_port()
    (data / "bench.conf").write_text(_CONFIGURATION.format(port=port))
    command: list[str | Path] = [programs / "postgres", "-D", data, "-c", f"config_file={data / 'postgresql.conf'}"]
    configuration = data / "postgresql.conf"
    if "include 'bench.conf'" not in configuration.read_text("utf-8"):
        with configuration.open("a", encoding="utf-8") as file:
            file.write("include 'bench.conf'\n")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", **account)

    def address(database: str) -> str:
        return f"postgresql://bench:{_PASSWORD}@127.0.0.1:{port}/{database}"

    try:
        wait(lambda: _connects(address("postgres")), process, 60)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def database(address: Callable[[str], str], name: str) -> str:
    """The address of a database, made where it is missing."""
    with psycopg.connect(address("postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return address(name)


def warm(dsn: str) -> None:
    """Read all of a database into the server's buffers, as those of a server that has run for a while."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
        connection.execute("""
            SELECT pg_prewarm(c.oid::regclass) FROM pg_class c
            WHERE c.relkind IN ('r', 'i', 't', 'm') AND c.relpersistence = 'p' AND c.oid >= 16384""")


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs, with PostGIS beside; Debian's packages are installed where root runs this.

    Raises:
        SystemExit: they are missing and cannot be installed; the message says how.
    """
    for tried in (False, True):
        for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
            extensions = Path("/usr/share/postgresql") / folder.parent.name / "extension"
            if (folder / "initdb").exists() and (extensions / "postgis.control").exists():
                return folder
        if tried or os.geteuid() != 0 or shutil.which("apt-get") is None:
            break
        install = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql", "postgresql-postgis"]
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    raise SystemExit("PostgreSQL with PostGIS is missing. Debian: apt-get install postgresql postgresql-postgis")


# --- also for other benchmarks, and inside


def _installed(folder: Path) -> Path:
    """The programs of the peer's environment."""
    programs, marker = folder / "bin", folder / "installed"
    if not marker.exists() or marker.read_text("utf-8") != REQUIREMENTS.read_text("utf-8"):
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([programs / "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        marker.write_text(REQUIREMENTS.read_text("utf-8"))
    return programs


def _fill(programs: Path, dsn: str, files: tuple[Path, Path]) -> None:
    pypgstac = str(programs / "pypgstac")
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'pgstac'").fetchone() is None:
            subprocess.run([pypgstac, "migrate", "--dsn", dsn], check=True, stdout=subprocess.DEVNULL)
        name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        connection.execute(f'ALTER DATABASE "{name}" SET search_path TO pgstac, public'.encode())
        connection.execute("SET search_path TO pgstac, public")  # this session is older than that
        connection.execute("CREATE TABLE IF NOT EXISTS public.bench_loaded (file text)")
        if connection.execute("SELECT 1 FROM public.bench_loaded").fetchone():
            return
        load = [pypgstac, "load", "collections", str(files[0]), "--dsn", dsn, "--method", "upsert"]
        subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
        connection.execute(_CLOUD_INDEX)
        load = [pypgstac, "load", "items", str(files[1]), "--dsn", dsn, "--method", "insert_ignore"]
        _timed(f"pypgstac load {files[1].name}", load, dict(os.environ))
        connection.execute("ANALYZE")
        connection.execute("INSERT INTO public.bench_loaded VALUES (%s)", [files[1].name])


def _timed(what: str, command: list[str], environment: dict[str, str]) -> None:
    begun = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    print(f"{what}: {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)


def _account() -> dict[str, Any]:
    """PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def libpq(dsn: str) -> dict[str, str]:
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    return {variable: str(parts[name]) for name, variable in names.items()}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _connects(dsn: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(dsn).close()
        return True
    return False


def wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"{process.args!r} did not start")
        time.sleep(0.05)
