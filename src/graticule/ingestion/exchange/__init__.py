"""Moving documents in and out: Collections and Items as JSON lines, as stac-geoparquet, and of a pgstac database.

Metadata only; no asset is copied. Entry points: `Exporter`, `TableExporter`, `PgstacExporter`, `Loader`; `find_files`
says what a path given for loading holds, `PgstacSource` what a pgstac does.
"""

from graticule.ingestion.exchange.exporting import Exporter
from graticule.ingestion.exchange.exporting_pgstac import PgstacExporter
from graticule.ingestion.exchange.exporting_tables import TableExporter
from graticule.ingestion.exchange.files import SourceFile
from graticule.ingestion.exchange.finding import find_files
from graticule.ingestion.exchange.geoparquet import ParquetSource
from graticule.ingestion.exchange.loading import IfPresent, Loader, Refusal, Tally
from graticule.ingestion.exchange.pgstac import PgstacServer, PgstacSource
from graticule.ingestion.exchange.pgstac_writing import NotTaken, Written

__all__ = [
    "Exporter",
    "IfPresent",
    "Loader",
    "NotTaken",
    "ParquetSource",
    "PgstacExporter",
    "PgstacServer",
    "PgstacSource",
    "Refusal",
    "SourceFile",
    "TableExporter",
    "Tally",
    "Written",
    "find_files",
]
