"""`graticule demo`, as a visitor runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
import typer

from graticule.cli.demo import demo as demo_command
from graticule.demo import run_source
from graticule.demo.catalog import free_port

pytestmark = pytest.mark.acceptance


class Demo:
    """A running `graticule demo`, its output in a file and its temporary folders below ``scratch``."""

    def __init__(self, tmp_path: Path, *options: str) -> None:
        self.scratch = tmp_path / "tmp"
        self.scratch.mkdir()
        self._log = tmp_path / "output.txt"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "graticule", "demo", *options],
                env={**os.environ, "TMPDIR": str(self.scratch), "GRATICULE_PUBLIC_URL": "https://not.for.the.demo"},
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        return self._log.read_text("utf-8")

    def printed(self, pattern: str) -> str:
        while (found := re.search(pattern, self.output)) is None:
            assert self.process.poll() is None, self.output
            time.sleep(0.1)
        return found[1]

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        demo.end()


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return not alive


def test_once_plays_all_steps_and_leaves_nothing_behind(tmp_path: Path, demos: list[Demo]) -> None:
    demos.append(demo := Demo(tmp_path, "--once"))
    assert demo.process.wait(120) == 0, demo.output
    assert [int(number) for number in re.findall(r"^ ?(\d+)/14 ", demo.output, re.MULTILINE)] == list(range(1, 15))
    for item_id in ("23M-2023", "23L-2023", "24M-2023", "24L-2023"):
        assert re.search(rf"{item_id}.*3 .*\d{{3}},\d{{3}}.*\d{{3}},\d{{3}}.*\d\.\d", demo.output)
    assert list(demo.scratch.iterdir()) == []


def test_it_stays_up_until_ctrl_c_and_then_takes_everything_with_it(tmp_path: Path, demos: list[Demo]) -> None:
    demos.append(demo := Demo(tmp_path))
    signed_url = demo.printed(r"(http://127\.0\.0\.1:\d+/blobs/\S+sig=\S+)")
    demo.printed("(until Ctrl-C)")
    content = requests.get(signed_url, timeout=10)
    assert content.status_code == 200
    assert content.content[:4] == b"II*\0"
    assert requests.get(signed_url.partition("?")[0], timeout=10).status_code == 409
    children = demo.descendants()
    assert children
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0, demo.output
    assert gone(children)
    assert list(demo.scratch.iterdir()) == []


def test_a_demo_that_is_killed_outright_takes_its_catalog_along(tmp_path: Path, demos: list[Demo]) -> None:
    demos.append(demo := Demo(tmp_path))
    demo.printed(r"(Catalog  http)")
    children = demo.descendants()
    demo.process.kill()
    demo.process.wait(10)
    assert gone(children)


def test_the_source_alone_listens_where_it_is_told_and_ends_when_asked(tmp_path: Path, demos: list[Demo]) -> None:
    demos.append(demo := Demo(tmp_path, "--source-only", "--source-port", str(port := free_port())))
    url = demo.printed(r"listens at (\S+)")
    assert url == f"http://127.0.0.1:{port}"
    assert demo.printed(r"GRATICULE_FETCH_ALLOW=(\S+)") == f"127.0.0.1:{port}"
    assert len(requests.get(f"{url}/api/stac/v1/search", timeout=10).json()["features"]) == 4
    demo.process.terminate()
    assert demo.process.wait(30) == 0
    assert list(demo.scratch.iterdir()) == []


def test_the_source_alone_says_when_its_port_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert run_source(port=taken.getsockname()[1]) == 1
    assert "cannot be used" in capsys.readouterr().out


def test_contradicting_options_are_a_usage_error() -> None:
    with pytest.raises(typer.BadParameter, match="--source-only goes with neither"):
        demo_command(once=True, source_only=True)
