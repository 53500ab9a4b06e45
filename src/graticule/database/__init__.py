"""Owns: connections, transactions and the schema's migrations. Refuses: to know what the tables mean.

Entry points: `open_database`, which opens what the settings name; `Database` (``read`` and ``write`` a function of a
`Connection`); `passing_fault` and its neighbours for failures. `postgres` is imported only where it is used.
"""

from graticule.database.connection import Connection, Database, ReadLimit, Row
from graticule.database.faults import database_errors, is_duplicate, passing_fault, said, unreachable
from graticule.database.opening import open_database
from graticule.database.packing import packed, plain
from graticule.database.sqlite import SqliteDatabase

__all__ = [
    "Connection",
    "Database",
    "ReadLimit",
    "Row",
    "SqliteDatabase",
    "database_errors",
    "is_duplicate",
    "open_database",
    "packed",
    "passing_fault",
    "plain",
    "said",
    "unreachable",
]
