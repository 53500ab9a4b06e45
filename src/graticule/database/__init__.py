"""Owns: connections, transactions and the schema's migrations. Refuses: to know what the tables mean.

Entry points: `Database` (``read`` and ``write`` a function of a `Connection`); `passing_fault` for its failures.
"""

from graticule.database.connection import Connection, Database, Row
from graticule.database.faults import passing_fault

__all__ = ["Connection", "Database", "Row", "passing_fault"]
