"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        show_default=False,
        help="Folder of the catalog. Default: GRATICULE_DATA_DIR, else the user's data folder.",
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Write progress and outcome as lines of JSON.")]

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST: Final = timedelta(days=365)


def duration(text: str, option: str) -> timedelta:
    """Read a duration such as 90s, 30m, 12h or 7d, given to an option.

    Raises:
        typer.BadParameter: it is none, or longer than a year.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration: write 90s, 30m, 12h or 7d.", param_hint=option)
    seconds = int(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST.total_seconds():
        raise typer.BadParameter(f"{text!r} is not between a second and 365d.", param_hint=option)
    return timedelta(seconds=seconds)
