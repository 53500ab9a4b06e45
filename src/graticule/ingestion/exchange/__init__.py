"""Moving documents in and out: Collections and Items as JSON lines, as stac-geoparquet, and of a pgstac database.

Metadata only; no asset is copied. Entry points: `Exporter`, `TableExporter`, `PgstacExporter`, `Loader`; `find_files`
says what a path given for loading holds, `PgstacSource` what a pgstac does.

They are imported when they are asked for: what loads does without what exports, and its helpers without most of both.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from graticule.ingestion.exchange.exporting import Exporter
    from graticule.ingestion.exchange.exporting_pgstac import PgstacExporter
    from graticule.ingestion.exchange.exporting_tables import TableExporter
    from graticule.ingestion.exchange.files import SourceFile
    from graticule.ingestion.exchange.finding import find_files
    from graticule.ingestion.exchange.geoparquet import ParquetSource
    from graticule.ingestion.exchange.loading import IfPresent, Loader, Refusal, Tally
    from graticule.ingestion.exchange.pgstac import PgstacServer, PgstacSource
    from graticule.ingestion.exchange.pgstac_writing import NotTaken, Written

_MODULES: Final = {
    "exporting": ("Exporter",),
    "exporting_pgstac": ("PgstacExporter",),
    "exporting_tables": ("TableExporter",),
    "files": ("SourceFile",),
    "finding": ("find_files",),
    "geoparquet": ("ParquetSource",),
    "loading": ("IfPresent", "Loader", "Refusal", "Tally"),
    "pgstac": ("PgstacServer", "PgstacSource"),
    "pgstac_writing": ("NotTaken", "Written"),
}

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


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
