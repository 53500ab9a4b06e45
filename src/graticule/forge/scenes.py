"""Owns: which files are one scene, and under which keys they become assets of its Item.

Unless told otherwise, files are one scene when all rasters of a folder begin with the folder's name, when they begin
with what comes before ``_MTL`` in the name of a metadata file, or when two or more share all but a band at the end of
the name (``…_B04.tif``, ``…_VV.tif``). Every other raster is a scene of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from graticule.errors import NotForged
from graticule.forge.walking import Found, Kind
from graticule.ingestion.conversion import SidecarKind, sidecars_of

_BAND: Final = re.compile(
    r"^(?P<scene>.+?)[_.\-](?P<asset>(?:(?:SR|ST|TOA)_)?(?:B(?:AND)?_?\d{1,2}A?|QA_PIXEL|QA_RADSAT|QA_AEROSOL|QA|SCL|TCI|AOT|WVP"
    r"|VV|VH|HH|HV|RED|GREEN|BLUE|NIR\d*|SWIR\d*|PAN|COASTAL|REDEDGE\d*)(?:_\d+M)?)$",
    re.IGNORECASE,
)
_SCENE_METADATA: Final = re.compile(r"^(?P<scene>.+)_MTL\.(?:txt|json|xml)$", re.IGNORECASE)
_PREVIEW: Final = re.compile(
    r"^(?P<scene>.+?)[_.\-](?:thumb(?:nail)?|preview|browse|quicklook|ql|pvi)(?:[_\-]\w+)?$", re.IGNORECASE
)
_SEPARATORS: Final = "_-. "
#: The last part of a sidecar's key.
_SIDECAR_NAMES: Final = {
    SidecarKind.WORLD_FILE: "worldfile",
    SidecarKind.PROJECTION: "prj",
    SidecarKind.OVERVIEWS: "ovr",
    SidecarKind.MASK: "msk",
    SidecarKind.PAM: "aux",
}


@dataclass(frozen=True)
class Member:
    """A file of a scene."""

    key: str  #: of its asset
    file: Found
    sidecar: SidecarKind | None = None  #: what it completes a raster with


@dataclass(frozen=True)
class Scene:
    """What becomes one Item."""

    id: str
    place: str  #: where its first raster lies, as it was found
    members: tuple[Member, ...]
    match: Mapping[str, str] = field(default_factory=dict)  #: named groups of the pattern that found it
    problem: str | None = None  #: why no Item can be made of it

    def rasters(self) -> Iterator[Member]:
        """Its rasters, previews among them."""
        return (member for member in self.members if member.file.kind is Kind.RASTER)

    def sidecars(self, raster: Member) -> dict[SidecarKind, Path]:
        """What lies beside a raster of its own."""
        beside = {member.key: member for member in self.members if member.sidecar is not None}
        places = {key: {"href": _href(member.file)} for key, member in beside.items()}
        named = sidecars_of("", {"": {"href": _href(raster.file)}, **places})  # type: ignore[dict-item]  # as assets
        return {kind: beside[key].file.path for kind, key in named.items()}


@dataclass(frozen=True)
class Grouping:
    """How scenes are told from each other."""

    rule: str = "auto"  #: auto, file, folder; else a regular expression with a group ``scene``
    raster_key: str = "data"  #: the key of an asset that has no other name

    def pattern(self) -> re.Pattern[str] | None:
        """The regular expression, if it is one.

        Raises:
            NotForged: it cannot be read, or names no scene.
        """
        if self.rule in {"auto", "file", "folder"}:
            return None
        try:
            pattern = re.compile(self.rule)
        except re.error as exc:
            raise NotForged(f"--group {self.rule!r} is no regular expression: {exc}.") from exc
        if "scene" not in pattern.groupindex:
            raise NotForged(
                f"--group {self.rule!r} is neither auto, file nor folder, and as a pattern it has no group for the"
                " scene: write (?P<scene>…), and (?P<asset>…) for the asset's key."
            )
        return pattern


@dataclass
class _Draft:
    """A scene that is being put together."""

    name: str
    folder: Path
    members: list[tuple[str, Found]] = field(default_factory=list)  # what is left of the name, file
    match: dict[str, str] = field(default_factory=dict)
    problem: str | None = None


def group_scenes(files: Iterable[Found], grouping: Grouping) -> tuple[list[Scene], list[Found]]:
    """Put files into scenes, by name.

    Returns:
        The scenes in the order of their first files, and the files that belong to none.

    Raises:
        NotForged: the pattern is none.
    """
    pattern = grouping.pattern()
    files = list(files)
    drafts = list(_by_pattern(files, pattern) if pattern else _by_folder(files, grouping.rule))
    taken = {file.path for draft in drafts for _, file in draft.members}
    beside: dict[tuple[Path, str], list[Found]] = defaultdict(list)
    for file in files:
        if file.kind is Kind.SIDECAR:
            beside[file.folder, _first_part(file)].append(file)
    scenes = [_finish(draft, beside, grouping.raster_key, taken) for draft in drafts]
    return list(_named_apart(scenes)), [file for file in files if file.path not in taken]


# --- which files -----------------------------------------------------------------------------------------------------


def _by_pattern(files: list[Found], pattern: re.Pattern[str]) -> Iterator[_Draft]:
    drafts: dict[str, _Draft] = {}
    for file in files:
        if file.kind not in {Kind.RASTER, Kind.METADATA}:
            continue
        match = pattern.search(file.place)
        name = match["scene"] if match else None
        if match is None or not name:
            if file.kind is Kind.RASTER:
                yield _Draft(
                    file.stem, file.folder, [("", file)], problem="its path does not fit the pattern of --group"
                )
            continue
        draft = drafts.setdefault(name, _Draft(name, file.folder))
        groups = {key: text for key, text in match.groupdict().items() if text is not None}
        draft.match = {**groups, **draft.match}
        draft.members.append((groups.get("asset", _rest(file.stem, name)), file))
    yield from (draft for draft in drafts.values() if any(file.kind is Kind.RASTER for _, file in draft.members))


def _by_folder(files: list[Found], rule: str) -> Iterator[_Draft]:
    folders: dict[Path, list[Found]] = defaultdict(list)
    for file in files:
        folders[file.folder].append(file)
    for folder, inside in folders.items():
        rasters = [file for file in inside if file.kind is Kind.RASTER]
        if not rasters:
            continue
        if rule == "folder":
            drafts = {
                folder.name: _Draft(folder.name, folder, [(_rest(file.stem, folder.name), file) for file in rasters])
            }
        else:
            drafts = {}
            for file, name in _scene_names(folder, inside, rasters, rule).items():
                draft = drafts.setdefault(name, _Draft(name, folder))
                draft.members.append((_rest(file.stem, name), file))
        _join_metadata(drafts, inside)
        yield from drafts.values()


def _scene_names(folder: Path, inside: list[Found], rasters: list[Found], rule: str) -> dict[Found, str]:
    if rule == "file":
        return {file: file.stem for file in rasters}
    if all(_begins_with(file.stem, folder.name) for file in rasters):
        return dict.fromkeys(rasters, folder.name)
    prefixes = [match["scene"] for file in inside if (match := _SCENE_METADATA.match(file.name))]
    bands = {file: match["scene"] for file in rasters if (match := _BAND.match(file.stem))}
    shared = list(bands.values())
    names: dict[Found, str] = {}
    for file in rasters:
        known = next((prefix for prefix in prefixes if _begins_with(file.stem, prefix)), None)
        by_band = bands.get(file)
        names[file] = known or (by_band if by_band and shared.count(by_band) > 1 else file.stem)
    # A preview belongs to the scene that it is named after, if there is one.
    others = set(names.values())
    for file in rasters:
        match = _PREVIEW.match(file.stem)
        if match and match["scene"] in others:
            names[file] = match["scene"]
    return names


def _join_metadata(drafts: Mapping[str, _Draft], inside: list[Found]) -> None:
    """Each metadata file to the scene with the longest name that it begins with; in a folder of one scene, to that."""
    for file in inside:
        if file.kind is not Kind.METADATA:
            continue
        parts = re.split(r"(?<=[_.\- ])|(?=[_.\- ])", file.stem)
        fitting = ("".join(parts[:end]).rstrip(_SEPARATORS) for end in range(len(parts), 0, -1))
        name = next((text for text in fitting if text in drafts), None)
        if name is not None:
            drafts[name].members.append((_rest(file.stem, name), file))


# --- their names -----------------------------------------------------------------------------------------------------


def _finish(draft: _Draft, beside: Mapping[tuple[Path, str], list[Found]], raster_key: str, taken: set[Path]) -> Scene:
    members: dict[str, Member] = {}
    problem = draft.problem
    for rest, file in draft.members:
        named = _key(rest) or (raster_key if file.kind is Kind.RASTER else "metadata")
        ending = file.path.suffix.lower().lstrip(".")
        # The same rest twice: one of them is told by its extension too (MTL.json, MTL.txt).
        key = named if named not in members else f"{named}.{ending}"
        if key in members:
            other = members[key].file.place
            problem = f"{other} and {file.place} would both be its asset '{key}': set them apart with --group"
        members[key] = Member(key, file)
    for member in [each for each in members.values() if each.file.kind is Kind.RASTER]:
        candidates = beside.get((member.file.folder, _first_part(member.file)), [])
        assets = {"": {"href": _href(member.file)}, **{file.name: {"href": _href(file)} for file in candidates}}
        named_files = {file.name: file for file in candidates}
        for kind, name in sidecars_of("", assets).items():  # type: ignore[arg-type]  # assets of a kind
            if named_files[name].path not in {each.file.path for each in members.values()}:
                key = f"{member.key}-{_SIDECAR_NAMES[kind]}"
                members[key] = Member(key, named_files[name], kind)
                taken.add(named_files[name].path)
    first = next(file for _, file in draft.members if file.kind is Kind.RASTER)
    scene = Scene(_identity(draft.name), first.place, tuple(members.values()), draft.match, problem)
    return scene if scene.id else replace(scene, problem="no letter or digit is left of its name to make an id of")


def _named_apart(scenes: Iterable[Scene]) -> Iterator[Scene]:
    """Ids are given once: a second scene of the same name is refused, and says which has it."""
    first: dict[str, str] = {}
    for scene in scenes:
        if scene.problem is None and first.setdefault(scene.id, scene.place) != scene.place:
            problem = (
                f"{first[scene.id]} has the id '{scene.id}' already: name them by more of their path, such as"
                " --group '(?P<scene>[^/]+/[^/]+)[.]tif', or --group folder"
            )
            yield replace(scene, problem=problem)
        else:
            yield scene


def _begins_with(stem: str, name: str) -> bool:
    rest = stem[len(name) :]
    return bool(name) and stem.casefold().startswith(name.casefold()) and (not rest or rest[0] in _SEPARATORS)


def _rest(stem: str, name: str) -> str:
    return stem[len(name) :].strip(_SEPARATORS) if _begins_with(stem, name) else stem


def _first_part(file: Found) -> str:
    return file.name.partition(".")[0].lower()


def _key(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z._\-]+", "_", text).strip("_.")


def _identity(name: str) -> str:
    """An id that stands in one segment of a URL; a path keeps its folders as underscores."""
    return re.sub(r"[^0-9A-Za-z._\-,+()]+", "_", name).strip("_.")


def _href(file: Found) -> str:
    return quote(file.path.as_posix())
