"""Owns: where forged Items go: a static catalog in a folder, or JSON lines; and what their hrefs are there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urljoin

import orjson

from graticule.errors import NotForged
from graticule.forge.items import Forged
from graticule.stac.documents import Collection, Item

_PRETTY: Final = orjson.OPT_INDENT_2


@dataclass(frozen=True)
class Destination:
    """How assets are named in what is written."""

    #: Under which the files are served; their paths below `base_folder` follow.
    base_url: str | None = None
    #: The folder that `base_url` stands for.
    base_folder: Path | None = None

    @classmethod
    def below(cls, base_url: str | None, named: Sequence[Path]) -> Destination:
        """Read --asset-base, which stands for the one folder that was named.

        Raises:
            NotForged: it is no URL, or several things were named.
        """
        if base_url is None:
            return cls()
        if not base_url.startswith(("http://", "https://")):
            raise NotForged(f"--asset-base {base_url!r} is no http(s) URL.")
        if len(named) != 1 or not named[0].is_dir():
            raise NotForged("--asset-base stands for one folder: name that folder, and nothing beside it.")
        return cls(base_url, named[0].absolute())

    def href(self, path: Path) -> str | None:
        """The URL of a file; None where there is no base.

        Raises:
            NotForged: it does not lie below the base folder.
        """
        if self.base_url is None or self.base_folder is None:
            return None
        if not path.is_relative_to(self.base_folder):
            raise NotForged(f"{path} does not lie below {self.base_folder}, which --asset-base stands for.")
        return urljoin(self.base_url.rstrip("/") + "/", quote(path.relative_to(self.base_folder).as_posix()))


class CatalogFolder:
    """A self-contained static catalog: ``collection.json``, and ``ID/ID.json`` for every Item. Links are relative."""

    def __init__(self, folder: Path, destination: Destination, *, copy: bool, overwrite: bool) -> None:
        """Make the folder.

        Raises:
            NotForged: something is in it already, and may not be overwritten.
        """
        if folder.exists() and not folder.is_dir():
            raise NotForged(f"{folder} is a file: name a folder, or a file NAME.ndjson.")
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise NotForged(f"{folder} is not empty: name another folder with --output, or give --overwrite.")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.absolute()
        self._destination = destination
        self._copy = copy
        self._names: list[str] = []
        self._copied: dict[Path, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """What was written stays; without ``collection.json`` it is no catalog yet."""

    def write(self, forged: Forged) -> None:
        """Write one Item, and copy its files beside it if asked to."""
        name = forged.item["id"]
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        hrefs = {key: self._href(folder, key, path) for key, path in forged.files.items()}
        links = [
            {"rel": "root", "href": "../collection.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ]
        document = {**with_hrefs(forged.item, forged.files, hrefs), "links": links}
        (folder / f"{name}.json").write_bytes(orjson.dumps(document, option=_PRETTY))
        self._names.append(name)

    def finish(self, collection: Collection) -> None:
        """Write the Collection, which makes it a catalog."""
        links = [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *(
                {"rel": "item", "href": f"./{quote(name)}/{quote(name)}.json", "type": "application/geo+json"}
                for name in self._names
            ),
        ]
        document = {**collection, "links": links}
        (self._folder / "collection.json").write_bytes(orjson.dumps(document, option=_PRETTY))

    def _href(self, folder: Path, key: str, path: Path) -> str:
        if self._copy:
            # Files of one name from several folders are told apart by their keys.
            is_taken = self._copied.setdefault(folder / path.name, path) != path
            copied = folder / (f"{key}-{path.name}" if is_taken else path.name)
            shutil.copyfile(path, copied)
            return f"./{quote(copied.name)}"
        # Relative as it lies, so that catalog and files may be moved, or served, together.
        return self._destination.href(path) or quote(Path(os.path.relpath(path, folder)).as_posix())


class JsonLines:
    """A file of JSON lines that `graticule load` reads: the Collection, then its Items."""

    def __init__(self, path: Path, destination: Destination, *, overwrite: bool) -> None:
        """Begin; the file has its name only when it is complete.

        Raises:
            NotForged: it exists already, and may not be overwritten.
        """
        if path.exists() and not overwrite:
            raise NotForged(f"{path} exists: name another file with --output, or give --overwrite.")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._destination = destination
        self._items_path = path.with_name(f".{path.name}.items")
        self._items = self._items_path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave nothing half-done behind."""
        self._items.close()
        self._items_path.unlink(missing_ok=True)

    def write(self, forged: Forged) -> None:
        """Write one Item."""
        hrefs = {key: self._destination.href(path) or str(path) for key, path in forged.files.items()}
        self._items.write(orjson.dumps(with_hrefs(forged.item, forged.files, hrefs), option=orjson.OPT_APPEND_NEWLINE))

    def finish(self, collection: Collection) -> None:
        """Put the Collection before the Items, and give the file its name."""
        self._items.close()
        whole = self._path.with_name(f".{self._path.name}.part")
        try:
            with whole.open("wb") as file, self._items_path.open("rb") as items:
                file.write(orjson.dumps(collection, option=orjson.OPT_APPEND_NEWLINE))
                shutil.copyfileobj(items, file)
            whole.replace(self._path)
        finally:
            whole.unlink(missing_ok=True)


def with_hrefs(item: Item, files: Mapping[str, Path], hrefs: Mapping[str, str]) -> Item:
    """The Item with the hrefs of those assets that are files still; one that a template set stays."""
    assets = {
        key: {**asset, "href": hrefs[key]} if key in hrefs and asset.get("href") == str(files[key]) else asset
        for key, asset in item["assets"].items()
    }
    return {**item, "assets": assets}  # type: ignore[typeddict-item]  # with members of extensions
