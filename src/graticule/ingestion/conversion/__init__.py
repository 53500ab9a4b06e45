"""Owns: which assets are converted, and the conversion of one local raster file in a confined child process.

Refuses: fetching, storing, and any path that it was not handed. Pixels are touched in the child only.

Entry points: ``wants_conversion``, ``sidecars_of``, ``georeference_of``, ``has_classes`` decide;
``pool.ConversionPool`` converts. The pool is not re-exported: the child imports this package, and should not pay for
asyncio.
"""

from graticule.ingestion.conversion.decisions import georeference_of, has_classes, sidecars_of, wants_conversion
from graticule.ingestion.conversion.models import (
    Compression,
    ConversionProfile,
    ConversionRequest,
    ConversionResult,
    Georeference,
    Outcome,
    RasterFacts,
    ReferenceRequest,
    SidecarKind,
)

__all__ = [
    "Compression",
    "ConversionProfile",
    "ConversionRequest",
    "ConversionResult",
    "Georeference",
    "Outcome",
    "RasterFacts",
    "ReferenceRequest",
    "SidecarKind",
    "georeference_of",
    "has_classes",
    "sidecars_of",
    "wants_conversion",
]
