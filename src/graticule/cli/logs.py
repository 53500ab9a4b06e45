"""The log: one line a record on stderr, with the stable ``action`` and ids that a record carries.

Nothing that may hold a secret is logged anywhere: no query strings, no tokens, no documents.
"""

from __future__ import annotations

import logging
import sys

#: What a plain record has; everything else was given by the caller.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extras = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if not extras:
            return line
        first, newline, rest = line.partition("\n")
        told = " ".join(
            f"{name}={value}" for name, value in extras.items() if isinstance(value, str | int | float | dict)
        )
        return f"{first} [{told}]{newline}{rest}"


def set_up_logging(level: str) -> None:
    """Log to stderr from this level on; libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("graticule").setLevel(level.upper())
