"""Rasters made to hurt, through a real catalog: refused with a code or safely converted, and nobody else notices.

What is published is looked at by the tiler as well, which opens the same files; so is each file once more as an asset
that is stored as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from acceptance import hostile
from acceptance.documents import collection, item, items
from acceptance.rasters import small_geotiff
from acceptance.serving import Served
from acceptance.source import Source

pytestmark = pytest.mark.acceptance

_MEMORY_MB = 2048
_SECONDS = 10
#: What the canary says; nobody is to repeat it.
_SECRET = b"the canary's own words"
_CODES = frozenset({"CogTransformationError", "CogTransformationTimeout", "AssetTransformationError"})


class Canary:
    """A file that nobody may open (told by inotify) and a port that nobody may connect to."""

    def __init__(self, folder: Path) -> None:
        """Make the file, and listen."""
        self.path = folder / "canary.tif"
        self.path.write_bytes(small_geotiff() + _SECRET)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        opened_or_read = 0x20 | 0x1
        assert self._libc.inotify_add_watch(self._events, str(self.path).encode(), opened_or_read) >= 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def is_touched(self) -> bool:
        """Has the file been opened or read since the last look?"""
        try:
            return bool(os.read(self._events, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        self._listener.close()
        os.close(self._events)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                connection.close()


@dataclass
class Hurt:
    """The catalog after all of it."""

    served: Served
    client: requests.Session
    source: Source
    canary: Canary
    cases: dict[str, hostile.Case]
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Largest address space seen of a conversion or render process, bytes.
    largest: int = 0

    def post(self, document: Any) -> dict[str, Any]:
        return self.served.finished(
            self.client, self.client.post(f"{self.served.url}/stac/collections/c/items", json=document)
        )


def test_a_touched_canary_is_told(tmp_path: Path) -> None:
    canary = Canary(tmp_path)
    assert not canary.is_touched()
    canary.path.read_bytes()
    assert canary.is_touched()
    with socket.create_connection(("127.0.0.1", int(canary.url.rpartition(":")[2]))) as connection:
        connection.recv(1)
    assert canary.connections == 1
    canary.close()


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory, test_data: Path) -> Iterator[Hurt]:
    folder = tmp_path_factory.mktemp("hostile")
    canary = Canary(folder)
    cases = hostile.cases(hostile.Places(canary.path, canary.url, test_data, folder))
    canary.is_touched()  # by making files that name it
    files = {f"{name}/{file}": content for name, case in cases.items()
             for file, content in ((case.name, case.content), *case.beside.items())}  # fmt: skip
    files["sound.tif"] = small_geotiff()
    env = {
        "GRATICULE_CONVERSION_MEMORY_MB": str(_MEMORY_MB),
        "GRATICULE_CONVERSION_TIMEOUT": str(_SECONDS),
        "GRATICULE_RENDER_MEMORY_MB": str(_MEMORY_MB),
        "GRATICULE_RENDER_TIMEOUT": "10",
        # What GDAL would heed, did it see it.
        "GDAL_VRT_ENABLE_PYTHON": "YES",
        "GDAL_DRIVER_PATH": str(folder),
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif",
        "GDAL_HTTP_PROXY": canary.url,
        "PROJ_NETWORK": "ON",
        "PROJ_NETWORK_ENDPOINT": canary.url,
        "HDF5_PLUGIN_PATH": str(folder),
    }
    with Source(files) as source, Served(folder, env={**env, "GRATICULE_FETCH_ALLOW": source.host}) as served:
        client = served.client()
        assert client.post(f"{served.url}/stac/collections", json=collection("c")).status_code == 202
        hurt = Hurt(served, client, source, canary, cases)
        with _watched(hurt):
            accepted = {name: _post(hurt, name, case) for name, case in cases.items()}
            hurt.operations = {name: served.finished(client, answer) for name, answer in accepted.items()}
        assert not canary.is_touched()
        yield hurt
    canary.close()


def _post(hurt: Hurt, name: str, case: hostile.Case) -> requests.Response:
    asset = {
        "href": hurt.source.href(f"{name}/{case.name}"),
        "type": case.type,
        "roles": list(case.roles),
        **case.members,
    }
    beside = {file: {"href": hurt.source.href(f"{name}/{file}"), "roles": ["metadata"]} for file in case.beside}
    answer = hurt.client.post(
        f"{hurt.served.url}/stac/collections/c/items", json=item(name, {"image": asset, **beside})
    )
    assert answer.status_code == 202, answer.text
    return answer


@contextlib.contextmanager
def _watched(hurt: Hurt) -> Iterator[None]:
    """Look at the largest child process meanwhile."""
    over = threading.Event()
    assert hurt.served.process is not None
    root = psutil.Process(hurt.served.process.pid)

    def watch() -> None:
        while not over.wait(0.05):
            for process in root.children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError, StopIteration):
                    if "graticule.ingestion.conversion.child" in " ".join(process.cmdline()):
                        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                        peak = next(line for line in lines if line.startswith("VmPeak"))
                        hurt.largest = max(hurt.largest, int(peak.split()[1]) * 1024)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_each_is_refused_with_its_code_or_safely_taken(hurt: Hurt) -> None:
    assert len(hurt.cases) >= 60
    wrong = {}
    for name, case in hurt.cases.items():
        operation = hurt.operations[name]
        code = None if operation["status"] == "Succeeded" else operation["error"]["code"]
        if (code != case.code) if case.code != "" else (code is not None and code not in _CODES):
            wrong[name] = (code, operation.get("error", {}).get("message"))
        elif code is not None:
            message = operation["error"]["message"]
            assert message.startswith(f"Item '{name}', asset '"), message
            assert _SECRET.decode() not in message
            assert "root:" not in message
    assert wrong == {}


def test_a_conversion_keeps_to_its_memory_and_time(hurt: Hurt) -> None:
    assert 100 << 20 < hurt.largest <= _MEMORY_MB << 20
    assert not any(operation["status"] == "Running" for operation in hurt.operations.values())


def test_the_tiler_reads_none_of_it_either(hurt: Hurt) -> None:
    """Published ones as they are, and every file once more under an asset that is stored untouched."""
    with _watched(hurt):
        stored = [_asset_as_it_is(hurt, name, case) for name, case in hurt.cases.items()]
        operation = hurt.post(items(*stored))
        assert operation["totalFailedItems"] == 0, operation
        asked = [f"stored-{name}" for name in hurt.cases]
        asked += [name for name, each in hurt.operations.items() if each["status"] == "Succeeded"]
        with ThreadPoolExecutor(4) as threads:
            answers = dict(zip(asked, threads.map(partial(_look, hurt), asked), strict=True))
    wrong = {name: answer.text[:300] for name, answer in answers.items() if answer.status_code >= 500}
    assert wrong == {}
    for answer in answers.values():
        assert b"root:" not in answer.content


def _asset_as_it_is(hurt: Hurt, name: str, case: hostile.Case) -> dict[str, Any]:
    asset = {"href": hurt.source.href(f"{name}/{case.name}"), "type": case.type, "roles": ["metadata"]}
    return item(f"stored-{name}", {"image": asset})


def _look(hurt: Hurt, item_id: str) -> requests.Response:
    url = f"{hurt.served.url}/data/collections/c/items/{item_id}/preview.png"
    return hurt.client.get(url, params={"assets": "image", "asset_bidx": "image|1", "max_size": "64"})


def test_nobody_reached_the_canary(hurt: Hurt) -> None:
    """After all that is above."""
    assert hurt.operations
    assert not hurt.canary.is_touched()
    assert hurt.canary.connections == 0


def test_the_catalog_goes_on(hurt: Hurt) -> None:
    sound = {"href": hurt.source.href("sound.tif"), "type": "image/tiff", "roles": ["data"]}
    assert hurt.post(item("sound", {"image": sound}))["status"] == "Succeeded"
    assert _look(hurt, "sound").headers["content-type"] == "image/png"
    log = hurt.served.log_text()
    for word in ("Traceback", " ERROR ", "request_failed", "request_crashed"):
        assert word not in log, log[log.index(word) - 1500 :][:3000]
