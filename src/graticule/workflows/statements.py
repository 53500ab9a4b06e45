"""The engine's statements by name, as each database understands them.

``queries.sql`` holds one text for both. What differs stands there in braces: ``{in:tasks}`` for "is one of the JSON
array :tasks", ``{rows:jobs}`` for the elements of a JSON array as rows (key, value), ``{table}`` for the question
whether our tables are there, and the name of another statement for that statement.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

from procrastinate.sql import parse_query_file

from graticule.database import Connection

_TEXTS: Final[dict[str, str]] = dict(
    parse_query_file(resources.files("graticule.workflows").joinpath("queries.sql").read_text("utf-8"))
)
_PARTS: Final = {
    "sqlite": (
        r"IN (SELECT value FROM json_each(:\1))",
        r"json_each(:\1)",
        "(SELECT max(name) FROM sqlite_master WHERE type = 'table' AND name = 'procrastinate_jobs')",
    ),
    # An array made once, not a join: the claim has to walk its index in order and stop at the first row.
    "postgresql": (
        r"= ANY (ARRAY(SELECT json_array_elements_text(CAST(:\1 AS json))))",
        r"json_array_elements(CAST(:\1 AS json)) WITH ORDINALITY AS rows(value, key)",
        "CAST(to_regclass('procrastinate_jobs') AS TEXT)",
    ),
}


def _translated(text: str, dialect: str) -> str:
    among, rows, table = _PARTS[dialect]
    text = re.sub(r"\{in:(\w+)\}", among, text)
    text = re.sub(r"\{rows:(\w+)\}", rows, text)
    return text.replace("{table}", table).replace("{claimable_job}", _TEXTS["claimable_job"])


def _of(dialect: str) -> dict[str, str]:
    # Twice: a statement within a statement has braces of its own.
    return {name: _translated(_translated(text, dialect), dialect) for name, text in _TEXTS.items()}


_STATEMENTS: Final = {dialect: _of(dialect) for dialect in _PARTS}


def statement(tx: Connection, name: str) -> str:
    """The statement of a name in the dialect of a connection."""
    return _STATEMENTS[tx.dialect][name]
