"""WMTS 1.0.0 capabilities (OGC 07-057r7) of one layer in one tile matrix set, whose tiles have a URL template.

The form is the recorded one (api.md 6.2): no XML declaration, a layer ``default``, a TileMatrix per zoom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from graticule.tiler import grids
from graticule.tiler.jobs import Bounds
from graticule.tiler.names import MEDIA_TYPES

_WMTS: Final = "http://www.opengis.net/wmts/1.0"
_NAMESPACES: Final = {
    "xmlns": _WMTS,
    "xmlns:ows": "http://www.opengis.net/ows/1.1",
    "xmlns:xlink": "http://www.w3.org/1999/xlink",
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xmlns:gml": "http://www.opengis.net/gml",
    "xsi:schemaLocation": f"{_WMTS} http://schemas.opengis.net/wmts/1.0/wmtsGetCapabilities_response.xsd",
}


def capabilities(
    *,
    title: str,
    bounds: Bounds,
    tile_matrix_set: str,
    zooms: Iterable[int],
    tile_size: int,
    image: str,
    template: str,
    address: str | None = None,
) -> bytes:
    """The document.

    Args:
        title: of the layer, for people.
        bounds: degrees.
        tile_matrix_set: its exact name.
        zooms: levels that are offered.
        tile_size: side, pixels.
        image: format of the tiles.
        template: with ``{TileMatrix}``, ``{TileCol}``, ``{TileRow}``.
        address: of the document itself, where it is told.
    """
    root = Element("Capabilities", {**_NAMESPACES, "version": "1.0.0"})
    identification = SubElement(root, "ows:ServiceIdentification")
    _text(identification, "ows:Title", title)
    _text(identification, "ows:ServiceType", "OGC WMTS")
    _text(identification, "ows:ServiceTypeVersion", "1.0.0")
    contents = SubElement(root, "Contents")
    _layer(contents, title, bounds, tile_matrix_set, image, template)
    matrices = SubElement(contents, "TileMatrixSet")
    _text(matrices, "ows:Identifier", tile_matrix_set)
    _text(matrices, "ows:SupportedCRS", _urn(grids.crs_uri(tile_matrix_set)))
    tms = grids.grid(tile_matrix_set)
    for zoom in zooms:
        matrix = tms.matrix(zoom)
        element = SubElement(matrices, "TileMatrix")
        _text(element, "ows:Identifier", matrix.id)
        _text(element, "ScaleDenominator", repr(matrix.scaleDenominator * 256 / tile_size))
        _text(element, "TopLeftCorner", " ".join(repr(float(value)) for value in matrix.pointOfOrigin))
        for name in ("TileWidth", "TileHeight"):
            _text(element, name, str(tile_size))
        _text(element, "MatrixWidth", str(matrix.matrixWidth))
        _text(element, "MatrixHeight", str(matrix.matrixHeight))
    if address is not None:
        SubElement(root, "ServiceMetadataURL", {"xlink:href": address})
    return bytes(tostring(root, encoding="utf-8", xml_declaration=False))


def _layer(parent: Element, title: str, bounds: Bounds, tile_matrix_set: str, image: str, template: str) -> None:
    media_type = MEDIA_TYPES[image].split(";", 1)[0]
    layer = SubElement(parent, "Layer")
    _text(layer, "ows:Title", title)
    _text(layer, "ows:Identifier", "default")
    west, south, east, north = bounds
    if east < west:  # a box of WMTS cannot cross the antimeridian
        west, east = -180.0, 180.0
    box = SubElement(layer, "ows:WGS84BoundingBox", {"crs": "urn:ogc:def:crs:OGC:2:84"})
    _text(box, "ows:LowerCorner", f"{west!r} {south!r}")
    _text(box, "ows:UpperCorner", f"{east!r} {north!r}")
    style = SubElement(layer, "Style", {"isDefault": "true"})
    _text(style, "ows:Identifier", "default")
    _text(layer, "Format", media_type)
    link = SubElement(layer, "TileMatrixSetLink")
    _text(link, "TileMatrixSet", tile_matrix_set)
    SubElement(layer, "ResourceURL", {"format": media_type, "resourceType": "tile", "template": template})


def _text(parent: Element, name: str, text: str) -> None:
    # What XML 1.0 cannot carry at all (section 2.2) is left out.
    SubElement(parent, name).text = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def _urn(uri: str) -> str:
    """``http://www.opengis.net/def/crs/EPSG/0/3857`` as ``urn:ogc:def:crs:EPSG::3857``, which WMTS clients know."""
    match = re.search(r"/def/crs/(\w+)/([\w.]+)/(\w+)$", uri)
    if match is None:
        return uri
    return f"urn:ogc:def:crs:{match[1]}:{'' if match[2] == '0' else match[2]}:{match[3]}"
