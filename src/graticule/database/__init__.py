"""Owns: connections, transactions and the schema's migrations. Refuses: to know what the tables mean.

Entry points: `Database` (``read`` and ``write`` a function of a `Connection`).
"""

from graticule.database.connection import Connection, Database, Row

__all__ = ["Connection", "Database", "Row"]
