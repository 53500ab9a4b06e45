"""What the code has, the reference names: settings, error codes, commands, routes, rooms."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import graticule
from graticule.api import ENDPOINTS, openapi_endpoint
from graticule.cli import app
from graticule.errors import GraticuleError, IngestionError, RequestError
from graticule.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def program(path: str) -> ModuleType:
    """A program of the repository that is in no package."""
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(f"{file.parent.name}_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert Settings.model_fields[name].description, f"describe {name} in settings.py"
    assert f"| `GRATICULE_{name.upper()}` |" in page("reference/settings.md")


def test_no_setting_is_documented_that_does_not_exist() -> None:
    named = set(re.findall(r"GRATICULE_([A-Z_]+)", page("reference/settings.md")))
    assert named == {name.upper() for name in Settings.model_fields}


def all_errors(root: type[GraticuleError] = GraticuleError) -> Iterator[type[GraticuleError]]:
    for child in root.__subclasses__():
        yield child
        yield from all_errors(child)


def all_modules() -> list[str]:
    found = [found.name for found in pkgutil.walk_packages(graticule.__path__, "graticule.")]
    return [name for name in found if name != "graticule.__main__"]


def test_every_error_code_is_documented() -> None:
    for name in all_modules():
        importlib.import_module(name)
    text = page("reference/errors.md")
    # Other errors are between rooms, or end a command with a sentence: their codes reach no client.
    public = [error for error in all_errors() if issubclass(error, RequestError | IngestionError)]
    assert {error.code for error in public if f"`{error.code}`" not in text} == set()


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return {name: command for name, command in group.commands.items() if not command.hidden}


def test_every_command_and_option_is_documented() -> None:
    text = page("reference/command-line.md")
    for name, command in commands().items():
        _, _, section = text.partition(f"### `graticule {name}`\n")
        section = section.partition("\n### ")[0]
        assert section, f"graticule {name}"
        for parameter in command.params:
            assert f"`{parameter.opts[0]}" in section, f"graticule {name} {parameter.opts[0]}"


def test_the_fixed_commands_exist() -> None:
    assert {"serve", "worker", "token", "demo", "env", "load", "export"} <= set(commands())


def test_every_route_is_documented() -> None:
    text = page("reference/http.md")
    for endpoint in (*ENDPOINTS, openapi_endpoint()):
        assert f"| `{endpoint.method}` | `{endpoint.path}` |" in text


def test_every_room_is_on_the_map() -> None:
    text = page("architecture.md")
    rooms = {module.name for module in pkgutil.iter_modules(graticule.__path__) if module.name != "__main__"}
    assert set(re.findall(r"^\| `graticule\.(\w+)` \|", text, re.MULTILINE)) == rooms


def test_rooms_stand_on_the_map_in_the_order_of_the_import_contract() -> None:
    layers = re.search(r'name = "Floors".*?layers = \[(.*?)\]', (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert layers is not None
    contract = [name for name in re.findall(r"\w+", layers[1]) if name != "__main__"]
    assert re.findall(r"^\| `graticule\.(\w+)` \|", page("architecture.md"), re.MULTILINE) == contract


def test_generated_pages_are_up_to_date() -> None:
    generate = program("docs/generate.py")
    stale = [page.name for page in (DOCS / "reference").glob("*.md") if generate.refresh(page, write=False)]
    assert stale == [], "run `make docs`"
