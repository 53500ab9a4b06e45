"""The wheel carries all that the package needs to run."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The back end of the lock is used as it is installed, so that building needs no network.
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("graticule-*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("graticule/")}
    wanted = {
        file.relative_to(SOURCE).as_posix()
        for file in (SOURCE / "graticule").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert packed == wanted
    assert "graticule/py.typed" in packed
    assert any(name.startswith("graticule/database/migrations/") and name.endswith(".sql") for name in packed)


def test_the_command_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "graticule = graticule.__main__:main" in archive.read(entry_points).decode()
    # -P and PYTHONPATH: what is imported is the unpacked wheel, not the editable install.
    program = (
        "import sys, graticule, graticule.__main__ as m; print(graticule.__file__); sys.argv[1:] = ['--help']; m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "installed") in done.stdout
    assert "serve" in done.stdout
