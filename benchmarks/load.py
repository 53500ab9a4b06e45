"""Bulk loading: `graticule load` on SQLite and on PostgreSQL against pypgstac, the same items, in turns.

    make bench-load BENCH_ARGS="--install-peer --items 50000"        # or: python -m benchmarks.load [options]

Needs PostgreSQL with PostGIS (Debian: postgresql-15-postgis-3); the server is the benchmark's own, on a free port, in a
temporary folder, and syncs to disk as it ships. pypgstac comes from PyPI into a virtual environment of its own
(`--install-peer`), or is named with `--pypgstac PATH`; without either, only Graticule is measured. Prints a Markdown
page; only the ratios, medians of the rounds, mean anything on another machine.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import resource
import secrets
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from benchmarks.items import write
from benchmarks.search.report import machine

PYPGSTAC: Final = "pypgstac[psycopg]==0.10.0"
#: What an operator would set on a machine of this size; durability stays as PostgreSQL ships it.
_SERVER: Final = (
    "listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=1GB", "effective_cache_size=4GB",
    "work_mem=32MB", "maintenance_work_mem=512MB", "max_wal_size=8GB", "random_page_cost=1.1",
)  # fmt: skip


_PAGE: Final = """# Benchmark: bulk loading

Written by `make bench-load BENCH_ARGS="--install-peer --items 100000"`: {items:,} made-up items of {size:.1f}
kB in three collections, from a file of JSON lines into an empty catalog, {rounds} rounds in turns. {machine}.
Times contain the start of the command. Graticule validates each item, sums up the collections and keeps its
indexes as it goes; pypgstac loads by its fastest method (`insert`) and validates nothing. Both sync each
transaction to disk. CPU is of the command and the database server together, memory what the processes of the
command have of their own at most. Only the ratios mean anything elsewhere.

