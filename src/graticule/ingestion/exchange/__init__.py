"""Moving documents in and out: Collections and Items as JSON lines, as stac-geoparquet, and of a pgstac database.

Metadata only; no asset is copied. Entry points: `Exporter`, `TableExporter`, `PgstacExporter`, `Loader`; `find_files`
says what a path given for loading holds, `PgstacSource` what a pgstac does.
"""

from graticule.ingestion.exchange.exporting import Exporter
from graticule.ingestion.exchange.exporting_tables import TableExporter
from graticule.ingestion.exchange.finding import find_files
from graticule.ingestion.exchange.loading import IfPresent, Loader, Refusal, Tally

__all__ = ["Exporter", "IfPresent", "Loader", "Refusal", "TableExporter", "Tally", "find_files"]
