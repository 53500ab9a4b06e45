"""The files of an exchange: how they are laid out, read line by line, and written so that a half is never a whole.

DIR/{collection}/collection.json     one Collection
DIR/{collection}/items.ndjson        its Items, one a line
FILE.ndjson                          Collections and Items, one a line; an Item that names no collection belongs
                                     to the Collection before it
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Final, NamedTuple, Self

import orjson

COLLECTION_FILE: Final = "collection.json"
COLLECTIONS_FILE: Final = "collections.ndjson"
ITEMS_FILE: Final = "items.ndjson"

#: What a folder's name may have, in bytes; file systems allow 255.
_LONGEST_NAME: Final = 200
_CHUNK: Final = 1 << 20
#: A document that is not in lines is read as a whole, bytes.
_LARGEST_DOCUMENT: Final = 256 << 20


# --- reading


@dataclass(frozen=True)
class SourceFile:
    """A file to load, of JSON lines; other sources are classes of their own."""

    #: None: standard input, or no file.
    path: Path | None

    @property
    def name(self) -> str:
        """How messages call it."""
        return "-" if self.path is None else str(self.path)

    @property
    def size(self) -> int:
        """Bytes; 0 where that is not known."""
        return 0 if self.path is None else self.path.stat().st_size

    @property
    def is_one_document(self) -> bool:
        """Does it hold one document, over however many lines: a Collection, an Item or an ItemCollection?"""
        return self.path is not None and self.path.suffix == ".json"

    @property
    def can_be_cut(self) -> bool:
        """Can its parts be read by themselves, each from the beginning of a line?"""
        return self.path is not None and self.path.is_file() and not self.is_one_document

    def belongs_to(self, before: SourceFile) -> bool:
        """Are these the items of the collection that the file before describes?"""
        return self.path is not None and before.path == self.path.with_name(COLLECTION_FILE)

    def lines(self, longest: int) -> Iterator[Line]:
        """Its documents; of one longer than `longest` bytes only the number. Other sources have their own.

        Those of an ItemCollection are its Items, numbered as they stand in it.
        """
        with _opened(self) as stream:
            if self.is_one_document:
                yield from _documents_in(stream.read(_LARGEST_DOCUMENT + 1), longest)
            else:
                yield from (line for line in _lines_of(stream, longest) if line.text != b"")

    def chunks(self, longest: int, size: Callable[[], Size]) -> Iterator[Chunk]:
        """Its documents, so many at a time: `size` is asked before every chunk."""
        if self.path is not None and self.can_be_cut:
            return _parts(self.path, longest, size)
        return _bundles(self.lines(longest), size)


class Line(NamedTuple):
    """A line that is not blank, or a row."""

    #: From 1; 0: what a file says of itself.
    number: int
    #: Without the ends of the line; None: it is longer than allowed.
    text: bytes | None
    #: Bytes of the file up to its end.
    offset: int


class Size(NamedTuple):
    """Of a chunk, at most, but for its last document."""

    #: Documents; the parts of a file are measured by their bytes alone.
    lines: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """Whole lines of a file, which are read where they are needed: only the place travels to another process."""

    path: Path
    begin: int
    end: int

    #: Its lines are numbered from 1, and those that follow it from where they stop.
    counts: ClassVar[bool] = True

    def read(self, longest: int) -> Iterator[Line]:
        """Its lines; blank ones are empty texts."""
        with self.path.open("rb", buffering=_CHUNK) as stream:
            stream.seek(self.begin)
            yield from _lines_of(stream, longest, self.begin, self.end)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Lines that cannot be read a second time, with the numbers that they have in their source."""

    given: list[Line]

    @property
    def end(self) -> int:
        """Bytes of the source up to the end of its last line."""
        return self.given[-1].offset

    #: The numbers of its lines are those of the source.
    counts: ClassVar[bool] = False

    def read(self, longest: int) -> Iterator[Line]:
        """As `Part.read`."""
        del longest  # they were measured when they were read
        return iter(self.given)


Chunk = Part | Bundle


def _parts(path: Path, longest: int, size: Callable[[], Size]) -> Iterator[Part]:
    begin, whole = 0, path.stat().st_size
    with path.open("rb") as stream:
        while begin < whole:
            end = min(begin + size().size_bytes, whole)
            stream.seek(end - 1)
            end -= 1
            # A line that is too long ends where it ends: whoever reads the part passes over it.
            while rest := stream.readline(max(longest, _CHUNK)):
                end += len(rest)
                if rest.endswith(b"\n"):
                    break
            yield Part(path, begin, end)
            begin = end


