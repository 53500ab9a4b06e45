"""CQL2 (OGC 21-065): filters over items, read from text or JSON into one typed tree.

Owns: the grammar of both encodings, which operators exist and what they take, and what a filter means for one item.
Refuses: tables and indexes; how a filter is turned into a search is the catalog's.
Entry points: `parse_filter` for the parameters of a search; `evaluation.Filter` (it needs shapely, so import it where
items are checked) for what the tree says of a document.
"""

from graticule.stac.cql2.expressions import Expression
from graticule.stac.cql2.parsing import parse_filter, parse_json, parse_text

__all__ = ["Expression", "parse_filter", "parse_json", "parse_text"]
