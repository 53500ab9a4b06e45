"""The how-to of PostgreSQL: its database is made, its variables are set, and its commands run as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.conftest import DOCS, blocks_of
from postgres_server import PostgresServer, programs

PAGE = DOCS / "how-to" / "postgresql.md"


def test_every_block_of_the_how_to_runs(tmp_path: Path, postgres: PostgresServer) -> None:
    found = programs()
    assert found is not None
    if not (found / "psql").exists() and shutil.which("psql") is None:
        pytest.skip("no psql: install PostgreSQL's client")
    shutil.copytree(DOCS / "examples", tmp_path / "docs" / "examples")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "graticule"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m graticule "$@"\n', "utf-8")
    command.chmod(0o755)
    page = "\n".join(block.code for block in blocks_of(PAGE) if block.language == "bash")
    assert "@db.example.net/" in page
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", page.replace("@db.example.net/", "@/")],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": os.pathsep.join((str(tmp_path / "bin"), os.environ["PATH"], str(found))),
            "HOME": str(tmp_path),
            "PGHOST": str(postgres.folder),
            "PGUSER": "tests",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "1 collections written" in run.stdout
    assert '"id":"scenes"' in run.stdout.splitlines()[-2] + run.stdout.splitlines()[-1]
    assert not (tmp_path / "shared" / "catalog" / "graticule.db").exists()
    postgres.administer("DROP DATABASE graticule WITH (FORCE)")
    postgres.administer("DROP ROLE graticule")
