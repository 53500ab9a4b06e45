"""The supervisor: what it starts again, what ends it, and that nothing outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graticule.cli.supervision import UNUSABLE, Child, Supervisor


def child(script: str, *arguments: object, name: str = "The child") -> Child:
    return Child(name, [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)])


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "what was waited for did not happen"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def stop_soon(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a file that another process writes
        await asyncio.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)


async def test_a_child_that_dies_is_started_again_and_the_death_is_told(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    script = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(1)"
    told: list[str] = []
    stopping = asyncio.create_task(stop_soon(lambda: lives.exists() and len(lives.read_text()) >= 2))
    assert await Supervisor([child(script, lives)], report=told.append).run() == 0
    await stopping
    assert told[0].startswith("The child ended (exit code 1); starting it again")


async def test_one_that_cannot_work_ends_all_with_its_exit_code(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    healthy = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    unusable = f"""
        import os, sys, time
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.02)
        sys.exit({UNUSABLE})
    """
    told: list[str] = []
    code = await Supervisor([child(healthy, pid), child(unusable, pid)], report=told.append).run()
    assert (code, told) == (UNUSABLE, [])
    assert not is_alive(int(pid.read_text() or "0"))


async def test_a_command_that_cannot_be_started_is_tried_again() -> None:
    told: list[str] = []
    stopping = asyncio.create_task(stop_soon(lambda: len(told) >= 2))
    assert await Supervisor([Child("The ghost", ["/no/such/program"])], report=told.append).run() == 0
    await stopping
    assert "No such file" in told[0]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2)")
def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    grown = "from graticule.cli.supervision import adopt; import os, sys, time; adopt();"
    grown += "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    script = f"""
        import asyncio, sys
        from graticule.cli.supervision import Child, supervise
        asyncio.run(supervise([Child("x", [sys.executable, "-c", {grown!r}, sys.argv[1]])]))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(pid)], env=environment)
    wait_until(lambda: pid.exists() and pid.read_text() != "")
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_alive(int(pid.read_text())))
