from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from graticule import __version__, cli

if TYPE_CHECKING:
    from cli.conftest import Run


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)

    assert result.returncode == 0
    assert "token" in result.stdout
    assert "env" in result.stdout


def test_the_version_is_printed(run: Run) -> None:
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"graticule {__version__}\n")


def test_an_unknown_command_is_one_line(run: Run) -> None:
    result = run("bogus")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1


def test_a_wrong_setting_is_one_line_that_names_the_variable(run: Run) -> None:
    result = run("token", more={"GRATICULE_API_PROCESSES": "many"})
    assert result.returncode == 2
    assert "GRATICULE_API_PROCESSES" in result.stderr
    assert result.stderr.count("\n") == 1


def test_importing_the_package_is_light(run: Run) -> None:
    heavy = ["typer", "rich", "pydantic", "cryptography", "joserfc", "aiohttp", "sqlite3", "starlette"]
    code = f"import sys, graticule.cli, graticule.cli.az; print([name for name in {heavy} if name in sys.modules])"
    assert run("-c", code, program=sys.executable).stdout == "[]\n"


def test_a_load_imports_neither_services_nor_jobs(run: Run) -> None:
    """It takes as long to start as to load some thousand items."""
    heavy = ["graticule.services", "procrastinate", "psycopg", "starlette", "rasterio", "rio_tiler", "numpy", "aiohttp"]
    code = (
        "import sys, graticule.cli.progress, graticule.core, graticule.ingestion.exchange.loading;"
        f" print([name for name in {heavy} if name in sys.modules])"
    )
    assert run("-c", code, program=sys.executable).stdout == "[]\n"


def test_the_application_is_an_attribute_of_the_package() -> None:
    assert {command.name for command in cli.app.registered_commands} >= {"token", "env"}
