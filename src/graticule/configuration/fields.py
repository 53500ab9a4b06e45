"""Reads the members of a JSON object that a client sent, and says which one is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from graticule.errors import InvalidRequestBody
from graticule.stac.documents import JsonObject

#: An id stands in one segment of a URL; the original's limit is not known.
MAX_ID = 256


class Fields:
    """A JSON object under examination.

    ``document`` is a copy of it, in which enumerated values have their exact spelling; everything else stays as it
    came. An optional member that is null counts as absent.

    Raises:
        InvalidRequestBody: from every method; the message and its target name the member.
    """

    def __init__(self, value: Any, what: str, path: str = "") -> None:
        """Take what was sent as `what`, at this path of the body."""
        self._what = what
        self._path = path
        if not isinstance(value, dict):
            place = f"'{path}'" if path else "body"
            raise InvalidRequestBody(f"{what}: {place} must be a JSON object.", target=path or None)
        self.document: JsonObject = dict(value)

    def identity(self, name: str) -> str:
        """A required id."""
        value = self._text(name, self._required(name))
        if not value:
            self.refuse(name, "must not be empty")
        if len(value) > MAX_ID:
            self.refuse(name, f"has {len(value)} characters; at most {MAX_ID} are allowed")
        if "/" in value or not value.isprintable() or value in {".", ".."}:
            self.refuse(name, f"{value!r} cannot stand in a URL: use letters, digits and -_.:,+()")
        return value

    def text(self, name: str, *, required: bool = False) -> None:
        """A text."""
        value = self._required(name) if required else self.document.get(name)
        if value is not None:
            self._text(name, value)

    def texts(self, name: str) -> None:
        """A list of texts."""
        if not all(isinstance(value, str) for value in self.array(name)):
            self.refuse(name, "must be a list of texts")

    def one_of(self, name: str, values: Sequence[str], *, required: bool = False) -> str | None:
        """One of an enumeration's values, in any case; the document gets the exact one."""
        value = self._required(name) if required else self.document.get(name)
        if value is None:
            return None
        folded = value.casefold() if isinstance(value, str) else None
        exact = next((known for known in values if known.casefold() == folded), None)
        if exact is None:
            self.refuse(name, f"must be one of {', '.join(values)}, not {str(value)[:40]!r}")
        self.document[name] = exact
        return exact

    def whole(self, name: str, least: int, most: int, *, required: bool = False) -> None:
        """A whole number within bounds."""
        value = self._required(name) if required else self.document.get(name)
        if value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.refuse(name, f"must be a whole number from {least} to {most}, not {str(value)[:40]}")

    def number(self, name: str) -> None:
        """A number."""
        value = self.document.get(name)
        if value is not None and not is_number(value):
            self.refuse(name, f"must be a number, not {str(value)[:40]!r}")

    def boolean(self, name: str) -> None:
        """A boolean."""
        if not isinstance(self.document.get(name), bool | None):
            self.refuse(name, "must be true or false")

    def array(self, name: str, *, required: bool = False) -> list[Any]:
        """A list; absent is empty."""
        value = self._required(name) if required else self.document.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(name, "must be a list")
        return value

    def object(self, name: str, *, required: bool = False) -> Fields | None:
        """An object, whose copy becomes part of this one."""
        value = self._required(name) if required else self.document.get(name)
        if value is None:
            return None
        inner = Fields(value, self._what, self._at(name))
        self.document[name] = inner.document
        return inner

    def objects(self, name: str, *, required: bool = False) -> Iterable[Fields]:
        """A list of objects, whose copies become part of this one."""
        values = self.array(name, required=required)
        inner = [Fields(value, self._what, f"{self._at(name)}[{place}]") for place, value in enumerate(values)]
        if inner:
            self.document[name] = [fields.document for fields in inner]
        return inner

    def refuse(self, name: str, why: str) -> NoReturn:
        """Refuse the document for this member."""
        raise InvalidRequestBody(f"{self._what}: '{self._at(name)}' {why}.", target=self._at(name))

    # --- inside

    def _required(self, name: str) -> Any:
        if self.document.get(name) is None:
            raise InvalidRequestBody(f"{self._what} has no '{self._at(name)}'.", target=self._at(name))
        return self.document[name]

    def _text(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            self.refuse(name, "must be text")
        return value

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
