"""Which files are one scene, and what their assets are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from graticule.errors import NotForged
from graticule.forge import Grouping, Scene, find_files, group_scenes


def scenes(root: Path, *places: str, rule: str = "auto") -> tuple[dict[str, list[str]], list[str]]:
    """Scenes of empty files by id with their keys, and what was left."""
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    found, rest = group_scenes(find_files([root]), Grouping(rule))
    return {scene.id: [member.key for member in scene.members] for scene in found}, [file.place for file in rest]


def problems(root: Path, *places: str, rule: str = "auto") -> list[Scene]:
    scenes(root, *places, rule=rule)
    return [scene for scene in group_scenes(find_files([root]), Grouping(rule))[0] if scene.problem]


def test_a_raster_is_a_scene_with_what_lies_beside_it(tmp_path: Path) -> None:
    places = (
        "a.tif",
        "a.tfw",
        "a.prj",
        "a.tif.ovr",
        "a.tif.aux.xml",
        "a.xml",
        "b.jpg",
        "b.jgw",
        "c.tif",
        ".hidden.tif",
    )
    found, rest = scenes(tmp_path, *places)
    assert found["a"] == ["data", "metadata", "data-prj", "data-worldfile", "data-aux", "data-ovr"]
    assert found["b"] == ["data", "data-worldfile"]
    assert found["c"] == ["data"]
    assert rest == []


def test_a_folder_whose_rasters_bear_its_name_is_a_scene(tmp_path: Path) -> None:
    places = ("X_1/X_1_SR_B2.TIF", "X_1/X_1_QA.TIF", "X_1/X_1_MTL.txt", "X_1/X_1_MTL.json", "X_1/X_1_thumb.jpg")
    found, _ = scenes(tmp_path, *places)
    assert found == {"X_1": ["QA", "SR_B2", "thumb", "MTL", "MTL.txt"]}


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("A_B01.tif", "A_B8A.tif", "A_TCI_10m.jp2", "A_thumb.png"), {"A": ["B01", "B8A", "TCI_10m", "thumb"]}),
        (("L1_X.tif", "L1_Y.tif", "L1_MTL.xml"), {"L1": ["X", "Y", "MTL"]}),
        (("s-vv.tif", "s-vh.tif"), {"s": ["vh", "vv"]}),
        # One band alone is a file like any other.
        (("A_B01.tif", "C.tif"), {"A_B01": ["data"], "C": ["data"]}),
        (("map_2020.tif", "map_2021.tif"), {"map_2020": ["data"], "map_2021": ["data"]}),
    ],
)
def test_files_of_one_folder_are_told_apart_by_their_names(
    tmp_path: Path, places: tuple[str, ...], expected: dict[str, list[str]]
) -> None:
    assert scenes(tmp_path, *places)[0] == expected


def test_a_pattern_names_scenes_and_assets_over_folders(tmp_path: Path) -> None:
    places = ("t1/d1/red.tif", "t1/d1/nir.tif", "t1/d2/red.tif", "t1/d1/notes.txt", "loose.tif")
    rule = r"(?P<scene>t\d/d\d)/(?P<asset>\w+)"
    found, _ = scenes(tmp_path, *places, rule=rule)
    assert found == {"t1_d1": ["nir", "notes", "red"], "t1_d2": ["red"], "loose": ["data"]}
    (loose,) = problems(tmp_path, *places, rule=rule)
    assert "does not fit the pattern" in str(loose.problem)


def test_folder_and_file_rules(tmp_path: Path) -> None:
    places = ("s1/B01.tif", "s1/B02.tif", "s2/B01.tif")
    assert scenes(tmp_path, *places, rule="folder")[0] == {"s1": ["B01", "B02"], "s2": ["B01"]}
    (twice,) = problems(tmp_path, *places, rule="file")
    assert twice.place == "s2/B01.tif"
    assert "s1/B01.tif has the id 'B01' already" in str(twice.problem)


def test_what_belongs_to_no_raster_is_left(tmp_path: Path) -> None:
    assert scenes(tmp_path, "a.tif", "readme.txt", "b.vrt", "c.nc") == (
        {"a": ["data"]},
        ["b.vrt", "c.nc", "readme.txt"],
    )


def test_ids_have_no_character_that_a_url_could_not_carry(tmp_path: Path) -> None:
    assert list(scenes(tmp_path, "Bild Nr. 1 (süd).tif")[0]) == ["Bild_Nr._1_(s_d)"]


@pytest.mark.parametrize(("rule", "words"), [("(", "no regular expression"), ("[a-z]+", "(?P<scene>…)")])
def test_a_pattern_without_scene_is_refused_with_the_remedy(tmp_path: Path, rule: str, words: str) -> None:
    with pytest.raises(NotForged) as refused:
        scenes(tmp_path, "a.tif", rule=rule)
    assert words in refused.value.message