"""


class Server:
    """A PostgreSQL server of our own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        """Make and start it."""
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
            user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        init: list[str | Path] = [programs / "initdb", "-D", folder / "data", "-U", "bench", "--auth=trust"]
        subprocess.run(
            [*init, "-E", "UTF8", "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **user
        )
        options = [part for option in (*_SERVER, f"port={self.port}") for part in ("-c", option)]
        self.process = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *options], stderr=subprocess.DEVNULL, cwd=folder, **user
        )
        give_up_at = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.1)
            else:
                return

    def url(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql://bench@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement."""
        with psycopg.connect(self.url(database), autocommit=True) as raw:
            cursor = raw.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def fresh(self, name: str, template: str = "template1") -> str:
        """The address of an empty database."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        self.run("CHECKPOINT")
        return self.url(name)

    def cpu(self) -> float:
        """CPU seconds of the sessions that have ended."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.children_user + times.children_system)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def server(programs: Path) -> Iterator[Server]:
    """A server that runs within."""
    with tempfile.TemporaryDirectory(prefix="bench-pg-", ignore_cleanup_errors=True) as folder:
        running = Server(Path(folder), programs)
        try:
            yield running
        finally:
            running.stop()


@dataclass(slots=True)
class Subject:
    """One way of loading."""

    name: str
    #: Makes an empty catalog; answers how to load, and how to count the items afterwards.
    prepare: Callable[[], tuple[list[str], dict[str, str], Callable[[], int]]]
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def graticule_on_sqlite(folder: Path, source: Path) -> Subject:
    """`graticule load` into a new data folder."""

    def prepare() -> tuple[list[str], dict[str, str], Callable[[], int]]:
        data = folder / "sqlite"
        shutil.rmtree(data, ignore_errors=True)

        def count() -> int:
            with sqlite3.connect(data / "graticule.db") as raw:
                return int(raw.execute("SELECT count(*) FROM items").fetchone()[0])

        return [*_graticule(data), str(source)], {}, count

    return Subject("graticule, SQLite", prepare)


def graticule_on_postgres(folder: Path, source: Path, postgres: Server) -> Subject:
    """`graticule load` into a new database."""

    def prepare() -> tuple[list[str], dict[str, str], Callable[[], int]]:
        data = folder / "postgres"
        shutil.rmtree(data, ignore_errors=True)
        url = postgres.fresh("graticule")

        def count() -> int:
            return int(postgres.run("SELECT count(*) FROM items", "graticule")[0][0])

        # Beside a database server the key of secrets has to be given, because several hosts share it.
        environment = {"GRATICULE_DATABASE_URL": url, "GRATICULE_SECRET_KEY": secrets.token_urlsafe(32)}
        return [*_graticule(data), str(source)], environment, count

    return Subject("graticule, PostgreSQL", prepare)


def _graticule(data: Path) -> list[str]:
    return [sys.executable, "-m", "graticule", "load", "--data-dir", str(data)]


def pypgstac(program: Path, source: Path, postgres: Server) -> Subject:
    """`pypgstac load items` into a new database with the collections, by its fastest method."""
    empty = postgres.fresh("pgstac_empty")
    subprocess.run([program, "migrate", "--dsn", empty], check=True, stdout=subprocess.DEVNULL)
    collections = source / "collections.ndjson"
    load = [str(program), "load"]
    subprocess.run([*load, "collections", str(collections), "--dsn", empty], check=True, stdout=subprocess.DEVNULL)

    def prepare() -> tuple[list[str], dict[str, str], Callable[[], int]]:
        url = postgres.fresh("pgstac", "pgstac_empty")

        def count() -> int:
            return int(postgres.run("SELECT count(*) FROM pgstac.items", "pgstac")[0][0])

        return [*load, "items", str(source / "items.ndjson"), "--dsn", url, "--method", "insert"], {}, count

    return Subject("pypgstac", prepare)


def measure(subject: Subject, items: int, postgres: Server) -> None:
    """Load once, in a process as a user would; every item must be there afterwards."""
    command, environment, count = subject.prepare()
    before, server_before = _children_cpu(), postgres.cpu()
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    memory = _watch(process)
    if process.returncode:
        raise SystemExit(f"{subject.name}: it failed")
    seconds = time.perf_counter() - begun
    if (found := count()) != items:
        raise SystemExit(f"{subject.name}: {found} of {items} items were loaded")
    _wait_for_helpers(postgres)
    time.sleep(0.2)  # sessions end a little later than their clients
    subject.memory.append(memory)
    subject.rates.append(items / seconds)
    subject.cpu.append((_children_cpu() - before + postgres.cpu() - server_before) / items * 1e6)
    print(f"{subject.name}: {subject.rates[-1]:,.0f} items/s, {subject.cpu[-1]:.0f} µs CPU an item", file=sys.stderr)


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command; answers the most memory of their own that its processes had together, bytes."""
    most = 0
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
            return most
        own = 0
        with suppress(psutil.Error):
            command = psutil.Process(process.pid)
            for each in (command, *command.children(recursive=True)):
                with suppress(psutil.Error):
                    own += each.memory_full_info().uss
        most = max(most, own)


def _adopt_helpers() -> None:
    """Become the parent of processes whose own parent has ended, so that their CPU time is told (prctl(2))."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1)


def _wait_for_helpers(postgres: Server) -> None:
    for child in psutil.Process().children():
        if child.pid != postgres.process.pid:
            os.waitpid(child.pid, 0)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def install_peer() -> Path:
    """The peer in a virtual environment of its own, made once."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "graticule-bench" / PYPGSTAC
    program = folder / "bin" / "pypgstac"
    if not program.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", PYPGSTAC], check=True)
    return program


def report(subjects: list[Subject], peer: Subject | None) -> str:
    """A Markdown table."""
    lines = [
        "| load | items/s, median (least to most) | CPU µs an item | memory MiB | rate to pypgstac's |",
        "| --- | --- | --- | --- | --- |",
    ]
    for subject in subjects:
        ratio = ""
        if peer is not None and subject is not peer:
            ratios = [ours / theirs for ours, theirs in zip(subject.rates, peer.rates, strict=True)]
            ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        rates, cpu = subject.rates, statistics.median(subject.cpu)
        middle = f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        lines.append(f"| {subject.name} | {middle} | {cpu:.0f} | {max(subject.memory) >> 20} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--install-peer", action="store_true", help="install pypgstac from PyPI, once")
    parser.add_argument("--pypgstac", type=Path, metavar="PATH", help="a pypgstac that is installed")
    parser.add_argument("--output", type=Path, help="write the page here too")
    parser.add_argument("--postgres", type=Path, metavar="FOLDER", help="the folder of initdb and postgres")
    arguments = parser.parse_args()
    _adopt_helpers()
    programs = arguments.postgres or max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if programs is None:
        raise SystemExit("PostgreSQL was not found: install it, or name its folder with --postgres")
    with tempfile.TemporaryDirectory(prefix="bench-load-") as name, server(programs) as postgres:
        folder = Path(name)
        source = folder / "source"
        write(source, arguments.items)[1].rename(source / "items.ndjson")
        subjects = [graticule_on_sqlite(folder, source), graticule_on_postgres(folder, source, postgres)]
        peer = None
        if program := arguments.pypgstac or (install_peer() if arguments.install_peer else None):
            peer = pypgstac(program, source, postgres)
            subjects.append(peer)
        for turn in range(arguments.rounds):
            for subject in subjects if turn % 2 == 0 else reversed(subjects):
                measure(subject, arguments.items, postgres)
        size = (source / "items.ndjson").stat().st_size / arguments.items / 1000
        page = _PAGE.format(machine=machine(), items=arguments.items, size=size, rounds=arguments.rounds)
        page += report(subjects, peer) + "\n"
        print(page)
        if arguments.output is not None:
            arguments.output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
