"""The nouns of a collection's configuration, as JSON documents whose unknown members survive (api.md 2.4, 2.5)."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypedDict

from graticule.stac.documents import JsonObject


class Kind(Enum):
    """What a collection has several of, each under an id of its own; the value is its name in the database."""

    RENDER_OPTION = "render-option"
    MOSAIC = "mosaic"
    QUERYABLE = "queryable"

    @property
    def noun(self) -> str:
        """As it is called in a sentence."""
        return self.value.replace("-", " ")

    @property
    def key(self) -> str:
        """The member that holds the id."""
        return "name" if self is Kind.QUERYABLE else "id"


class Legend(TypedDict, total=False):
    """How the colours of a render option are explained."""

    type: str  #: one of `LEGEND_TYPES`
    labels: list[str]
    trimStart: int  #: classes left out at the front
    trimEnd: int
    scaleFactor: float


class Condition(TypedDict, total=False):
    """A render option is offered only where the active mosaic agrees with this."""

    property: str
    value: Any  #: a scalar, or a list of them


class VectorOptions(TypedDict, total=False):
    """How vector tiles are drawn."""

    tilejsonKey: str  #: the collection asset that holds the URL of the TileJSON
    sourceLayer: str
    fillColor: str
    strokeColor: str
    strokeWidth: float
    filter: list[Any]  #: a Mapbox expression


class RenderOption(TypedDict, total=False):
    """One way of drawing a collection."""

    id: str
    name: str
    description: str
    type: str  #: one of `RENDER_OPTION_TYPES`; without one it is the first
    options: str  #: a query string of tiler parameters
    vectorOptions: VectorOptions
    minZoom: int
    legend: Legend
    conditions: list[Condition]


class Mosaic(TypedDict, total=False):
    """One choice of a collection's items."""

    id: str
    name: str
    description: str
    cql: list[JsonObject]  #: CQL2-JSON expressions, all of which hold; [] is every item


class DefaultLocation(TypedDict, total=False):
    """Where a map of the collection opens."""

    zoom: int
    coordinates: list[float]  #: latitude, longitude: not the order of GeoJSON


class TileSettings(TypedDict, total=False):
    """What bounds the cost of a tile."""

    minZoom: int  #: tiles below this zoom are refused
    maxItemsPerTile: int
    defaultLocation: DefaultLocation | None


class PartitionType(TypedDict):
    """How the original lays out a collection's items; recorded here, our tables need no partitions."""

    scheme: str  #: one of `PARTITION_SCHEMES`


class Queryable(TypedDict, total=False):
    """An item property that clients are told to filter by."""

    name: str
    definition: JsonObject  #: JSON schema of the property
    create_index: bool  #: only with true its values are indexed, in the background
    data_type: str  #: one of `DATA_TYPES`


RENDER_OPTION_TYPES = ("raster-tile", "vt-polygon", "vt-line")
LEGEND_TYPES = ("continuous", "classmap", "interval", "none")
PARTITION_SCHEMES = ("year", "month", "none")
DATA_TYPES = ("string", "number", "boolean", "timestamp", "date")

#: The documented largest floor of tile settings.
MAX_TILE_ZOOM = 24
#: The deepest level that tile matrix sets in use have.
MAX_ZOOM = 30

#: Of a collection without settings of its own. The original's are not known (api.md section 8): no floor, so that a new
#: collection shows up wherever one looks; as many items as a request's `items_limit` allows by itself.
DEFAULT_TILE_SETTINGS: TileSettings = {"minZoom": 0, "maxItemsPerTile": 100, "defaultLocation": None}
DEFAULT_PARTITION_TYPE: PartitionType = {"scheme": "none"}

_ITEM = "https://schemas.stacspec.org/v1.0.0/item-spec/json-schema/item.json"
#: Every collection can be filtered by these (api.md 2.5); a queryable of the same name takes their place.
BUILT_IN_QUERYABLES: dict[str, JsonObject] = {
    "id": {"title": "Item ID", "type": "string", "$ref": f"{_ITEM}#/definitions/core/allOf/2/properties/id"},
    "datetime": {
        "title": "Acquired",
        "type": "string",
        "format": "date-time",
        "$ref": "https://schemas.stacspec.org/v1.0.0/item-spec/json-schema/datetime.json#/properties/datetime",
    },
    "geometry": {"title": "Geometry", "$ref": "https://geojson.org/schema/Geometry.json"},
}
