"""Makes ready the real servers that some tests talk to, before pytest starts.

One so far: Node.js, which runs the OpenID provider that ``tests/access`` logs in at. It is the one that
``GRATICULE_TEST_NODE`` names, else ``node`` on the PATH, else Debian's (installed where that is possible without a
question: as root, or with a sudo that asks for no password). What a test runs there is locked in a
``package-lock.json`` beside the test and installed into ``node_modules`` next to it.

A server that cannot be had is one loud line, and its tests are skipped; with ``CI`` in the environment it is a failure.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


class Missing(Exception):
    """A server cannot be had here; the message says what to do."""


def main() -> int:
    """Make everything ready. 0: tests may start; 1: something is missing that must be there."""
    missing = []
    for prepare in (test_data, node):
        try:
            prepare()
        except Missing as exc:
            missing.append(str(exc))
    for message in missing:
        print(
            f"\n*** {'MISSING' if in_ci() else 'SKIPPED: tests that need it will be skipped'}: {message}\n", flush=True
        )
    return 1 if missing and in_ci() else 0


def in_ci() -> bool:
    """Is this run to fail where it cannot test everything?"""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def test_data() -> None:
    """The folder of real rasters and documents; ``tests/conftest.py`` finds it in the same way."""
    folder = Path(os.environ.get("GRATICULE_TEST_DATA", TESTS.parents[1] / "shared" / "data"))
    if not (folder / "raster").is_dir():
        raise Missing(f"no test data at {folder}: name the folder with GRATICULE_TEST_DATA")


def node() -> None:
    """Node.js, and the locked packages of each folder that has some."""
    locks = [lock for lock in TESTS.rglob("package-lock.json") if "node_modules" not in lock.parts]
    if not locks:
        return
    named = os.environ.get("GRATICULE_TEST_NODE")
    if named is not None:
        if shutil.which(named) is None:
            raise Missing(f"GRATICULE_TEST_NODE={named} is not a program")
    elif shutil.which("node") is None:
        install("nodejs", "npm")
    for lock in locks:
        node_packages(lock.parent)


def node_packages(folder: Path) -> None:
    """``npm ci`` in a folder, unless its lock is as it was the last time."""
    # What npm last installed here, by the lock's own bytes; in node_modules, so that both vanish together.
    stamp = folder / "node_modules" / ".graticule-lock"
    want = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == want:
        return
    npm = shutil.which("npm")
    if npm is None:
        if os.environ.get("GRATICULE_TEST_NODE"):
            raise Missing(f"npm, which installs the packages of {folder.relative_to(TESTS.parent)}")
        install("npm")
        npm = "npm"
    print(f"Installing the packages of {folder.relative_to(TESTS.parent)}", flush=True)
    # No scripts: nothing of the packages runs before a test runs it.
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=folder, check=False).returncode != 0:
        raise Missing(f"npm could not install the packages of {folder.relative_to(TESTS.parent)}; see above")
    stamp.write_text(want)


def install(*packages: str) -> None:
    """Install Debian packages where that takes no password."""
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise Missing(f"{wanted}: install it, and run again")
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if root and (shutil.which("sudo") is None or subprocess.run([*root, "true"], check=False).returncode != 0):
        raise Missing(f"{wanted}: install it (apt-get install {wanted}), and run again")
    print(f"Installing {wanted} with apt-get", flush=True)
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Missing(f"{wanted}: `{' '.join(command)}` failed:\n{done.stdout[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
