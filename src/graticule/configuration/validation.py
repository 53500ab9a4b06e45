"""Is this a render option, a mosaic, tile settings, a partition type or a queryable that can be kept?

Shapes: models.md, "Collection configuration and assets".

Every function answers the document as it is stored: as it came, with enumerated values in their exact spelling.
They raise `InvalidRequestBody`, whose message and target name the member.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from graticule.configuration.fields import Fields, is_number
from graticule.configuration.models import (
    DATA_TYPES,
    LEGEND_TYPES,
    MAX_TILE_ZOOM,
    MAX_ZOOM,
    PARTITION_SCHEMES,
    RENDER_OPTION_TYPES,
    Kind,
)
from graticule.errors import InvalidParameter, InvalidRequestBody
from graticule.stac.cql2 import parse_json
from graticule.stac.documents import JsonObject

_MOST: Final = 2**31 - 1


def check_entry(kind: Kind, document: Any, entry_id: str | None = None) -> JsonObject:
    """One entry of a kind; with an `entry_id` the body may leave it out, but not say otherwise."""
    what = f"The {kind.noun}"
    if entry_id is not None and isinstance(document, dict):
        sent = document.get(kind.key)
        if sent is None:
            document = {**document, kind.key: entry_id}
        elif sent != entry_id:
            raise InvalidRequestBody(
                f"{what}'s '{kind.key}' is {str(sent)[:80]!r} but the URL names '{entry_id}'.", target=kind.key
            )
    return _CHECKS[kind](Fields(document, what))


def check_entries(kind: Kind, document: Any) -> list[JsonObject]:
    """One entry of a kind, or a list of them."""
    if not isinstance(document, list):
        return [check_entry(kind, document)]
    return [
        _CHECKS[kind](Fields(entry, f"The {kind.noun} at [{place}]", f"[{place}]"))
        for place, entry in enumerate(document)
    ]


def check_tile_settings(document: Any) -> JsonObject:
    """Tile settings."""
    fields = Fields(document, "The tile settings")
    fields.whole("minZoom", 0, MAX_TILE_ZOOM, required=True)
    fields.whole("maxItemsPerTile", 1, _MOST, required=True)
    location = fields.object("defaultLocation")
    if location is not None:
        _check_location(location)
    return fields.document


def check_partition_type(document: Any) -> JsonObject:
    """A partition type."""
    fields = Fields(document, "The partition type")
    fields.one_of("scheme", PARTITION_SCHEMES, required=True)
    return fields.document


# --- inside ----------------------------------------------------------------------------------------------------------


def _check_render_option(fields: Fields) -> JsonObject:
    fields.identity("id")
    fields.text("name", required=True)
    fields.text("description")
    kind = fields.one_of("type", RENDER_OPTION_TYPES) or RENDER_OPTION_TYPES[0]
    fields.text("options")
    fields.whole("minZoom", 0, MAX_ZOOM)
    vector = fields.object("vectorOptions")
    if vector is not None:
        if kind == RENDER_OPTION_TYPES[0]:
            fields.refuse("vectorOptions", f"belongs to the types {', '.join(RENDER_OPTION_TYPES[1:])}, not to {kind}")
        _check_vector_options(vector)
    legend = fields.object("legend")
    if legend is not None:
        legend.one_of("type", LEGEND_TYPES)
        legend.texts("labels")
        legend.whole("trimStart", 0, _MOST)
        legend.whole("trimEnd", 0, _MOST)
        legend.number("scaleFactor")
    for condition in fields.objects("conditions"):
        condition.text("property", required=True)
    return fields.document


def _check_vector_options(vector: Fields) -> None:
    vector.text("tilejsonKey", required=True)
    vector.text("sourceLayer", required=True)
    vector.text("fillColor")
    vector.text("strokeColor")
    vector.number("strokeWidth")
    vector.array("filter")


def _check_mosaic(fields: Fields) -> JsonObject:
    fields.identity("id")
    fields.text("name", required=True)
    fields.text("description")
    for place, condition in enumerate(fields.objects("cql", required=True)):
        try:
            parse_json(condition.document)
        except InvalidParameter as exc:
            fields.refuse(f"cql[{place}]", f"cannot be used: {exc.message.rstrip('.')}")
    return fields.document


def _check_queryable(fields: Fields) -> JsonObject:
    fields.identity("name")
    fields.object("definition", required=True)
    fields.boolean("create_index")
    fields.one_of("data_type", DATA_TYPES)
    return fields.document


def _check_location(location: Fields) -> None:
    location.whole("zoom", 0, MAX_ZOOM, required=True)
    coordinates = location.array("coordinates", required=True)
    if (
        len(coordinates) != 2
        or not all(is_number(value) for value in coordinates)
        or not (-90 <= coordinates[0] <= 90 and -180 <= coordinates[1] <= 180)
    ):
        location.refuse("coordinates", "must be [latitude, longitude] in degrees, within ±90 and ±180")


_CHECKS: Final[dict[Kind, Callable[[Fields], JsonObject]]] = {
    Kind.RENDER_OPTION: _check_render_option,
    Kind.MOSAIC: _check_mosaic,
    Kind.QUERYABLE: _check_queryable,
}
