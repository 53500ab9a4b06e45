"""Draws a layer with QGIS and without a screen; run by the Python that QGIS brings, never imported.

    python3 qgis_draw.py PROVIDER-URI WEST,SOUTH,EAST,NORTH PICTURE

The box is in EPSG:3857, metres. The layer is one of QGIS's provider ``wms``, which does WMTS and XYZ as well.
"""

from __future__ import annotations

import sys

from qgis.core import (  # type: ignore[import-not-found]
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QSize  # type: ignore[import-not-found]
from qgis.PyQt.QtGui import QColor  # type: ignore[import-not-found]


def main(uri: str, box: str, picture: str) -> None:
    application = QgsApplication([], False)
    application.initQgis()
    layer = QgsRasterLayer(uri, "layer", "wms")
    if not layer.isValid():
        sys.exit(f"QGIS does not open the layer: {layer.error().summary()}")
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    settings.setExtent(QgsRectangle(*map(float, box.split(","))))
    settings.setOutputSize(QSize(256, 256))
    settings.setBackgroundColor(QColor(0, 0, 0, 0))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(picture, "PNG")


if __name__ == "__main__":
    main(*sys.argv[1:])
