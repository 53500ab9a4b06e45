"""What the pages of docs/ are tried on: their own code blocks, the demo's source, a catalog, `graticule` on PATH."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from graticule.demo.catalog import free_port

DOCS = Path(__file__).resolve().parents[2] / "docs"


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page."""

    language: str
    code: str
    #: Of its first line of code, in the page.
    line: int


def blocks_of(page: Path) -> list[Block]:
    """A page's code blocks, in order."""
    return [
        Block(token.info.strip(), token.content, token.map[0] + 2)
        for token in MarkdownIt("commonmark").parse(page.read_text("utf-8"))
        if token.type == "fence" and token.map is not None
    ]


@dataclass(frozen=True)
class Surroundings:
    """Where a reader of a page finds what it speaks of."""

    catalog_url: str
    source_url: str
    environment: dict[str, str]


StartServing = Callable[..., AbstractContextManager[Surroundings]]


@pytest.fixture
def python_blocks() -> Callable[[str], list[Block]]:
    """The Python blocks of a page, by its path below docs/."""
    return lambda page: [block for block in blocks_of(DOCS / page) if block.language == "python"]


@pytest.fixture
def shell_blocks() -> Callable[[str], list[Block]]:
    """The shell blocks of a page, by its path below docs/."""
    return lambda page: [block for block in blocks_of(DOCS / page) if block.language in {"sh", "bash"}]


@pytest.fixture
def serving(tmp_path: Path) -> StartServing:
    """Starts source and catalog with the commands that the pages show, on free ports and in a fresh data folder."""

    @contextmanager
    def start(*options: str) -> Iterator[Surroundings]:
        programs = tmp_path / "bin"
        programs.mkdir()
        command = programs / "graticule"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m graticule "$@"\n', "utf-8")
        command.chmod(0o755)
        source_port, port = free_port(), free_port()
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "GRATICULE_DATA_DIR": str(tmp_path / "catalog"),
        }
        source = ("demo", "--source-only", "--source-port", str(source_port))
        serve = ("serve", "--port", str(port), *options)
        allowed = {"GRATICULE_FETCH_ALLOW": f"127.0.0.1:{source_port}"}
        with (
            running(command, *source, environment=environment, until=r"listens at (\S+)", log=tmp_path / "source.log"),
            running(
                command, *serve, environment=environment | allowed, until=r"ready at (\S+)", log=tmp_path / "serve.log"
            ) as catalog_url,
        ):
            yield Surroundings(catalog_url, f"http://127.0.0.1:{source_port}", environment)

    return start


@contextmanager
def running(command: Path, *arguments: str, environment: dict[str, str], until: str, log: Path) -> Iterator[str]:
    """A process, from the line it is awaited to print on; gives the group of that line's pattern."""
    with log.open("wb") as output:
        process = subprocess.Popen([command, *arguments], env=environment, stdout=output, stderr=output)
    try:
        while (found := re.search(until, log.read_text("utf-8", "replace"))) is None:
            assert process.poll() is None, log.read_text("utf-8", "replace")
            time.sleep(0.05)
        yield found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
