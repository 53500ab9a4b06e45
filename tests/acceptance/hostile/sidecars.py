"""Files beside a sound raster that lead elsewhere, or are bombs."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

from acceptance.hostile.cases import Case, Places
from acceptance.hostile.tiffs import LAUGHS, LENGTH, WIDTH, tiff, tiled

#: A raster that lies nowhere, so that what is beside it matters.
_NOWHERE = {33550: None, 33922: None, 34735: None}


def cases(places: Places) -> dict[str, Case]:
    """By name."""
    canary, url = places.canary, places.url
    vrt = (
        "<VRTDataset rasterXSize='32' rasterYSize='32'><VRTRasterBand dataType='Byte' band='1'><SimpleSource>"
        f"<SourceFilename>{canary}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    remote = vrt.replace(str(canary), f"/vsicurl/{url}/o.tif")
    pams = {
        "overviews": f"<Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>{canary}</MDI></Metadata>",
        "proxy": f"<Metadata domain='ProxyOverviewRequest'><MDI key='FILENAME'>{url}</MDI></Metadata>",
        "vrt": f"<Metadata domain='xml:VRT' format='xml'>{vrt}</Metadata>",
        "source": f"<SourceFilename>{canary}</SourceFilename>",
        "histograms": "<PAMRasterBand band='1'><Histograms><HistItem><BucketCount>2147483647</BucketCount></HistItem></Histograms></PAMRasterBand>",
        "band-absurd": "<PAMRasterBand band='999999999'><NoDataValue>1</NoDataValue></PAMRasterBand>",
        "transform-nan": "<SRS>EPSG:32632</SRS><GeoTransform>nan, nan, nan, nan, nan, nan</GeoTransform>",
        "transform-huge": "<SRS>EPSG:32632</SRS><GeoTransform>1e308,1e308,0,1e308,0,-1e308</GeoTransform>",
        "crs-grid": f"<SRS>+proj=longlat +nadgrids={canary} +no_defs</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>",
        "crs-init": f"<SRS>+init={canary}:1</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>",
        "crs-file": f"<SRS>{canary}</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>",
        "crs-http": f"<SRS>{url}/crs</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>",
    }
    beside = {f"pam-{name}": {"image.tif.aux.xml": _pam(text)} for name, text in pams.items()}
    beside |= {
        "pam-laughs": {"image.tif.aux.xml": f"<!DOCTYPE a [{LAUGHS}]><PAMDataset><SRS>&a8;</SRS></PAMDataset>".encode()},
        "pam-entity": {
            "image.tif.aux.xml": b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><PAMDataset><SRS>&x;</SRS></PAMDataset>"
        },
        "pam-deep": {"image.tif.aux.xml": b"<PAMDataset>" + b"<Metadata>" * 100_000},
        "pam-noise": {"image.tif.aux.xml": bytes(range(256))},
        "ovr-vrt": {"image.tif.ovr": vrt.encode()},
        "ovr-vrt-remote": {"image.tif.ovr": remote.encode()},
        "ovr-noise": {"image.tif.ovr": b"II*\0" + b"\xff" * 300},
        "ovr-absurd": {"image.tif.ovr": tiff({WIDTH: (4, [0x7FFFFFFF]), LENGTH: (4, [0x7FFFFFFF])})},
        "msk-vrt": {"image.tif.msk": vrt.encode()},
        "msk-vrt-remote": {"image.tif.msk": remote.encode()},
        "msk-absurd": {"image.tif.msk": tiled(30_000, compression=8, data=b"x" * 50)},
        "prj-grid": {"image.prj": f"+proj=longlat +nadgrids={canary}".encode(), "image.tfw": _world("10")},
        "prj-wkt-grid": {
            "image.prj": f'GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298.257],EXTENSION["PROJ4_GRIDS","{canary}"]],'
            'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925]]'.encode(),
            "image.tfw": _world("10"),
        },
        "prj-large": {"image.prj": b"GEOGCS[" * 1_000_000, "image.tfw": _world("10")},
        "prj-url": {"image.prj": f"{url}/crs.prj".encode(), "image.tfw": _world("10")},
        "world-nan": {"image.tfw": _world("nan")},
        "world-infinite": {"image.tfw": _world("1e999")},
        "world-zero": {"image.tfw": _world("0")},
        "world-noise": {"image.tfw": bytes(range(256)) * 100},
    }  # fmt: skip
    return {name: Case(tiff(_NOWHERE), "", beside=files) for name, files in beside.items()} | {
        "item-grid": _placed({"proj:wkt2": f"+proj=longlat +nadgrids={canary} +no_defs"}),
        "item-file": _placed({"proj:code": str(canary)}),
        "item-url": _placed({"proj:code": f"{url}/crs"}),
        "item-init": _placed({"proj:wkt2": f"+init={canary}:1"}),
        "item-projjson": _placed({"proj:projjson": {"type": "GeographicCRS", "$schema": url, "name": "x"}}),
        "item-huge": _placed(
            {"proj:code": "EPSG:32632", "proj:transform": [1e308, 1e308, 1e308, 1e308, -1e308, 1e308]}
        ),
        "item-tiny": _placed({"proj:code": "EPSG:32632", "proj:transform": [1e-320, 0, 0, 0, -1e-320, 0]}),
    }


def _placed(members: dict[str, object]) -> Case:
    return Case(tiff(_NOWHERE), "", members={"proj:transform": [1.0, 0.0, 0.0, 0.0, -1.0, 0.0], **members})


def _pam(text: str) -> bytes:
    return f"<PAMDataset>{text}</PAMDataset>".encode()


def _world(size: str) -> bytes:
    return f"{size}\n0\n0\n-{size}\n0\n0\n".encode()
