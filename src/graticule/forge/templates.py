"""Owns: the user's template for what no file tells: Jinja2 → JSON, merged into the Item (RFC 7396).

The environment is a sandbox: a template that somebody else wrote can read the files of its scene, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from graticule.errors import NotForged
from graticule.forge.metadata import MAX_BYTES
from graticule.forge.scenes import Scene
from graticule.stac.documents import Item, JsonObject

#: What a template may not change: it would no longer be the Item of these files.
_FIXED: Final = ("type", "stac_version", "collection", "links")


class ItemTemplate:
    """A template for the rest of every Item."""

    def __init__(self, path: Path) -> None:
        """Read and compile it.

        Raises:
            NotForged: it cannot be read, or is no template; the message has the line.
        """
        environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
        environment.filters |= {"regex_search": _regex_search, "regex_sub": _regex_sub, "tojson": _json_text}
        environment.globals["now"] = lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._path = path
        try:
            self._template = environment.from_string(path.read_text("utf-8"))
        except TemplateSyntaxError as exc:
            raise NotForged(f"{path}:{exc.lineno}: {exc.message}.") from exc
        except UnicodeDecodeError as exc:
            raise NotForged(f"{path} is no text in UTF-8.") from exc

    def merged(
        self, item: Item, scene: Scene, metadata: Mapping[str, str], tags: Mapping[str, Mapping[str, str]]
    ) -> Item:
        """The Item with what the template says of it; null takes a member away.

        Raises:
            NotForged: the template fails on this scene, or renders no JSON object.
        """
        try:
            text = self._template.render(
                item=item,
                scene=scene.id,
                path=scene.place,
                match=dict(scene.match),
                metadata=dict(metadata),
                tags={key: dict(values) for key, values in tags.items()},
                files=[member.file.name for member in scene.members],
                text=_reader(scene),
                json=lambda name: json.loads(_reader(scene)(name)),
            )
        except UndefinedError as exc:
            raise NotForged(
                f"template {self._path}: {exc.message}: write (name | default('…')) where it may be missing"
            ) from exc
        except SecurityError as exc:
            raise NotForged(f"template {self._path}: {exc.message}: templates run in a sandbox") from exc
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, re.error) as exc:
            raise NotForged(f"template {self._path}: {exc}: correct it for this scene") from exc
        try:
            patch = json.loads(text)
        except ValueError as exc:
            raise NotForged(
                f"template {self._path} renders no JSON for this scene ({exc}): quote with | tojson"
            ) from exc
        if not isinstance(patch, dict):
            raise NotForged(f"template {self._path} renders no JSON object: begin it with {{")
        if fixed := next((name for name in _FIXED if name in patch), None):
            raise NotForged(f"template {self._path} sets '{fixed}', which forge decides: leave it out")
        merged: Item = _merge(item, patch)
        return merged


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged: JsonObject = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None and name != "geometry":
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _reader(scene: Scene) -> Callable[[str], str]:
    paths = {member.file.name: member.file.path for member in scene.members}

    def read(name: str) -> str:
        """The text of a file of this scene, by its name."""
        if name not in paths:
            raise LookupError(f"{name!r} is no file of the scene; it has {', '.join(sorted(paths))}")
        if paths[name].stat().st_size > MAX_BYTES:
            raise ValueError(f"{name!r} has more than {MAX_BYTES} bytes")
        return paths[name].read_text("utf-8", errors="replace")

    return read


def _regex_search(text: str, pattern: str, group: int | str = 0) -> str | None:
    match = re.search(pattern, text)
    return None if match is None else match[group]


def _regex_sub(text: str, pattern: str, replacement: str) -> str:
    return re.sub(pattern, replacement, text)


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
