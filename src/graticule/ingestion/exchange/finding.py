"""What a path given for loading holds."""

from __future__ import annotations

from pathlib import Path

from graticule.errors import InvalidParameter
from graticule.ingestion.exchange.files import COLLECTION_FILE, COLLECTIONS_FILE, ITEMS_FILE, SourceFile
from graticule.ingestion.exchange.geoparquet import SUFFIX, ParquetSource


def find_files(path: Path) -> list[SourceFile]:
    """The files to load from a path: a file, ``-`` for standard input, or a folder.

    A folder is one of the layout that `files` describes, or holds files of stac-geoparquet, at whatever depth.

    Raises:
        InvalidParameter: there is nothing to load.
    """
    if str(path) == "-":
        return [SourceFile(None)]
    if path.is_file() or path.is_fifo():
        return [ParquetSource(path) if path.suffix == SUFFIX else SourceFile(path)]
    if not path.is_dir():
        raise InvalidParameter(f"{path} does not exist.", target=str(path))
    folders = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())]
    names = (COLLECTIONS_FILE, COLLECTION_FILE, ITEMS_FILE)
    found = [SourceFile(folder / name) for folder in folders for name in names if (folder / name).is_file()]
    tables = [table for table in sorted(path.rglob(f"*{SUFFIX}")) if table.is_file() and not _is_hidden(table, path)]
    found += [ParquetSource(table) for table in tables]
    if not found:
        raise InvalidParameter(
            f"{path} holds no {COLLECTION_FILE}, {COLLECTIONS_FILE} or {ITEMS_FILE}, nor do its folders,"
            f" and no file NAME{SUFFIX}.",
            target=str(path),
        )
    return found


def _is_hidden(file: Path, folder: Path) -> bool:
    """Writers of tables keep notes of their own in such files."""
    return any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
