"""Bulk ingestion: definitions and runs, the walk over a static catalog or a table, and the items in chunks.

A run is an operation that grows. One job at a time walks its source and writes down what it finds; other jobs take the
items in chunks. Each works for a short while and then stands in the queue again, behind what clients wait for, and what
it did is in rows, so that a killed one is continued. Entry points: `BulkIngestion` (what clients ask for) and
`running.BulkWork` (what a worker does).
"""

from graticule.ingestion.bulk.models import Definition, ImportType, Ingestion, Plan, Run
from graticule.ingestion.bulk.service import BulkIngestion
from graticule.ingestion.bulk.store import forget_ingestions

__all__ = ["BulkIngestion", "Definition", "ImportType", "Ingestion", "Plan", "Run", "forget_ingestions"]
