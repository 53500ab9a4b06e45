"""CQL2 text (OGC 21-065 annex B) to the JSON encoding, which `parsing` reads.

A parser of our own: the published ones turn integers into floats and end the whole process on a few thousand nested
parentheses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

#: Parentheses, signs and NOTs within each other.
MAX_DEPTH: Final = 50

_T = TypeVar("_T")
_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<name>[^\W\d][\w.:]*)
    | (?P<sign><=|>=|<>|!=|[-+*/%^=<>(),\[\]])
    )""",
    re.VERBOSE,
)
#: How tight a binary operator binds. All are left-associative.
_BINDING: Final = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "div": 2, "^": 3}
_COMPARISONS: Final = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_GEOMETRIES: Final = {
    "POINT": "Point",
    "LINESTRING": "LineString",
    "POLYGON": "Polygon",
    "MULTIPOINT": "MultiPoint",
    "MULTILINESTRING": "MultiLineString",
    "MULTIPOLYGON": "MultiPolygon",
}
#: Words that are no property unless they stand in double quotes.
_RESERVED: Final = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL", "TRUE", "FALSE", "DIV"})


class _Token(NamedTuple):
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """A sign, or a word in capitals; nothing for anything quoted."""
        return self.text.upper() if self.kind in {"name", "sign"} else ""


def to_json(text: str) -> Any:
    """The JSON encoding of a filter in text.

    Raises:
        ValueError: says where the text cannot be read, and what was expected there.
    """
    return _Parser(_tokens(text)).whole()


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            blank = len(text[at:]) - len(text[at:].lstrip())
            raise ValueError(f"it cannot be read from {text[at + blank : at + blank + 20]!r} on")
        tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        at = match.end()
    return [*tokens, _Token("end", "", at)]


