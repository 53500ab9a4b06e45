"""Free text: words, the grammar of questions, what they say, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graticule.errors import InvalidParameter
from graticule.stac.free_text import (
    MAX_BYTES,
    MAX_WORDS,
    All,
    AnyOf,
    Not,
    Phrase,
    TextQuery,
    fields_of,
    folded,
    found_in,
    parse_q,
    words_of,
)

TEXT = folded(["Forêt tropicale: le Brésil", "Land-cover (10 m) of the quick BROWN fox", "earth observation", "Straße"])


def holds(question: object, text: str = TEXT) -> bool:
    query = parse_q(question)
    assert query is not None
    return found_in(query, text)


@pytest.mark.parametrize(
    "question",
    [
        "foret", "FORÊT", "bresil", "brown", "Earth  Observation", "land cover", "cover-10", "nothing,fox",
        ["nothing", "quick brown"], '"earth observation"', '"nothing" OR fox', "fox AND earth", "fox NOT cat",
        "NOT cat", "(cat OR fox) AND (earth AND NOT cat)", "cat OR fox AND earth", "strasse", "STRASSE", "fox,AND2 ",
        "cat, (fox AND earth)", "quick brown AND land cover", "(((fox)))", "NOT NOT fox",
    ],
)  # fmt: skip
def test_found(question: object) -> None:
    assert holds(question)


@pytest.mark.parametrize(
    "question",
    [
        "forest", "for", "brown quick", "observation straße", "fox earth", "cat,dog", ["fox, earth"], '"brown quick"',
        "fox AND cat", "NOT fox", "fox NOT earth", "(cat OR dog) AND fox", "cat OR dog AND fox", "tropicale bresil",
    ],
)  # fmt: skip
def test_not_found(question: object) -> None:
    assert not holds(question)


def test_phrases_end_with_their_field() -> None:
    assert not holds("bresil land")
    assert not holds('"fox earth"')
    assert holds("bresil AND land")


def test_precedence_is_not_and_or() -> None:
    a, b, c = (Phrase((word,)) for word in "abc")
    assert parse_q("a OR b AND NOT c") == AnyOf((a, All((b, Not(c)))))
    assert parse_q("(a OR b) AND c") == All((AnyOf((a, b)), c))
    assert parse_q("a,b") == AnyOf((a, b))
    assert parse_q(["a", "b", "a"]) == AnyOf((a, b))


@pytest.mark.parametrize("question", ["", "  ", [], ["", " "]])
def test_nothing_asked_is_no_condition(question: object) -> None:
    assert parse_q(question) is None


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("!!!", "has no word"), ("fox,!", "has no word"), (",", "has no word"), ('"', "no partner"),
        ('"fox', "no partner"), ("(fox", "not closed"), ("fox)", "not expected"), ("fox AND", "missing at the end"),
        ("AND fox", "before 'AND'"),
        ("fox OR OR cat", "before 'OR'"), ("()", "before ')'"), ('""', "has no word"), ("NOT", "missing at the end"),
        ('fox "cat"', "not expected"), (5, "give a text"), ({"a": 1}, "give a text"), (["a", 5], "give a text"),
        ("(" * 50 + "a" + ")" * 50, "nested"), ("NOT " * 50 + "a", "nested"), ("é" * MAX_BYTES, "longer than"),
        (",".join(f"w{n}" for n in range(MAX_WORDS + 1)), "too many"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(question: object, reason: str) -> None:
    with pytest.raises(InvalidParameter, match="q: ") as caught:
        parse_q(question)
    assert reason in caught.value.message
    assert caught.value.target == "q"


def test_what_is_searched() -> None:
    members = {"title": "One", "description": None, "keywords": ["a", 5, "b"], "platform": "x"}
    assert fields_of(members) == ["One", "a", "b"]
    assert fields_of({"keywords": "a"}) == []
    assert folded(["...", "\0"]) == ""


@given(st.text())
def test_folding_is_the_same_for_every_case_and_form(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == words
    assert words_of(text.upper()) == words_of(text.upper().lower())
    assert all(not set(word) & set(" \n%_\\") for word in words)


queries: st.SearchStrategy[TextQuery] = st.recursive(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=2).map(lambda words: Phrase(tuple(words))),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
    ),
    max_leaves=8,
)


def written(query: TextQuery) -> str:
    match query:
        case Phrase(words):
            return f'"{" ".join(words)}"'
        case Not(part):
            return f"NOT ({written(part)})"
        case All(parts):
            return " AND ".join(f"({written(part)})" for part in parts)
        case AnyOf(parts):
            return " OR ".join(f"({written(part)})" for part in parts)


@given(queries)
def test_a_condition_is_read_as_it_was_written(query: TextQuery) -> None:
    assert parse_q(written(query)) == query
