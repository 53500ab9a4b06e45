"""What a conversion process can no longer do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from graticule.children import command_of_code
from graticule.ingestion.conversion.pool import ConversionPool
from graticule.ingestion.conversion.process import Limits, child_arguments

from .conftest import MakeRaster, MakeRequest

CONFINE = """
import json, os, sys
sys.path.insert(0, sys.argv.pop(1))
from dataclasses import asdict
from graticule.confinement import confine
confined = confine(os.getcwd(), parent_pid=os.getppid(), memory_bytes=int(sys.argv[2]), file_bytes=int(sys.argv[3]))
def attempt(work):
    try:
        return str(work())
    except (OSError, MemoryError) as exc:
        return type(exc).__name__
found = asdict(confined)
"""


def confined(code: str, folder: Path, **environment: str) -> Any:
    """Run ``code`` in a process confined as the conversion's are; what it puts into ``found``."""
    run = subprocess.run(
        command_of_code(CONFINE + code + "\nprint(json.dumps(found))", *child_arguments(Limits(512 << 20, 1 << 20))),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return json.loads(run.stdout)


def test_it_reaches_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = confined(
            "import socket\n"
            f"found['tcp'] = attempt(lambda: socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 2))\n"
            "found['udp'] = attempt(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53)))",
            tmp_path,
        )
    if found["network"] == "none":
        pytest.skip("this system allows neither user namespaces nor Landlock")
    assert found["tcp"] in {"OSError", "PermissionError"}
    if found["network"] == "namespace":
        assert found["udp"] == "OSError"


def test_it_reads_and_writes_its_own_folder_only(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "secret").write_text("secret")
    (own / "given").write_text("given")
    found = confined(
        "from pathlib import Path\n"
        "found['own'] = attempt(lambda: Path('given').read_text())\n"
        "found['made'] = attempt(lambda: Path('made').write_text('x'))\n"
        "found['other'] = attempt(lambda: Path('../other/secret').read_text())\n"
        "found['planted'] = attempt(lambda: Path('../other/planted').write_text('x'))\n"
        "found['passwd'] = attempt(lambda: Path('/etc/passwd').read_text())\n"
        "found['linked'] = attempt(lambda: Path('link').symlink_to('/etc/passwd'))\n"
        "found['run'] = attempt(lambda: os.execv('/bin/true', ['true']))",
        own,
    )
    if found["files"] == "none":
        pytest.skip("this system has no Landlock")
    assert (found["own"], found["made"]) == ("given", "1")
    for name in ("other", "planted", "passwd", "linked", "run"):
        assert found[name] == "PermissionError", name


def test_its_memory_and_its_files_are_limited(tmp_path: Path) -> None:
    found = confined(
        "from pathlib import Path\n"
        "found['memory'] = attempt(lambda: len(bytearray(600 << 20)))\n"
        "found['file'] = attempt(lambda: Path('large').write_bytes(bytes(2 << 20)))\n"
        "import resource\n"
        "found['core'] = resource.getrlimit(resource.RLIMIT_CORE)[0]",
        tmp_path,
    )
    assert (found["memory"], found["file"], found["core"]) == ("MemoryError", "OSError", 0)


def test_its_cpu_time_is_limited_job_by_job(tmp_path: Path) -> None:
    found = confined(
        "import resource\n"
        "from graticule.confinement import limit_cpu\n"
        "limit_cpu(100)\n"
        "first = resource.getrlimit(resource.RLIMIT_CPU)[0]\n"
        "limit_cpu(1000)\n"
        "found['limits'] = [first, resource.getrlimit(resource.RLIMIT_CPU)[0]]",
        tmp_path,
    )
    first, second = found["limits"]
    assert 100 <= first < 110
    assert 1000 <= second < 1010


def test_it_loads_nothing_of_the_server(tmp_path: Path) -> None:
    found = confined(
        "import graticule.ingestion.conversion.child, graticule.ingestion.conversion.converting\n"
        "heavy = 'asyncio aiohttp procrastinate obstore pydantic sqlite3 psycopg shapely pyproj cryptography'.split()\n"
        "found['loaded'] = [name for name in heavy if name in sys.modules]",
        tmp_path,
    )
    assert found["loaded"] == []


def _seen_by(pid: int) -> tuple[bytes, list[str]]:
    """Environment and open files of a process."""
    try:
        process = Path(f"/proc/{pid}")
        return (process / "environ").read_bytes(), [str(entry.readlink()) for entry in (process / "fd").iterdir()]
    except PermissionError:
        pytest.skip("the kernel keeps the process's state from us as well")


async def test_it_sees_no_environment_and_no_open_file_of_its_parent(
    pool: ConversionPool, make_raster: MakeRaster, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRATICULE_SECRET_KEY", "a secret that no child may ever see")
    with make_raster("open.tif").open() as file:
        os.set_inheritable(file.fileno(), True)
        await pool.convert(make_request(make_raster()))
        (child,) = (each for each in psutil.Process().children() if "conversion" in " ".join(each.cmdline()))
        environment, open_files = _seen_by(child.pid)
    assert b"secret" not in environment
    assert b"GRATICULE" not in environment
    assert all(target.startswith(("pipe:", "socket:")) or target.endswith("/proj.db") for target in open_files)


def test_only_the_drivers_in_use_are_left(tmp_path: Path) -> None:
    found = confined(
        "import rasterio\n"
        "from graticule.ingestion.conversion.child import _remove_drivers, DRIVERS\n"
        "with rasterio.Env() as env:\n"
        "    _remove_drivers()\n"
        "    with rasterio.Env(GDAL_CACHEMAX=64) as env:\n"
        "        found['left'] = sorted(env.drivers())\n"
        "found['wanted'] = sorted(DRIVERS)",
        tmp_path,
    )
    assert found["left"] == found["wanted"]
