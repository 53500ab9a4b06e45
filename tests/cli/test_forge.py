"""`graticule forge` as a shell starts it."""

from __future__ import annotations

import json
from pathlib import Path

from acceptance.rasters import small_geotiff
from cli.conftest import Run


def test_it_just_works_previews_and_names_what_is_wrong(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a_2021.tif").write_bytes(small_geotiff())
    (folder / "b_2021.tif").write_bytes(b"GIF89a no raster")
    (folder / "readme.vrt").write_text("<VRTDataset/>")

    preview = run("forge", folder, "-c", "c", "--dry-run")
    assert preview.returncode == 1
    header, row = preview.stdout.splitlines()
    assert header.split() == ["ITEM", "TIME", "BY", "CRS", "BBOX", "ASSETS"]
    assert row.split()[:4] == ["a_2021", "2021-01-01T00:00:00Z/2021-12-31T23:59:59Z", "name", "EPSG:32632"]
    assert "b_2021: b_2021.tif: the file is not a raster" in preview.stderr
    assert "readme.vrt: belongs to no raster; passed over" in preview.stderr
    assert "1 items with 1 assets, 1 refused, 1 passed over" in preview.stderr

    output = tmp_path / "out"
    events = [json.loads(line) for line in run("forge", folder, "-c", "c", "-o", output, "--json").stdout.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == ["refused", "passed-over", "done"]
    assert events[-1] == {
        "event": "done", "items": 1, "assets": 1, "refused": 1, "passed_over": 1, "output": str(output),
    }  # fmt: skip
    assert json.loads((output / "collection.json").read_text())["id"] == "c"

    # The outcome of an earlier run, in the folder itself, is not taken for a source.
    inside = (folder, "-c", "c", "-o", folder / "c", "--copy", "--overwrite", "--json")
    assert {run("forge", *inside).stdout.splitlines()[-1].partition('"output"')[0] for _ in range(2)} == {
        '{"event": "done", "items": 1, "assets": 1, "refused": 1, "passed_over": 1, '
    }

    for arguments, words in (
        ((folder, "-c", "c", "-o", output), "is not empty: name another folder with --output, or give --overwrite"),
        ((tmp_path / "none", "-c", "c"), "does not exist"),
        (("https://example.org/a.tif", "-c", "c"), "https://… is a URL, and forge reads files"),
        ((output / "collection.json", "-c", "c"), "There is no raster"),
        ((folder, "-c", "c", "--crs", "moon"), "--crs 'moon' is no CRS"),
        ((folder, "-c", "c", "--post", "--copy"), "--post writes no catalog"),
        ((folder, "-c", "c", "--template", tmp_path / "none.j2"), "none.j2: No such file"),
        ((folder, "-c", "a/b"), "no URL segment can carry"),
        ((folder,), "Missing option '--collection'"),
    ):
        refused = run("forge", *arguments)
        assert refused.returncode == 2, arguments
        assert words in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
