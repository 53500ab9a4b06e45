"""Owns: connections, transactions and the schema's migrations. Refuses: to know what the tables mean.

Entry points: `Database` (``read`` and ``write`` a function of a `Connection`), opened as `SqliteDatabase`;
`passing_fault` for its failures. `postgres` holds the second kind, which is imported only where it is used.
"""

from graticule.database.connection import Connection, Database, ReadLimit, Row
from graticule.database.faults import passing_fault
from graticule.database.sqlite import SqliteDatabase

__all__ = ["Connection", "Database", "ReadLimit", "Row", "SqliteDatabase", "passing_fault"]
