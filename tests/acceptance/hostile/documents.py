"""Texts and containers under the name of a TIFF that have GDAL open something else."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tarfile
import zipfile

from acceptance.hostile.cases import Case, Places


def cases(places: Places) -> dict[str, Case]:
    """By name."""
    canary, url = str(places.canary), places.url
    targets = {"file": canary, "http": f"/vsicurl/{url}/a.tif", "passwd": "/etc/passwd", "relative": "../../canary.tif"}
    texts = {f"vrt-{name}": _vrt(f"<SimpleSource><SourceFilename>{at}</SourceFilename></SimpleSource>")
             for name, at in targets.items()}  # fmt: skip
    texts |= {
        "vrt-behind-bom": "\ufeff\n\n" + texts["vrt-file"],
        "vrt-after-declaration": "<?xml version='1.0'?>\n<!-- a TIFF -->" + texts["vrt-file"],
        "vrt-python": _vrt(
            "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
            f"<PixelFunctionCode><![CDATA[open({canary!r}).read()]]></PixelFunctionCode>",
            ' subClass="VRTDerivedRasterBand"',
        ),
        "vrt-module": _vrt(
            "<PixelFunctionType>os.system</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>",
            ' subClass="VRTDerivedRasterBand"',
        ),
        "vrt-raw": _vrt(
            "<SourceFilename relativeToVRT='0'>/etc/passwd</SourceFilename><PixelOffset>1</PixelOffset>",
            ' subClass="VRTRawRasterBand"',
        ),
        "vrt-warped": "<VRTDataset rasterXSize='9' rasterYSize='9' subClass='VRTWarpedDataset'><GDALWarpOptions>"
        f"<SourceDataset>{canary}</SourceDataset></GDALWarpOptions></VRTDataset>",
        "vrt-itself": _vrt("<SimpleSource><SourceFilename>source.tif</SourceFilename></SimpleSource>"),
        "vrt-large": _vrt("<NoDataValue>0</NoDataValue>").replace("'9'", "'2147483647'"),
        "gti": f"<GDALTileIndexDataset><IndexDataset>{canary}</IndexDataset></GDALTileIndexDataset>",
        "gti-http": f"<GDALTileIndexDataset><IndexDataset>{url}/i.gpkg</IndexDataset></GDALTileIndexDataset>",
        "stacit": json.dumps(
            {
                "type": "FeatureCollection",
                "stac_version": "1.0.0",
                "features": [{"type": "Feature", "assets": {"a": {"href": canary}}}],
            }
        ),
        "stacit-http": json.dumps({"type": "FeatureCollection", "links": [{"rel": "next", "href": f"{url}/next"}]}),
        "stacta": json.dumps({"type": "Feature", "stac_extensions": ["tiled-assets"], "asset_templates": {"a": url}}),
        "wms": f"<GDAL_WMS><Service name='WMS'><ServerUrl>{url}/wms</ServerUrl></Service></GDAL_WMS>",
        "wms-tiles": f"<GDAL_WMS><Service name='TMS'><ServerUrl>{url}/${{z}}</ServerUrl></Service>"
        f"<Cache><Path>{canary}</Path></Cache></GDAL_WMS>",
        "wms-string": f"WMS:{url}/wms?",
        "wmts": f"<GDAL_WMTS><GetCapabilitiesUrl>{url}/wmts</GetCapabilitiesUrl></GDAL_WMTS>",
        "wmts-local": f"<GDAL_WMTS><GetCapabilitiesUrl>{canary}</GetCapabilitiesUrl></GDAL_WMTS>",
        "wcs": f"<WCS_GDAL><ServiceURL>{url}/wcs</ServiceURL></WCS_GDAL>",
        "ogcapi": f"OGCAPI:{url}/collections",
        "eedai": "EEDAI:image",
        "plmosaic": f"PLMosaic:api_key=x,mosaic={url}",
        "daas": f"DAAS:{url}",
        "vsicurl": f"/vsicurl/{url}/a.tif",
        "vsicurl-options": f"/vsicurl?url={url}/a.tif&use_head=no",
        "vsizip": f"/vsizip/{canary}",
        "vsisubfile": f"/vsisubfile/0_100,{canary}",
        "vsistdin": "/vsistdin/",
        "gtiff-dir": f"GTIFF_DIR:1:{canary}",
        "derived": f"DERIVED_SUBDATASET:LOGAMPLITUDE:{canary}",
        "netcdf-string": f'NETCDF:"{canary}":a',
        "zarr-string": f'ZARR:"/vsicurl/{url}"',
        "mrf": f"<MRF_META><CachedSource><Source>{canary}</Source></CachedSource><Raster><Size x='9' y='9'/>"
        f"<DataFile>{canary}</DataFile></Raster></MRF_META>",
        "kml": f"<kml><Document><GroundOverlay><Icon><href>{url}/a.png</href></Icon></GroundOverlay></Document></kml>",
        "dimap": f"<Dimap_Document><Data_Access><DATA_FILE_PATH href='{canary}'/></Data_Access></Dimap_Document>",
        "pds": f'PDS_VERSION_ID = PDS3\r\n^IMAGE = "{canary}"\r\nOBJECT = IMAGE\r\nEND\r\n',
        "pds4": f"<Product_Observational><File><file_name>{canary}</file_name></File></Product_Observational>",
        "isis": f'Object = IsisCube\n  Object = Core\n    ^Core = "{canary}"\n  End_Object\nEnd_Object\nEnd\n',
        "ers": f'DatasetHeader Begin\n  DataFile = "{canary}"\n  DataSetType = ERStorage\nDatasetHeader End\n',
        "ozi": f"OziExplorer Map Data File Version 2.2\r\nx\r\n{canary}\r\n",
        "til": f'numTiles = 1;\nBEGIN_GROUP = TILE_1\n filename = "{canary}";\nEND_GROUP = TILE_1\n',
        "envi": f"ENVI\nsamples = 9\nlines = 9\nbands = 1\ndata type = 1\ndata file = {canary}\n",
        "zarr": json.dumps({"zarr_format": 3, "node_type": "array", "shape": [2**62, 2**62]}),
        "parquet-references": json.dumps({"version": 1, "refs": {"a/0": [canary, 0, 100]}}),
        "entities": '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><VRTDataset>&x;</VRTDataset>',
        "script": f"#!/bin/sh\ncat {canary}\n",
        "pickle": "cposix\nsystem\n(S'id'\ntR.",
    }
    files = {
        "zip-bomb": _zipped({"a.tif": bytes(50 << 20)}),
        "zip-traversal": _zipped({"../../../../etc/cron.d/x": b"x", "image.tif": b"II*\0"}),
        "zip-of-vrt": _zipped({"a.vrt": texts["vrt-file"].encode()}),
        "gzip-bomb": gzip.compress(bytes(50 << 20)),
        "tar": _tarred(),
        "gpkg-index": _tile_index(canary),
        "mbtiles": _sqlite("CREATE TABLE metadata (name TEXT, value TEXT); CREATE TABLE tiles (zoom_level INTEGER)"),
        "gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(100),
        "bmp": b"BM" + b"\xff" * 60,
        "webp": b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 40,
        "nitf": b"NITF02.10" + b"9" * 400,
        "hfa": b"EHFA_HEADER_TAG\0" + b"\xff" * 100,
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/URI/URI(" + url.encode() + b")>>>>endobj",
        "elf": b"\x7fELF" + bytes(200),
        "hdf5-as-tif": b"\x89HDF\r\n\x1a\n" + bytes(200),
        "netcdf-as-tif": b"CDF\x01" + b"\xff" * 200,
        "grib-as-tif": b"GRIB" + b"\xff" * 200,
    }
    return {name: Case(text.encode()) for name, text in texts.items()} | {
        name: Case(content) for name, content in files.items()
    }


def _vrt(inside: str, kind: str = "") -> str:
    return (
        "<VRTDataset rasterXSize='9' rasterYSize='9'><SRS>EPSG:4326</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>"
        f"<VRTRasterBand dataType='Byte' band='1'{kind}>{inside}</VRTRasterBand></VRTDataset>"
    )


def _zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def _tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        link = tarfile.TarInfo("image.tif")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return content.getvalue()


def _tile_index(location: str) -> bytes:
    return _sqlite(
        "PRAGMA application_id = 1196444487;"
        "CREATE TABLE gpkg_contents (table_name TEXT, data_type TEXT, identifier TEXT, srs_id INTEGER);"
        "INSERT INTO gpkg_contents VALUES ('i', 'features', 'i', 4326);"
        f"CREATE TABLE i (fid INTEGER PRIMARY KEY, location TEXT); INSERT INTO i VALUES (1, '{location}')"
    )


def _sqlite(script: str) -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(script)
        return bytes(connection.serialize())
