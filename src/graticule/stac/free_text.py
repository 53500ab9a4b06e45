"""Free text (the parameter ``q``): its words, its grammar, and what it says of a text.

Texts are compared as sequences of words: what stands between letters and digits does not count, nor do case and
accents. A term of several words is a phrase: the words follow each other within one field.

Basic (STAC API Free-Text Search 1.0.0-rc.1): terms separated by commas, any of which must be found. Beyond that, a text
with double quotes, parentheses or the words AND, OR and NOT in capitals is read as a condition; a comma is an OR there,
NOT binds more closely than AND, and AND more closely than OR.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from graticule.errors import InvalidParameter

#: Of all words of a question together.
MAX_WORDS: Final = 100
#: Of a question, before it is read.
MAX_BYTES: Final = 8_000
#: Of parentheses and NOT.
MAX_DEPTH: Final = 20

_WORD: Final = re.compile(r"[^\W_]+")
_TOKEN: Final = re.compile(r'\s*("[^"]*"|[(),]|[^\s"(),]+)')
_OPERATORS: Final = frozenset({"AND", "OR", "NOT"})
_FIELDS: Final = ("title", "description")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class All:
    """Every one of these holds."""

    parts: tuple[TextQuery, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these holds."""

    parts: tuple[TextQuery, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """This does not hold."""

    part: TextQuery


TextQuery = Phrase | All | AnyOf | Not


# --- texts -----------------------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """The words of a text, without case and accents."""
    if text.isascii():
        return _WORD.findall(text.lower())
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return _WORD.findall("".join(letter for letter in plain if not unicodedata.category(letter).startswith("M")))


def folded(fields: Iterable[str]) -> str:
    """Texts as one that can be searched: words between spaces, fields between line ends; '' if there is no word."""
    lines = [" ".join(words) for words in map(words_of, fields) if words]
    return "".join(f" {line} \n" for line in lines)


def fields_of(members: Mapping[str, Any]) -> list[str]:
    """The texts that are searched: ``title``, ``description``, and each of ``keywords``."""
    texts = [members.get(name) for name in _FIELDS]
    keywords = members.get("keywords")
    if isinstance(keywords, list):
        texts += keywords
    return [text for text in texts if isinstance(text, str)]


def found_in(query: TextQuery, text: str) -> bool:
    """Does the question hold for a `folded` text?"""
    match query:
        case Phrase(words):
            return needle(words) in text
        case All(parts):
            return all(found_in(part, text) for part in parts)
        case AnyOf(parts):
            return any(found_in(part, text) for part in parts)
        case Not(part):
            return not found_in(part, text)


def needle(words: Iterable[str]) -> str:
    """What a `folded` text contains if it has this phrase."""
    return f" {' '.join(words)} "


# --- questions -------------------------------------------------------------------------------------------------------


def parse_q(value: object) -> TextQuery | None:
    """The parameter ``q``: a text, or a list of terms any of which must be found; None without a term.

    Commas separate terms in a text; in a list every member is one term.

    Raises:
        InvalidParameter: it is something else, has no word, or cannot be read.
    """
    if isinstance(value, str):
        members: list[Any] = [value]
    elif isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        members = list(value)
    else:
        raise _refused("give a text, or a list of texts")
    if sum(len(one.encode("utf-8", "replace")) for one in members) > MAX_BYTES:
        raise _refused(f"it is longer than {MAX_BYTES} bytes")
    members = [one for one in members if one.strip()]
    if not members:
        return None
    found = [part for one in members for part in _read(one, commas=isinstance(value, str))]
    query = found[0] if len(found) == 1 else AnyOf(tuple(dict.fromkeys(found)))
    if sum(1 for _ in words_in(query)) > MAX_WORDS:
        raise _refused(f"more than {MAX_WORDS} words are too many")
    return query


def words_in(query: TextQuery) -> Iterator[str]:
    """Every word that a question names."""
    match query:
        case Phrase(words):
            yield from words
        case Not(part):
            yield from words_in(part)
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from words_in(part)


def _read(text: str, *, commas: bool) -> list[TextQuery]:
    """The alternatives that one text gives."""
    if any(sign in text for sign in '"()') or _OPERATORS & set(re.split(r"[\s,]+", text)):
        return [_Condition(text).read()]
    terms = text.split(",") if commas else [text]
    return [_phrase(term) for term in terms if term.strip() or not commas] or [_phrase(text)]


@lru_cache(maxsize=256)
def _phrase(text: str) -> Phrase:
    words = tuple(words_of(text))
    if not words:
        raise _refused(f"{text.strip()[:60]!r} has no word in it")
    return Phrase(words)


class _Condition:
    """Reads a condition from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise _refused(f"a quotation mark has no partner: {text[at : at + 40]!r}")
            self._tokens.append(match[1])
            at = match.end()
        self._next = 0
        self._depth = 0

    def read(self) -> TextQuery:
        query = self._alternatives()
        if self._next < len(self._tokens):
            raise _refused(f"{self._tokens[self._next][:40]!r} is not expected here")
        return query

    def _alternatives(self) -> TextQuery:
        parts = [self._together()]
        while self._peek() in {"OR", ","}:
            self._next += 1
            parts.append(self._together())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _together(self) -> TextQuery:
        parts = [self._single()]
        while self._peek() == "AND" or self._peek() == "NOT":
            self._next += self._peek() == "AND"  # "a NOT b" is said for "a AND NOT b"
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _single(self) -> TextQuery:
        token = self._peek()
        if token in {"NOT", "("}:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise _refused(f"it is nested more than {MAX_DEPTH} deep")
            self._next += 1
            if token == "NOT":  # noqa: S105 - a word of the grammar
                query: TextQuery = Not(self._single())
            else:
                query = self._alternatives()
                if self._peek() != ")":
                    raise _refused("a parenthesis is not closed")
                self._next += 1
            self._depth -= 1
            return query
        if token is None or token in {"AND", "OR", ",", ")"}:
            raise _refused(f"a word is missing {'at the end' if token is None else f'before {token!r}'}")
        if token.startswith('"'):
            self._next += 1
            return _phrase(token)
        first = self._next
        while (token := self._peek()) is not None and token not in {*_OPERATORS, ",", "(", ")"} and token[0] != '"':
            self._next += 1
        return _phrase(" ".join(self._tokens[first : self._next]))

    def _peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None


def _refused(reason: str) -> InvalidParameter:
    return InvalidParameter(
        f"q: {reason}: give words separated by commas, or words in double quotes joined by AND, OR and NOT.", target="q"
    )
