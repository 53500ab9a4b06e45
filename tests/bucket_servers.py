"""Storage services for tests, started on free ports of the loopback: npm's Azurite for Azure Blob, moto for S3.

``make test`` puts both where they are found (tests/servers.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlencode

import platformdirs
import requests

TESTS = Path(__file__).resolve().parent
#: Azurite's account, the same everywhere and published; no secret.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_SAS_VERSION = "2020-12-06"
_START_LIMIT = 60


class Unavailable(Exception):
    """A server cannot be run here; the message says what is missing."""


@dataclass(frozen=True)
class Bucket:
    """A bucket or container that a test has for itself."""

    #: As ``GRATICULE_STORAGE_URL``.
    url: str
    #: What opens it, by the names of environment variables.
    env: Mapping[str, str]

    def settings(self) -> dict[str, str]:
        """As environment of a server."""
        return {"GRATICULE_STORAGE_URL": self.url, **self.env}


@dataclass(frozen=True)
class Azurite:
    """A running Azure Blob service."""

    url: str

    def new_container(self, prefix: str = "") -> Bucket:
        name = f"c-{uuid.uuid4().hex[:12]}"
        sas = account_sas()
        answer = requests.put(f"{self.url}/{name}?restype=container&{sas}", timeout=10)
        assert answer.status_code == 201, answer.text
        env = {
            "GRATICULE_STORAGE_ENDPOINT": self.url,
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
        }
        return Bucket(f"az://{name}{prefix}", env)

    def upload(self, container: str, name: str, data: bytes, media_type: str) -> None:
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": media_type}
        answer = requests.put(f"{self.url}/{container}/{name}?{account_sas()}", data=data, headers=headers, timeout=30)
        assert answer.status_code == 201, answer.text


@dataclass(frozen=True)
class Moto:
    """A running S3 service."""

    url: str

    def new_bucket(self, prefix: str = "") -> Bucket:
        name = f"b-{uuid.uuid4().hex[:12]}"
        assert requests.put(f"{self.url}/{name}", timeout=10).status_code == 200
        env = {
            "GRATICULE_STORAGE_ENDPOINT": self.url,
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up-too",
            "AWS_REGION": "us-east-1",
        }
        return Bucket(f"s3://{name}{prefix}", env)

    def upload(self, bucket: str, name: str, data: bytes, media_type: str) -> None:
        """Put an object."""
        headers = {"Content-Type": media_type}
        requests.put(f"{self.url}/{bucket}/{name}", data=data, headers=headers, timeout=30).raise_for_status()


def account_sas() -> str:
    """A token for everything in Azurite (Create an account SAS, version 2020-12-06)."""
    parts = {
        "sp": "rwdlac",
        "ss": "b",
        "srt": "sco",
        "st": "",
        "se": _later(),
        "sip": "",
        "spr": "",
        "sv": _SAS_VERSION,
    }
    signature = _sign("\n".join([ACCOUNT, *parts.values(), "", ""]))
    return urlencode({name: value for name, value in parts.items() if value} | {"sig": signature})


def container_sas(container: str, permissions: str = "rl") -> str:
    """A token to read and list one container (Create a service SAS, version 2020-12-06)."""
    until = _later()
    place = f"/blob/{ACCOUNT}/{container}"
    lines = [permissions, "", until, place, "", "", "", _SAS_VERSION, "c", "", "", "", "", "", "", ""]
    given = {"sp": permissions, "se": until, "sv": _SAS_VERSION, "sr": "c", "sig": _sign("\n".join(lines))}
    return urlencode(given)


@contextmanager
def azurite() -> Iterator[Azurite]:
    """Azurite, in memory."""
    program, node = azurite_program(), shutil.which(os.environ.get("GRATICULE_TEST_NODE", "node"))
    if node is None or not program.exists():
        raise Unavailable("Azurite is not installed: run `make test`, which installs it (node and npm are needed)")
    port = _free_port()
    options = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    with _running([node, str(program), "--blobPort", str(port), *options], port, {}):
        yield Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}")


@contextmanager
def moto() -> Iterator[Moto]:
    """moto's server."""
    folder = moto_folder()
    if not (folder / "moto").is_dir():
        raise Unavailable("moto is not installed: run `make test`, which installs it")
    port = _free_port()
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    with _running([sys.executable, "-c", code], port, {"PYTHONPATH": str(folder)}):
        yield Moto(f"http://127.0.0.1:{port}")


def moto_folder() -> Path:
    """Where moto is put: beside this interpreter's packages, where nothing imports it by chance."""
    return Path(sys.prefix) / "moto-server"


def azurite_program() -> Path:
    """What node runs."""
    return azurite_folder() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def azurite_folder() -> Path:
    """Where Azurite is put: in the user's cache, under a name that its lock decides."""
    locked = hashlib.sha256((TESTS / "azurite" / "package-lock.json").read_bytes()).hexdigest()[:12]
    return Path(platformdirs.user_cache_path("graticule-tests")) / f"azurite-{locked}"


def install_azurite(npm: str) -> None:
    """Put it there. Raises Unavailable."""
    folder = azurite_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        work = Path(temporary) / "work"
        shutil.copytree(TESTS / "azurite", work)
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"npm ci failed: {done.stderr.strip()[-300:]}")
        if not folder.exists():  # another run may have been quicker
            work.rename(folder)


@contextmanager
def _running(command: list[str], port: int, env: Mapping[str, str]) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **env}, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            until = time.monotonic() + _START_LIMIT
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    _give_up(command, log)
                time.sleep(0.05)
            yield
        finally:
            process.kill()
            process.wait()


def _give_up(command: list[str], log: Path) -> NoReturn:
    raise AssertionError(f"{command[0]} does not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _later() -> str:
    return (datetime.now(UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sign(text: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(ACCOUNT_KEY), text.encode(), "sha256")).decode()