class _Parser:
    """Recursive descent, one method per level of the grammar."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Any:
        found = self._disjunction()
        if self._peek().kind != "end":
            raise self._expected("the end, AND or OR")
        return found

    # --- conditions

    def _disjunction(self) -> Any:
        return self._chain("OR", lambda: self._chain("AND", self._negation))

    def _chain(self, word: str, part: Callable[[], Any]) -> Any:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else {"op": word.lower(), "args": parts}

    def _negation(self) -> Any:
        negated = False
        while self._took("NOT"):
            negated = not negated
        found = self._predicate()
        return {"op": "not", "args": [found]} if negated else found

    def _predicate(self) -> Any:
        left = self._operand()
        word = self._peek().word
        if word in _COMPARISONS:
            self._next += 1
            return {"op": _COMPARISONS[word], "args": [left, self._operand()]}
        if self._took("IS"):
            negated = self._took("NOT")
            self._need("NULL")
            found = {"op": "isNull", "args": [left]}
        else:
            negated = self._took("NOT")
            if self._took("LIKE"):
                found = {"op": "like", "args": [left, self._operand()]}
            elif self._took("BETWEEN"):
                low = self._operand()
                self._need("AND")
                found = {"op": "between", "args": [left, low, self._operand()]}
            elif self._took("IN"):
                found = {"op": "in", "args": [left, self._list(self._operand)]}
            elif negated:
                raise self._expected("LIKE, BETWEEN or IN")
            else:
                return left
        return {"op": "not", "args": [found]} if negated else found

    # --- values

    def _operand(self, binding: int = 1) -> Any:
        left = self._signed()
        while (level := _BINDING.get(op := self._peek().word.lower(), 0)) >= binding:
            self._next += 1
            left = {"op": op, "args": [left, self._operand(level + 1)]}
        return left

    def _signed(self) -> Any:
        negative = False
        while (word := self._peek().word) in {"-", "+"}:
            self._next += 1
            negative ^= word == "-"
        # A minus binds weaker than ^ and stronger than *: -2^2 is -4.
        found = self._operand(3) if negative else self._atom()
        if not negative:
            return found
        if isinstance(found, int | float) and not isinstance(found, bool):
            return -found
        return {"op": "*", "args": [-1, found]}

    def _atom(self) -> Any:
        token = self._peek()
        self._next += 1
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "text":
            return token.text[1:-1].replace("''", "'")
        if token.kind == "quoted":
            return {"property": token.text[1:-1].replace('""', '"')}
        if token.word == "(":
            return self._parenthesis()
        if token.kind == "name" and (token.word in {"TRUE", "FALSE"} or token.word not in _RESERVED):
            return self._named(token)
        self._next -= 1
        raise self._expected("a property, a value or a condition")

    def _parenthesis(self) -> Any:
        """A condition, an expression, or the list of an array operator."""
        if self._took(")"):
            return []
        members = [self._deeper(self._disjunction)]
        if self._took(")"):
            return members[0]
        while self._took(","):
            members.append(self._deeper(self._disjunction))
        self._need(")")
        return members

    def _named(self, token: _Token) -> Any:  # noqa: PLR0911 - one answer per kind of name
        word = token.word
        if word in {"TRUE", "FALSE"}:
            return word == "TRUE"
        if self._is_geometry(word):
            return self._geometry(word)
        if self._peek().word != "(":
            return {"property": token.text}
        if word in {"BBOX", "ENVELOPE"}:
            return {"bbox": self._list(self._coordinate)}
        if word in {"DATE", "TIMESTAMP"}:
            (value,) = self._exactly(1, self._list(self._text), word)
            return {word.lower(): value}
        if word == "INTERVAL":
            return {"interval": self._exactly(2, self._list(self._operand), word)}
        args = self._list(self._disjunction)
        if word.startswith("A_"):
            # ('x') is an array of one here; in every other place it is a text in parentheses.
            args = [
                [arg] if isinstance(arg, str | int | float) or "date" in arg or "timestamp" in arg else arg
                for arg in args
            ]
        return {"op": token.text, "args": args}

    def _text(self) -> str:
        token = self._peek()
        if token.kind != "text":
            raise self._expected("a text in single quotes")
        self._next += 1
        return token.text[1:-1]

    # --- geometries

    def _is_geometry(self, word: str) -> bool:
        if word not in _GEOMETRIES and word != "GEOMETRYCOLLECTION":
            return False
        return self._peek().word == "(" or (
            self._peek().word in {"Z", "M", "ZM"} and self._tokens[self._next + 1].word == "("
        )

    def _geometry(self, word: str) -> dict[str, Any]:
        if self._peek().word in {"Z", "M", "ZM"}:
            self._next += 1
        if word == "GEOMETRYCOLLECTION":
            return {"type": "GeometryCollection", "geometries": self._list(self._member)}
        read: Callable[[], Any] = self._position
        if word == "MULTIPOINT":
            return {"type": "MultiPoint", "coordinates": self._list(self._point)}
        for _ in range({"LINESTRING": 0, "POLYGON": 1, "MULTILINESTRING": 1, "MULTIPOLYGON": 2}.get(word, 0)):
            read = self._lists_of(read)
        found = self._list(read)
        if word == "POINT":
            (found,) = self._exactly(1, found, word)
        return {"type": _GEOMETRIES[word], "coordinates": found}

    def _member(self) -> dict[str, Any]:
        word = self._peek().word
        self._next += 1
        if not self._is_geometry(word):
            self._next -= 1
            raise self._expected("a geometry")
        return self._geometry(word)

    def _lists_of(self, read: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: self._list(read)

    def _point(self) -> list[float]:
        """MULTIPOINT takes (1 2) and 1 2."""
        if self._took("("):
            position = self._position()
            self._need(")")
            return position
        return self._position()

    def _position(self) -> list[float]:
        position = [self._coordinate()]
        while self._peek().kind == "number" or self._peek().word in {"-", "+"}:
            position.append(self._coordinate())
        return position

    def _coordinate(self) -> float:
        negative = False
        if self._peek().word in {"-", "+"}:
            negative = self._peek().word == "-"
            self._next += 1
        if self._peek().kind != "number":
            raise self._expected("a coordinate")
        number = _number(self._peek().text)
        self._next += 1
        return -number if negative else number

    # --- tokens

    def _list(self, read: Callable[[], _T]) -> list[_T]:
        self._need("(")
        members: list[_T] = []
        if self._took(")"):
            return members
        members.append(self._deeper(read))
        while self._took(","):
            members.append(self._deeper(read))
        self._need(")")
        return members

    def _deeper(self, read: Callable[[], _T]) -> _T:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels (MAX_DEPTH)")
        found = read()
        self._depth -= 1
        return found

    def _exactly(self, count: int, found: list[_T], word: str) -> list[_T]:
        if len(found) != count:
            raise ValueError(f"{word} takes {count} argument{'s' if count > 1 else ''}, {len(found)} were given")
        return found

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _took(self, word: str) -> bool:
        if self._peek().word != word:
            return False
        self._next += 1
        return True

    def _need(self, word: str) -> None:
        if not self._took(word):
            raise self._expected(word)

    def _expected(self, what: str) -> ValueError:
        token = self._peek()
        found = f"'{token.text[:40]}'" if token.text else "its end"
        return ValueError(f"{what} is expected at character {token.at + 1}, where {found} stands")


def _number(text: str) -> int | float:
    if text.isdecimal() and len(text) < 19:
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number