def _bundles(lines: Iterator[Line], size: Callable[[], Size]) -> Iterator[Bundle]:
    given: list[Line] = []
    length, most = 0, size()
    for line in lines:
        given.append(line)
        length += len(line.text or b"")
        if len(given) >= most.lines or length >= most.size_bytes:
            yield Bundle(given)
            given, length, most = [], 0, size()
    if given:
        yield Bundle(given)


def _documents_in(text: bytes, longest: int) -> Iterator[Line]:
    features = _features_of(text) if len(text) <= _LARGEST_DOCUMENT else None
    if features is None:
        yield Line(1, _stripped(text) if len(text) <= longest else None, len(text))
        return
    for number, feature in enumerate(features, start=1):
        document = orjson.dumps(feature)
        yield Line(number, document if len(document) <= longest else None, len(text) * number // len(features))


def _features_of(text: bytes) -> list[Any] | None:
    """The members of an ItemCollection; None: it is another document, or none."""
    if b'"FeatureCollection"' not in text:
        return None
    try:
        document = orjson.loads(_stripped(text))
    except orjson.JSONDecodeError:
        return None
    features = document.get("features") if isinstance(document, dict) else None
    return features if isinstance(features, list) and document.get("type") == "FeatureCollection" else None


def _lines_of(stream: IO[bytes], longest: int, offset: int = 0, end: int | None = None) -> Iterator[Line]:
    """The lines of a stream that is at `offset`, up to its end or to `end`; blank ones are empty texts."""
    number = 0
    while (end is None or offset < end) and (line := stream.readline(longest + 1)):
        number += 1
        offset += len(line)
        if len(line) > longest and not line.endswith(b"\n"):
            while rest := stream.readline(_CHUNK):
                offset += len(rest)
                if rest.endswith(b"\n"):
                    break
            yield Line(number, None, offset)
        else:
            yield Line(number, _stripped(line), offset)


@contextmanager
def _opened(file: SourceFile) -> Iterator[IO[bytes]]:
    if file.path is None:
        yield sys.stdin.buffer
        return
    with file.path.open("rb") as stream:
        yield stream


def _stripped(text: bytes) -> bytes:
    # A byte order mark, or the record separators of GeoJSON text sequences (RFC 8142), are no part of a document.
    return text.removeprefix(b"\xef\xbb\xbf").strip(b"\x1e \t\r\n")


# --- writing


def folder_name(collection_id: str) -> str:
    """The name of a collection's folder: its id, or where a file system cannot have that, its beginning and a hash."""
    name = collection_id.encode()
    if len(name) <= _LONGEST_NAME and not collection_id.startswith("."):
        return collection_id
    digest = hashlib.sha256(name).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - 17].decode(errors='ignore').lstrip('.')}-{digest}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file: it is there whole, or as it was before."""
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        file.write(content)
        _sync(file)
    temporary.replace(path)


class PartialFile:
    """A large file while it is written: ``NAME.partial``, and beside it how far that got. Complete, it is ``NAME``."""

    def __init__(self, path: Path, *, resume: bool, base: str) -> None:
        """Begin, or go on where an interrupted writer with the same base URL stopped.

        Attribute `mark`: what was last given to `note`; None at the beginning.
        """
        self.path = path
        self.mark: Any = None
        self._base = base
        self._partial = path.with_name(path.name + ".partial")
        self._state = path.with_name(path.name + ".partial.state")
        length = self._resumed() if resume else 0
        self._file = self._partial.open("r+b" if length else "wb")
        self._file.truncate(length)
        self._file.seek(length)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> None:
        """Append."""
        self._file.write(content)

    def note(self, mark: Any) -> None:
        """Remember how far it is: JSON that `mark` is after an interruption here or later."""
        _sync(self._file)
        state = {"base": self._base, "bytes": self._file.tell(), "mark": mark}
        write_whole(self._state, orjson.dumps(state))

    def finish(self) -> None:
        """Give the file its name."""
        _sync(self._file)
        self._file.close()
        self._partial.replace(self.path)
        self._state.unlink(missing_ok=True)

    def _resumed(self) -> int:
        """Length of what can be kept, bytes."""
        try:
            state = orjson.loads(self._state.read_bytes())
            kept = state["base"] == self._base and self._partial.stat().st_size >= state["bytes"]
        except (FileNotFoundError, ValueError):
            return 0
        if not kept:
            return 0
        self.mark = state["mark"]
        return int(state["bytes"])


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
