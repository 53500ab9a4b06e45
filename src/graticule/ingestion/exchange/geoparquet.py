"""Files of stac-geoparquet 1.0 (GeoParquet 1.1): written from a file of JSON lines, read row group by row group.

Memory depends on the size of a row group, not of the file. pyarrow is an extra: `graticule[geoparquet]`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from graticule.errors import InvalidGeoparquet, InvalidInputData, InvalidParameter, SettingsError
from graticule.ingestion.exchange.files import Line, SourceFile

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from graticule.ingestion.exchange.columns import Survey

SUFFIX: Final = ".parquet"
_VERSION: Final = "1.0.0"
_GEOPARQUET_VERSION: Final = "1.1.0"
#: Items that are turned into columns, or back, at once.
_BATCH: Final = 250
#: A row group has at most so many rows and, as columns in memory, bytes.
_GROUP_ROWS: Final = 10_000
_GROUP_BYTES: Final = 32_000_000
#: Larger row groups of files from elsewhere are refused where a worker reads them, bytes without compression.
_GROUP_LIMIT: Final = 500_000_000


def require_pyarrow() -> None:
    """Raise SettingsError, with the command that installs it, where pyarrow is missing."""
    if importlib.util.find_spec("pyarrow") is None:
        raise SettingsError("GeoParquet needs pyarrow, which is not installed: pip install 'graticule[geoparquet]'.")


# --- reading


class ParquetSource(SourceFile):
    """A file of stac-geoparquet to load, by whichever program."""

    @property
    def can_be_cut(self) -> bool:
        """Rows are read in order."""
        return False

    def lines(self, longest: int) -> Iterator[Line]:
        """Collections of the file's metadata (number 0), then its rows, numbered from 1.

        Raises:
            InvalidParameter: it is no such file.
            SettingsError: pyarrow is not installed.
        """
        require_pyarrow()
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            with pq.ParquetFile(self.path, pre_buffer=False) as file:
                yield from self._collections(file)
                yield from self._rows(file, longest)
        except (pa.ArrowException, InvalidInputData) as exc:
            raise InvalidParameter(f"{self.name} cannot be read as stac-geoparquet: {exc}", target=self.name) from exc

    def rows_from(self, start: int, limit: int) -> tuple[int, list[bytes]]:
        """Items as JSON from a row on (the first is 0), at most so many; and how many rows there are.

        Raises:
            InvalidGeoparquet: it is no such file, or a group of its rows takes too much memory.
            SettingsError: pyarrow is not installed.
        """
        require_pyarrow()
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            with pq.ParquetFile(self.path, pre_buffer=False) as file:
                self._check_columns(file)
                return file.metadata.num_rows, self._slice(file, start, limit)
        except (pa.ArrowException, InvalidInputData, OSError, ValueError) as exc:
            raise InvalidGeoparquet(f"The file cannot be read as stac-geoparquet: {exc}") from exc

    def _slice(self, file: pq.ParquetFile, start: int, limit: int) -> list[bytes]:
        from graticule.ingestion.exchange.columns import documents  # noqa: PLC0415 - it imports pyarrow

        found: list[bytes] = []
        before = 0
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            position, before = before, before + group.num_rows
            if before <= start or len(found) >= limit:
                continue
            if group.total_byte_size > _GROUP_LIMIT:
                raise InvalidInputData(
                    f"row group {number} has {group.total_byte_size} bytes; at most {_GROUP_LIMIT} are read at once:"
                    " write it with smaller ones."
                )
            for batch in file.iter_batches(batch_size=_BATCH, row_groups=[number], use_threads=False):
                skipped = min(max(start - position, 0), batch.num_rows)
                position += batch.num_rows
                wanted = batch.slice(skipped, limit - len(found))
                if wanted.num_rows:
                    found += [orjson.dumps(document) for document in documents(wanted)]
                if len(found) >= limit:
                    break
        return found

    def _collections(self, file: pq.ParquetFile) -> Iterator[Line]:
        text = (file.metadata.metadata or {}).get(b"stac-geoparquet")
        try:
            described = orjson.loads(text) if text is not None else {}
            collections = [*(described.get("collections") or {}).values()]
            collections += [described["collection"]] if described.get("collection") else []
        except (orjson.JSONDecodeError, AttributeError) as exc:
            raise InvalidInputData(f"its metadata 'stac-geoparquet' is no JSON object: {exc}.") from exc
        for collection in collections:
            yield Line(0, orjson.dumps(collection), 0)

    def _rows(self, file: pq.ParquetFile, longest: int) -> Iterator[Line]:
        from graticule.ingestion.exchange.columns import documents  # noqa: PLC0415 - it imports pyarrow

        self._check_columns(file)
        number, rows, size = 0, file.metadata.num_rows, self.size
        for batch in file.iter_batches(batch_size=_BATCH, use_threads=False):
            for document in documents(batch):
                number += 1
                text = orjson.dumps(document)
                yield Line(number, text if len(text) <= longest else None, size * number // rows)

    @staticmethod
    def _check_columns(file: pq.ParquetFile) -> None:
        missing = {"id", "geometry"} - set(file.schema_arrow.names)
        if missing:
            raise InvalidInputData(f"it has no column {' and no column '.join(sorted(missing))}.")


# --- writing


def write_geoparquet(source: Path, target: Path, on_items: Callable[[int], None] = lambda _: None) -> None:
    """Turn a file of Collections and Items, one a line, into one of stac-geoparquet.

    Args:
        source: read twice: a table's columns must be known before its first row.
        target: there when it is complete.
        on_items: is told how many items were written, batch by batch.
    """
    from graticule.ingestion.exchange.columns import Survey  # noqa: PLC0415 - it imports pyarrow

    survey = Survey()
    collections = {}
    for document in _documents(source):
        if document.get("type") == "Collection":
            collections[document["id"]] = document
        else:
            survey.add(document)
    partial = target.with_name(target.name + ".partial")
    _write(partial, survey, collections, _documents(source), on_items)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def _write(
    path: Path, survey: Survey, collections: dict[str, Any], documents: Iterator[Any], on_items: Callable[[int], None]
) -> None:
    import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    layout = survey.layout()
    schema = layout.schema.with_metadata(_metadata(survey, layout.schema, collections))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        group: list[pa.RecordBatch] = []

        def flush() -> None:
            if group:
                writer.write_table(pa.Table.from_batches(group).cast(schema), row_group_size=_GROUP_ROWS)
                group.clear()

        for items in _batches(document for document in documents if document.get("type") != "Collection"):
            group.append(layout.batch(items))
            on_items(len(items))
            if sum(len(batch) for batch in group) >= _GROUP_ROWS or sum(batch.nbytes for batch in group) > _GROUP_BYTES:
                flush()
        flush()


def _documents(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


def _batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _metadata(survey: Survey, schema: pa.Schema, collections: dict[str, Any]) -> dict[bytes, bytes]:
    """What GeoParquet 1.1 ("Metadata") and stac-geoparquet 1.0 ("Include a STAC Collection") want of a file."""
    import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import

    geometry: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(survey.geometry_types),
        "crs": _crs84(),
        "edges": "planar",
        "covering": {"bbox": {corner: ["bbox", corner] for corner in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if survey.bounds is not None:
        geometry["bbox"] = survey.bounds
    columns: dict[str, Any] = {"geometry": geometry}
    if "proj:geometry" in schema.names and pa.types.is_binary(schema.field("proj:geometry").type):
        # Every item has it in a system of its own.
        columns["proj:geometry"] = {"encoding": "WKB", "geometry_types": [], "crs": None}
    geo = {"version": _GEOPARQUET_VERSION, "primary_column": "geometry", "columns": columns}
    stac = {"version": _VERSION, "collections": collections}
    return {b"geo": orjson.dumps(geo), b"stac-geoparquet": orjson.dumps(stac)}


def _crs84() -> Any:
    """Longitude and latitude on WGS 84, as PROJJSON."""
    from rasterio.crs import CRS  # noqa: PLC0415 - slow to import

    return CRS.from_user_input("OGC:CRS84").to_dict(projjson=True)
