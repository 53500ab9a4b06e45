"""A real pgstac for the tests of exchange."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

import postgres_server
from postgres_server import PostgresServer


@pytest.fixture(scope="session")
def pgstac_template(postgres: PostgresServer) -> str:
    """The name of a database with pgstac, to be copied."""
    programs = postgres_server.programs()
    if programs is None or not postgres_server.has_postgis(programs):
        message = "no PostGIS for the PostgreSQL server: install postgresql-15-postgis-3"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    postgres.administer("CREATE DATABASE template_pgstac")
    command = [sys.executable, "-c", "from pypgstac.pypgstac import cli; cli()", "migrate"]
    subprocess.run([*command, "--dsn", postgres.url("template_pgstac")], check=True, capture_output=True)
    return "template_pgstac"


@pytest.fixture
def pgstac(postgres: PostgresServer, pgstac_template: str) -> Iterator[str]:
    """The address of an empty pgstac."""
    with postgres.database(pgstac_template) as url:
        yield url
