"""Files in chunks: cut wherever, they hold the lines of the file with their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from graticule.ingestion.exchange.files import Line, Size, SourceFile

LONGEST = 40
#: Short and long lines, blank ones, one that is too long, a byte order mark, ends of both kinds, no end at the end.
TEXT = b"\xef\xbb\xbf" + b"\n".join(
    [b"first", b"", b"  \r", b"x" * LONGEST, b"y" * (3 * LONGEST), b" z \r", *(b"%d" % number for number in range(30))]
)


def lines_in_chunks(file: SourceFile, size: Size) -> list[Line]:
    found: list[Line] = []
    before = 0
    for chunk in file.chunks(LONGEST, lambda: size):
        lines = list(chunk.read(LONGEST))
        if chunk.counts:
            lines = [line._replace(number=line.number + before) for line in lines]
            before = lines[-1].number
        found += [line for line in lines if line.text != b""]
        assert not lines or lines[-1].offset <= chunk.end
    return found


@pytest.mark.parametrize("size_bytes", [*range(1, 30), 100, 200, 1000])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_parts_of_a_file_hold_its_lines(tmp_path: Path, size_bytes: int, end: bytes) -> None:
    path = tmp_path / "lines.ndjson"
    path.write_bytes(TEXT + end)
    whole = list(SourceFile(path).lines(LONGEST))
    assert [line.number for line in whole] == [1, 4, 5, 6, *range(7, 37)]
    assert [line.number for line in whole if line.text is None] == [5]
    assert lines_in_chunks(SourceFile(path), Size(3, size_bytes)) == whole


def test_what_cannot_be_cut_is_read_once_in_order(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    path.write_bytes(b'{\n"id": 1}\n')
    assert not SourceFile(path).can_be_cut
    assert lines_in_chunks(SourceFile(path), Size(3, 1)) == [Line(1, b'{\n"id": 1}', 11)]


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    path = tmp_path / "lines.ndjson"
    path.touch()
    assert list(SourceFile(path).chunks(LONGEST, lambda: Size(3, 10))) == []
