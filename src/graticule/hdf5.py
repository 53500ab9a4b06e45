"""Owns what an HDF5 file names outside itself: nothing, or it is refused (HDF5 File Format Specification 3.0, IV.A.2).

External links, external raw data and virtual datasets hold paths of other files, and those may be anybody's.
For the confined processes that read such files: ingestion and rendering.
"""

from __future__ import annotations

from typing import Any, Final

import h5py

#: Groups and datasets of one file.
MOST_OBJECTS: Final = 20_000
#: Groups within groups: libraries look each object up by its whole path.
MOST_LEVELS: Final = 100


class ForeignReference(ValueError):
    """The file refers to another file, or is not made as files of data are."""


def check_contained(file: h5py.File) -> tuple[str, ...]:
    """Walk a whole file, metadata only; its groups that hold datasets, ``""`` for the root.

    Raises:
        ForeignReference: part of it lies in another file, or there are too many objects or levels.
    """
    holders: list[str] = []
    todo: list[tuple[str, Any]] = [("", file)]
    seen: set[int] = set()
    while todo:
        path, group = todo.pop()
        holds = False
        for name in group:
            _check_link(group, name)
            try:
                found = group[name]
            except (KeyError, OSError):
                continue  # a soft link to nothing
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue  # hard links may form a ring
            seen.add(address)
            if len(seen) > MOST_OBJECTS:
                raise ForeignReference(f"it has more than {MOST_OBJECTS} groups and datasets")
            if isinstance(found, h5py.Dataset):
                _check_dataset(found)
                holds = True
            elif isinstance(found, h5py.Group):
                if path.count("/") >= MOST_LEVELS:
                    raise ForeignReference(f"its groups are nested more than {MOST_LEVELS} levels deep")
                todo.append((f"{path}/{name}" if path else name, found))
        if holds:
            holders.append(path)
    return tuple(sorted(holders))


def _check_link(group: Any, name: str) -> None:
    try:
        link = group.get(name, getlink=True)
    except TypeError:
        raise ForeignReference(f"{name[:80]!r} is a link of a kind of its own") from None
    if isinstance(link, h5py.ExternalLink):
        raise ForeignReference(f"{name[:80]!r} is a link into another file")


def _check_dataset(dataset: Any) -> None:
    if dataset.is_virtual:
        raise ForeignReference(f"{dataset.name[:80]!r} is virtual: its values lie in other files")
    if dataset.external:
        raise ForeignReference(f"{dataset.name[:80]!r} keeps its values in another file")
