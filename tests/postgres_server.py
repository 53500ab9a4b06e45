"""A PostgreSQL server for tests: in a temporary folder, on a Unix socket, gone with the test run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

#: Oldest major version that the database room speaks to.
OLDEST = 14

#: A test server may lose everything in a power cut, and saves the fsyncs. (Commits still wait for the log.)
_OPTIONS = (
    "fsync=off", "full_page_writes=off", "listen_addresses=", "shared_buffers=64MB", "max_connections=100",
    "autovacuum=off", "log_min_messages=fatal",
)  # fmt: skip


def programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``: ``GRATICULE_TEST_POSTGRES``, else that of the newest one installed."""
    named = os.environ.get("GRATICULE_TEST_POSTGRES")
    if named is not None:
        return Path(named) if _complete(Path(named)) else None
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    folders = [*debian, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in folders if _complete(folder)), None)


def _complete(folder: Path) -> bool:
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return int(said.split()[2].split(".")[0]) >= OLDEST and (folder / "initdb").exists()


def has_postgis(programs: Path) -> bool:
    """Is PostGIS, which pgstac needs, there for the server of this folder?"""
    root = programs.parent
    shares = [root / "share", root / "share" / "postgresql", Path("/usr/share/postgresql") / root.name]
    return any((share / "extension" / "postgis.control").exists() for share in shares)


#: Empties every table; a large one as a whole, so that nothing of it is left to be read over.
_EMPTY = """
DO $$ DECLARE r record; BEGIN
  FOR r IN SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'graticule_schema' LOOP
    IF pg_relation_size(r.name::regclass) > 100000 THEN
      EXECUTE format('TRUNCATE %I CASCADE', r.name);
    ELSE
      EXECUTE format('DELETE FROM %I', r.name);
    END IF;
  END LOOP;
  FOR r IN SELECT sequencename AS name FROM pg_sequences WHERE schemaname = 'public' LOOP
    PERFORM setval(r.name::regclass, 1, false);
  END LOOP;
END $$"""


class PostgresServer:
    """Hands out databases; may be stopped and started again."""

    def __init__(self, programs: Path, folder: Path) -> None:
        """Make a cluster in an empty folder of our own."""
        self._programs = programs
        self._folder = folder
        self._names = (f"test_{number}" for number in count())
        self._made: set[str] = set()
        self._empty: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to be run by root.
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            somebody = next(
                name for name in ("postgres", "nobody") if name in {user.pw_name for user in pwd.getpwall()}
            )
            account = pwd.getpwnam(somebody)
            os.chown(folder, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        init: list[str | Path] = [
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            "tests",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run([*init, "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **self._user)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [part for option in _OPTIONS for part in ("-c", option)]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder / "data", "-k", self._folder, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            **self._user,
        )
        give_up_at = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > give_up_at or self._process.poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop it at once, as when its machine goes down in order: sessions are ended, nothing committed is lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://tests@/{database}?host={self._folder}"

    def administer(self, statement: str) -> None:
        """Run a statement beside the databases."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as raw:
            raw.execute(statement.encode())

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The address of a new database, a copy of another one; it is dropped at the end."""
        name = next(self._names)
        self.administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self.url(name)
        self.administer(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def emptied_database(self, template: str) -> Iterator[str]:
        """As `database`, at a tenth of the time: one that an earlier user left as it was is emptied and used again."""
        name = self._empty.pop() if self._empty else next(self._names)
        if name not in self._made:
            self.administer(f"CREATE DATABASE {name} TEMPLATE {template}")
            self._made.add(name)
        yield self.url(name)
        with psycopg.connect(self.url(name), autocommit=True) as raw:
            raw.execute(_EMPTY)
        self._empty.append(name)


@contextmanager
def running(programs: Path) -> Iterator[PostgresServer]:
    """A server that runs within."""
    # Not pytest's folder: a socket's path must be short, and root's folders are closed to the server's user.
    with tempfile.TemporaryDirectory(prefix="graticule-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(programs, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
