"""Owns: the command line. Refuses: to do what the rooms below can do; a command reads its options and calls them.

Entry points: `run`, and ``app``, the typer application (made when it is first asked for, because the `az` that
`graticule env` makes passes through this package at every call).
"""

from __future__ import annotations

from typing import Any

__all__ = ["app", "run"]


def run() -> None:
    """Run the command that the process was started with, and exit."""
    from graticule.cli.application import main  # noqa: PLC0415 - typer and rich are not needed before

    main()


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from graticule.cli.application import make_app  # noqa: PLC0415

    app = globals()["app"] = make_app()
    return app
