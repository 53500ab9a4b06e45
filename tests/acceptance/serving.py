"""A real `graticule serve` for tests: a process of its own, on a free port, in a folder of its own.

    with Served(tmp_path) as served:
        client = served.client("reader")
        client.get(f"{served.url}/stac/collections")

Everything is done as a user does it: settings go in by environment, tokens come from `graticule token`, and the server
is stopped, killed and started again by signals.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

#: Seconds. Generous, because they only matter where something is broken: healthy servers take a fraction.
START_LIMIT = 60
STOP_LIMIT = 20
OPERATION_LIMIT = 120


class Served:
    """A catalog that runs from `start` to `stop`, and may be killed in between."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        tls: bool = False,
        port: int | None = None,
    ) -> None:
        """Choose a port; nothing runs yet.

        Args:
            folder: where the data folder and the log of this server are made.
            arguments: more arguments of `graticule serve`.
            env: settings, by their full names (``GRATICULE_…``).
            tls: serve https with a local CA.
            port: else a free one.
        """
        self.data_dir = folder / "catalog"
        self.log = folder / "serve.log"
        self.port = port or free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = (*arguments, "--tls") if tls else arguments
        self._tls = tls
        self._env = dict(env or {})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- running

    def start(self) -> None:
        """Start the server, or start it again on the same port and folder; returns when it answers."""
        assert self.process is None, "it runs already"
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*GRATICULE, "serve", "--data-dir", str(self.data_dir), "--port", str(self.port), *self._arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + START_LIMIT
        while not self.is_healthy():
            if self.process.poll() is not None:
                raise AssertionError(f"`graticule serve` ended with {self.process.returncode}:\n{self.log_text()}")
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"no answer from {self.url}/healthz:\n{self.log_text()}")
            time.sleep(0.05)

    def stop(self) -> int | None:
        """Ask it to end, and wait; its exit status, or None where it was not running."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int | None:
        """End it as a power cut would: SIGKILL to the supervisor, whose children die with it."""
        return self._end(signal.SIGKILL)

    def is_healthy(self) -> bool:
        """Does ``/healthz`` answer 200?"""
        if self._tls and not self.ca_file.exists():
            return False
        try:
            with self._session() as session:
                return session.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def log_text(self) -> str:
        """What the server has printed, in all its lives."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # --- using

    @property
    def database_url(self) -> str | None:
        """Where its database is; None for the file in the data folder."""
        return self._env.get("GRATICULE_DATABASE_URL")

    def environment(self) -> dict[str, str]:
        """The environment of the server and of commands: the test's, with this server's settings."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GRATICULE_")}
        # One API process starts in half the time of several; what they share has a test of its own.
        return {**clean, "GRATICULE_API_PROCESSES": "1", **self._env}

    def command(self, *arguments: str) -> str:
        """What a `graticule` command for this data folder prints on stdout."""
        done = subprocess.run(
            [*GRATICULE, *arguments, "--data-dir", str(self.data_dir)],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"graticule {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def token(self, role: str = "administrator", *, expires_in: str = "1h") -> str:
        """A bearer token."""
        return self.command("token", "--role", role, "--expires-in", expires_in).strip()

    def client(self, role: str | None = "administrator") -> requests.Session:
        """An HTTP client with a token of the role (None: without one)."""
        session = self._session()
        if role is not None:
            session.headers["Authorization"] = f"Bearer {self.token(role)}"
        return session

    @property
    def ca_file(self) -> Path:
        """The local CA's certificate, with ``tls``."""
        return self.data_dir / "tls" / "ca.pem"

    def finished(self, client: requests.Session, accepted: requests.Response) -> dict[str, Any]:
        """Poll the operation that a 202 names, until it has ended."""
        assert accepted.status_code == 202, accepted.text
        until = time.monotonic() + OPERATION_LIMIT
        while True:
            answer = client.get(accepted.headers["location"])
            assert answer.status_code == 200, answer.text
            operation: dict[str, Any] = answer.json()
            if operation["status"] in {"Succeeded", "Failed", "Canceled"}:
                return operation
            assert time.monotonic() < until, f"still {operation['status']}: {operation}\n{self.log_text()[-4000:]}"
            time.sleep(0.1)

    # --- inside

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # else REQUESTS_CA_BUNDLE and proxies of the developer's shell win over `verify`
        if self._tls:
            session.verify = str(self.ca_file)
        return session

    def _end(self, how: signal.Signals) -> int | None:
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(how)
        try:
            return process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"`graticule serve` did not end on {how.name}:\n{self.log_text()}") from None


#: How tests start the command line: this interpreter, so that it is the code under test.
GRATICULE = (sys.executable, "-m", "graticule")


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
