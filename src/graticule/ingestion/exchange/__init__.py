"""Moving documents in and out by file: Collections and Items as JSON, one a line. Metadata only; no asset is copied.

Entry points: `Exporter`, `Loader`; `find_files` says what a path given for loading holds.
"""

from graticule.ingestion.exchange.exporting import Exporter
from graticule.ingestion.exchange.files import find_files
from graticule.ingestion.exchange.loading import IfPresent, Loader, Refusal, Tally

__all__ = ["Exporter", "IfPresent", "Loader", "Refusal", "Tally", "find_files"]
