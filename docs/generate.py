"""Writes the parts of ``docs/reference`` that the code knows best: settings, error codes, commands, routes.

A page has its prose by hand and its tables between ``<!-- generated: NAME -->`` and ``<!-- end -->``. Run it after a
change (``make docs``); with ``--check`` it writes nothing and fails when a page is not what it would write.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from graticule import errors
from graticule.api import ENDPOINTS, openapi_endpoint
from graticule.api.errors import status_of
from graticule.cli import app
from graticule.settings import Settings

REFERENCE = Path(__file__).resolve().parent / "reference"

#: Classes that stand for a kind of error, and are not what goes wrong.
FAMILIES = {errors.SourceError, errors.ValidityError, errors.ConversionError, errors.StateError}

_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Bring every page up to date, or say which is not."""
    check = "--check" in sys.argv[1:]
    stale = [page for page in sorted(REFERENCE.glob("*.md")) if refresh(page, write=not check)]
    for page in stale:
        print(f"docs/reference/{page.name} {'is not up to date: run `make docs`' if check else 'written'}")
    return 1 if stale and check else 0


def refresh(page: Path, *, write: bool) -> bool:
    """Does the page differ from what it should be? Then write it, if asked to."""
    old = page.read_text()
    new = _BLOCK.sub(lambda match: f"{match[1]}\n{GENERATORS[match['name']]()}\n{match[3]}", old)
    if write and new != old:
        page.write_text(new)
    return new != old


# --- settings --------------------------------------------------------------------------------------------------------


def settings() -> str:
    """A row per field of `Settings`."""
    rows = [
        (f"`GRATICULE_{name.upper()}`", _default(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return table(("variable", "default", "what it is"), rows)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        # A factory's answer depends on the machine; what it gives is in the description or is empty.
        return "the user's data folder" if field.annotation is Path else "none"
    if field.default in (None, ()):
        return "none"
    value: Any = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{value}`"


# --- errors ----------------------------------------------------------------------------------------------------------


def request_errors() -> str:
    """A row per code of an HTTP answer."""
    rows = [
        (f"`{code}`", "/".join(sorted({str(status_of(cls())) for cls in classes})), _meaning(classes))
        for code, classes in _codes(errors.RequestError)
    ]
    return table(("code", "status", "meaning"), rows)


def ingestion_errors() -> str:
    """A row per code of an operation that failed."""
    rows = [(f"`{code}`", _tried_again(classes), _meaning(classes)) for code, classes in _codes(errors.IngestionError)]
    return table(("code", "tried again", "meaning"), rows)


def _tried_again(classes: Sequence[type[errors.GraticuleError]]) -> str:
    answers = {issubclass(cls, errors.IngestionError) and cls.retriable for cls in classes}
    return {frozenset({True}): "yes", frozenset({False}): "no"}.get(frozenset(answers), "sometimes")


def _codes(root: type[errors.GraticuleError]) -> list[tuple[str, list[type[errors.GraticuleError]]]]:
    by_code: dict[str, list[type[errors.GraticuleError]]] = {}
    for cls in _tree(root):
        by_code.setdefault(cls.code, []).append(cls)
    # What a family says of itself adds nothing where one of its own has the same code.
    return sorted(
        (code, [cls for cls in classes if cls not in FAMILIES] or classes) for code, classes in by_code.items()
    )


def _tree(root: type[errors.GraticuleError]) -> Iterator[type[errors.GraticuleError]]:
    # Rooms may have narrower classes of their own; the codes, and what they mean, are those of `graticule.errors`.
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


def _meaning(classes: Sequence[type[errors.GraticuleError]]) -> str:
    return "<br>".join(dict.fromkeys((cls.__doc__ or "").split("\n", 1)[0] for cls in classes))


# --- commands --------------------------------------------------------------------------------------------------------


def commands() -> str:
    """A section per command, with its options."""
    group: Any = typer.main.get_command(app)
    sections = []
    for name, command in group.commands.items():
        if command.hidden:
            continue
        rows = [
            (_option(parameter), _option_default(parameter), (parameter.help or "").strip())
            for parameter in command.params
            if parameter.name != "help"
        ]
        description = inspect.cleandoc(command.help or "")
        sections.append(
            f"### `graticule {name}`\n\n{description}\n\n{table(('option', 'default', 'what it does'), rows)}"
        )
    return "\n".join(sections)


def _option(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.opts[0]}`"
    takes = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return f"`{parameter.opts[0]}{takes}`"


def _option_default(parameter: Any) -> str:
    default = parameter.default
    if parameter.param_type_name == "argument" or parameter.is_flag or default is None:
        return ""
    return f"`{getattr(default, 'value', default)}`"


# --- routes ----------------------------------------------------------------------------------------------------------


def routes() -> str:
    """A row per endpoint."""
    rows = [
        (
            f"`{endpoint.method}`",
            f"`{endpoint.path}`",
            endpoint.role.name.lower() if endpoint.role is not None else "public",
            str(endpoint.status),
            endpoint.summary,
            ", ".join(f"`{name}`" for name in endpoint.query),
        )
        for endpoint in (*ENDPOINTS, openapi_endpoint())
    ]
    return table(("method", "path", "role", "success", "what it does", "query"), rows)


# --- inside ----------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


GENERATORS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "request-errors": request_errors,
    "ingestion-errors": ingestion_errors,
    "commands": commands,
    "routes": routes,
}

if __name__ == "__main__":
    sys.exit(main())
