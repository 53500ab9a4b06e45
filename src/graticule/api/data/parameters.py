"""Parameters of the tiler as OpenAPI tells them (api.md 5.2). What is sent is read by `parse_parameters`."""

from __future__ import annotations

from typing import Any, Final

from graticule.tiler import names
from graticule.tiler.parameters import MAX_BUFFER, MAX_PADDING, MAX_SIDE

Schema = dict[str, Any]


def _text(description: str, example: str | None = None) -> Schema:
    return {"type": "string", "description": description} | ({"example": example} if example else {})


def _whole(least: int, most: int, default: int | None, description: str) -> Schema:
    bounds: Schema = {"type": "integer", "minimum": least, "maximum": most, "description": description}
    return bounds | ({} if default is None else {"default": default})


def _one_of(values: tuple[str, ...], default: str | None, description: str) -> Schema:
    return {"type": "string", "enum": list(values), "description": description} | (
        {} if default is None else {"default": default}
    )


def _switch(default: bool, description: str) -> Schema:
    return {"type": "boolean", "default": default, "description": description}


def _several(description: str, example: list[Any] | None = None, kind: str = "string") -> Schema:
    found: Schema = {"type": "array", "items": {"type": kind}, "description": description}
    return found | ({"example": example} if example else {})


#: By name, in the query.
QUERY: Final[dict[str, Schema]] = {
    "assets": _several("Keys of the assets to read, in the order of red, green, blue.", ["image"]),
    "expression": _text(
        "Band math over assets; several outputs are separated by ;.", "(nir_b1-red_b1)/(nir_b1+red_b1)"
    ),
    "asset_bidx": _several("Bands of an asset, from 1: its key, a bar, the bands.", ["image|1,2,3"]),
    "asset_expression": _several("An expression over an asset's own bands: its key, a bar, the expression."),
    "bidx": _several("Bands of every asset, from 1.", [1], "integer"),
    "asset_as_band": _switch(False, "Does an asset's key stand for its only band in expressions?"),
    "nodata": _text("The value that means no data: a number or nan.", "0"),
    "unscale": _switch(False, "Apply the file's scale and offset."),
    "reproject": _one_of(names.REPROJECT, "nearest", "Kernel of reprojection."),
    "resampling": _one_of(names.RESAMPLING, "nearest", "Kernel of resizing."),
    "algorithm": _one_of(names.ALGORITHMS, None, "What is made of the bands."),
    "algorithm_params": _text("The algorithm's options, a JSON object.", '{"azimuth": 45}'),
    "color_formula": _text("Operations on colours.", "gamma RGB 3.5, saturation 1.7"),
    "rescale": _several("The range that becomes 0 to 255: min,max for all bands, or one for each.", ["0,3000"]),
    "colormap_name": _text("A named colour map; GET /data/legend/colormap/{name} draws it.", "viridis"),
    "colormap": _text("A colour map by value: JSON of value → colour, or of [[[from, to], colour], …]."),
    "return_mask": _switch(True, "Tell in the picture which pixels have data."),
    "buffer": {"type": "number", "minimum": 0, "maximum": MAX_BUFFER, "multipleOf": 0.5, "default": 0},
    "padding": _whole(0, MAX_PADDING, 0, "Pixels that are read besides, against seams."),
    "format": _one_of(names.FORMATS, None, "Of the picture; else png where pixels are missing, jpeg elsewhere."),
    "scale": _whole(1, 4, 1, "1: 256 pixels, 2: 512."),
    "tile_format": _one_of(names.FORMATS, None, "Of the tiles that the document names."),
    "tile_scale": _whole(1, 4, 1, "Of the tiles that the document names."),
    "minzoom": _whole(0, 30, None, "The lowest zoom that the document names."),
    "maxzoom": _whole(0, 30, None, "The highest zoom that the document names."),
    "max_size": _whole(1, MAX_SIDE, 1024, "The longest side, pixels, where width and height are not given."),
    "width": {"type": "number", "exclusiveMinimum": True, "minimum": 0, "description": "Pixels; of a legend, inches."},
    "height": {"type": "number", "exclusiveMinimum": True, "minimum": 0, "description": "Pixels; of a legend, inches."},
    "coord_crs": _text("Reference system of the coordinates that are sent.", "epsg:4326"),
    "dst_crs": _text("Reference system of the picture.", "epsg:3857"),
    "coord-crs": _text("As coord_crs, as the preview version spells it.", "epsg:4326"),
    "dst-crs": _text("As dst_crs, as the preview version spells it.", "epsg:3857"),
    "TileMatrixSetId": _text("A tile matrix set of GET /data/tile-matrix-sets.", names.DEFAULT_TILE_MATRIX_SET),
    "subdataset_name": _text("Variable of a data cube."),
    "subdataset_bands": _several("Bands of that variable.", [1], "integer"),
    "crs": _text("Reference system of a data cube that does not say."),
    "sel": _several("Where to cut a data cube: dimension=value.", ["level=850"]),
    "sel_method": _one_of(names.SEL_METHODS, None, "Which value is meant where none fits exactly."),
    "scan_limit": _whole(1, 1_000_000, 10_000, "Items that are looked at."),
    "items_limit": _whole(1, 10_000, 100, "Items that are used."),
    "time_limit": _whole(1, 600, 5, "Seconds."),
    "exitwhenfull": _switch(True, "End when the area is covered."),
    "skipcovered": _switch(True, "Leave out items that are hidden by others."),
    "pixel_selection": _one_of(names.PIXEL_SELECTIONS, "first", "How overlapping items are merged."),
    "collection": _text("The collection whose configuration applies."),
    "categorical": _switch(False, "Count each value."),
    "c": _several("The values to count.", [1], "number"),
    "p": _several("Percentiles.", [2, 98], "number"),
    "histogram_bins": _text("How many bins, or their edges joined by commas.", "10"),
    "histogram_range": _text("The histogram's ends: min,max."),
    "trim_start": _whole(0, 100_000, 0, "Colours left out at the start."),
    "trim_end": _whole(0, 100_000, 0, "Colours left out at the end."),
}

#: By the convertor of a path's parameter (`convertors`).
PATH: Final[dict[str, Schema]] = {
    "number": {"type": "number"},
    "format": {"type": "string", "enum": list(names.FORMATS)},
}
