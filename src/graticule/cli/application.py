"""The application: its commands, and how their failures are shown."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Annotated, Final, NoReturn

import typer
from typer.exceptions import TyperException

from graticule import __version__
from graticule.errors import GraticuleError, InternalIntermittentError, Unavailable

#: Modules of this package with a ``register(app)``, in the order of the help page.
COMMANDS: Final = ("serve", "worker", "demo", "token", "env", "load", "export", "ingest", "forge", "operations")


def make_app() -> typer.Typer:
    """The application with every command. Command modules import what they need when they run."""
    app = typer.Typer(
        name="graticule",
        help="A self-hosted GeoCatalog.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in COMMANDS:
        if importlib.util.find_spec(f"graticule.cli.{name}") is not None:
            importlib.import_module(f"graticule.cli.{name}").register(app)
    return app


def main() -> None:
    """Run the command of ``sys.argv`` and exit: 0, what the command says, or with one line on stderr 2 or 1.

    1 where the same may succeed later (a full disk, a busy database): a supervisor then starts it again.
    """
    os.umask(0o077)  # what a catalog writes is its owner's, in whatever folder
    try:
        # Outside standalone mode typer leaves it to us how a usage error looks.
        code = make_app()(args=sys.argv[1:] or ["--help"], prog_name="graticule", standalone_mode=False)
    except TyperException as exc:
        _fail(exc.format_message().replace("Value error, ", ""))
    except (Unavailable, InternalIntermittentError) as exc:
        _fail(exc.message, 1)
    except GraticuleError as exc:
        _fail(exc.message)
    except OSError as exc:
        _fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc), _code(exc))
    except typer.Abort:
        sys.exit(130)
    except Exception as exc:
        from graticule.database import database_errors, said  # noqa: PLC0415 - not needed for `--help`

        if not isinstance(exc, database_errors()):
            raise
        _fail(f"The catalog's database cannot be used: {said(exc)}", _code(exc))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"graticule: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _code(error: Exception) -> int:
    from graticule.database import passing_fault  # noqa: PLC0415 - not needed for `--help`

    return 1 if passing_fault(error) else 2


def _print_version(asked: bool) -> None:
    if asked:
        print(f"graticule {__version__}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass
