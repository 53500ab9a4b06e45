"""Conditions on the values of declared queryables, in the terms of their index (see `graticule.catalog.values`).

Each is a scalar subquery that finds the item's row of the kind that fits the operand, or none. Then it is null, and
null is what `stac.cql2.evaluation` says of operands that do not fit each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from graticule.catalog.narrowing import literal_span, property_first
from graticule.catalog.sql.queryables import Indexed
from graticule.catalog.values import BOOLEAN, DAY, DAY_LENGTH, INSTANT, MISSING, NUMBER, TEXT
from graticule.stac.cql2.expressions import END, TIMES, Array, Expression, Literal, Operation, Property, Span
from graticule.stac.cql2.operators import COMPARISONS

#: Doubles compare exactly with smaller numbers; of times, also when a day is added to them.
_EXACT: Final = 1 << 53
_EXACT_TIME: Final = 1 << 52
#: A longer list is looked through on the documents: statements have a largest number of values.
_MOST_MEMBERS: Final = 500

#: With a time in s..e, where the item's ends are {begin} and {end}: `evaluation.RELATIONS`, and comparisons as there.
_TIMES: Final = {
    "=": "({begin} <= {e} AND {end} >= {s})",
    "<>": "({begin} > {e} OR {end} < {s})",
    "<": "{end} < {s}",
    "<=": "{begin} <= {e}",
    ">": "{begin} > {e}",
    ">=": "{end} >= {s}",
    "t_after": "{begin} > {e}",
    "t_before": "{end} < {s}",
    "t_disjoint": "({begin} > {e} OR {end} < {s})",
    "t_during": "({begin} > {s} AND {end} < {e})",
    "t_equals": "({begin} = {s} AND {end} = {e})",
    "t_intersects": "({begin} <= {e} AND {end} >= {s})",
}
#: Those that are one range of the index.
_RANGES: Final = frozenset(_TIMES) - {"<>", "t_disjoint"}


@dataclass(frozen=True, slots=True)
class Lead:
    """Rows of the index that are one condition: each a condition on ``v`` that begins with AND."""

    ranges: tuple[str, ...]
    #: One range, of one value: its rows are in the order of time.
    of_one_value: bool = False


@dataclass(frozen=True, slots=True)
class _Range:
    """Of one kind of values, which is all that the operand compares with."""

    kind: int
    #: On ``v``.
    condition: str


class ValueConditions:
    """Writes them for the names that are indexed."""

    def __init__(self, indexed: Mapping[str, Indexed], bind: Callable[[str | float], str]) -> None:
        """`bind` takes a value and answers its name in the statement."""
        self._indexed = indexed
        self._bind = bind
        #: The names of the conditions written so far; the caller clears it.
        self.used: list[Indexed] = []

    def __contains__(self, subject: Property) -> bool:
        """Has this property an index in some collection?"""
        return not subject.of_item and subject.name in self._indexed

    def condition(self, node: Operation) -> str | None:
        """Exactly this condition, its property on the left; or None."""
        subject, *others = node.args
        assert isinstance(subject, Property)
        self.used.append(self._indexed[subject.name])
        if node.op == "isNull":
            return f"(NOT EXISTS (SELECT 1 FROM {self._rows(subject)} AND v.kind <> {MISSING}))"
        if node.op == "between":
            return self._all_of(subject, ((">=", others[0]), ("<=", others[1])), "AND")
        if node.op == "in":
            members = others[0].members if isinstance(others[0], Array) else ()
            alike = self._members(subject, members)
            if alike is not None:
                return self._one(subject, [alike])
            return self._all_of(subject, [("=", member) for member in members], "OR")
        ranges = self._ranges(subject, node.op, others[0])
        return None if ranges is None else self._one(subject, ranges)

    def lead(self, part: Expression) -> Lead | None:
        """The same as ranges of the index, where it is that."""
        if not isinstance(part, Operation):
            return None
        part = property_first(part)
        subject, *others = part.args
        if not isinstance(subject, Property) or subject not in self:
            return None
        ranges: Sequence[_Range] | None = None
        if part.op == "between":
            both = [self._ranges(subject, op, one) for op, one in zip((">=", "<="), others, strict=True)]
            if both[0] is not None and both[1] is not None:
                pairs = zip(both[0], both[1], strict=False)
                ranges = [_Range(a.kind, f"{a.condition} AND {b.condition}") for a, b in pairs if a.kind == b.kind]
        elif part.op == "in":
            alike = self._members(subject, others[0].members if isinstance(others[0], Array) else ())
            ranges = None if alike is None else [alike]
        elif part.op in _RANGES or part.op == "like":
            ranges = self._ranges(subject, part.op, others[0])
        if not ranges:
            return None
        number = self._indexed[subject.name].number
        # Texts have 0 as their number, which comes before them in the key; and other values the empty text behind.
        rest = {TEXT: "AND v.value = 0 "}
        of_one_value = part.op == "=" and len(ranges) == 1
        if of_one_value:
            rest |= dict.fromkeys((NUMBER, BOOLEAN), "AND v.text = '' ")
        texts = (f"v.number = {number} AND v.kind = {r.kind} {rest.get(r.kind, '')}AND {r.condition}" for r in ranges)
        return Lead(tuple(f"AND {text}" for text in texts), of_one_value)

    # --- inside

    def _rows(self, subject: Property) -> str:
        return f"item_values v WHERE v.pk = i.pk AND v.number = {self._indexed[subject.name].number}"

    def _one(self, subject: Property, ranges: Sequence[_Range]) -> str:
        """Of the kinds an item has one at most: what that says, or null."""
        rows = self._rows(subject)
        if len(ranges) == 1:
            return f"(SELECT {ranges[0].condition} FROM {rows} AND v.kind = {ranges[0].kind})"
        cases = " ".join(f"WHEN {one.kind} THEN {one.condition}" for one in ranges)
        kinds = ", ".join(str(one.kind) for one in ranges)
        return f"(SELECT CASE v.kind {cases} END FROM {rows} AND v.kind IN ({kinds}))"

    def _all_of(self, subject: Property, operands: Sequence[tuple[str, Expression]], joined: str) -> str | None:
        written = []
        for op, operand in operands:
            ranges = self._ranges(subject, op, operand)
            if ranges is None:
                return None
            written.append(self._one(subject, ranges))
        return f"({f' {joined} '.join(written)})" if 0 < len(written) <= _MOST_MEMBERS else None

    def _members(self, subject: Property, members: Sequence[Expression]) -> _Range | None:
        """A list that all compares with one kind."""
        if not 0 < len(members) <= _MOST_MEMBERS:
            return None
        found = [self._ranges(subject, "=", member) for member in members]
        kinds = {one.kind for ranges in found if ranges is not None for one in ranges}
        if None in found or len(kinds) != 1 or not kinds <= {NUMBER, TEXT}:
            return None
        column = "v.value" if kinds == {NUMBER} else "v.text"
        binds = [one.condition.rsplit(" ", 1)[1] for ranges in found if ranges is not None for one in ranges]
        return _Range(kinds.pop(), f"{column} IN ({', '.join(binds)})")

    def _ranges(  # noqa: PLR0911 - one answer per type
        self, subject: Property, op: str, operand: Expression
    ) -> list[_Range] | None:
        """What the operand compares with, by kind; None where the index does not tell exactly."""
        span = literal_span(operand)
        if span is not None:
            return self._times(op, span) if op in _TIMES else None
        if not isinstance(operand, Literal):
            return None
        value = operand.value
        if isinstance(value, str) and "\0" in value:  # PostgreSQL keeps another character in its place
            return None
        if op == "like":
            return self._like(value) if isinstance(value, str) else None
        if op not in COMPARISONS:
            return None
        if isinstance(value, bool):
            return [_Range(BOOLEAN, f"v.value {op} {self._bind(float(value))}")] if op in {"=", "<>"} else None
        if isinstance(value, str):
            # Of these names texts are times, and compare as such with texts that are.
            return [_Range(TEXT, f"v.text {op} {self._bind(value)}")] if subject.name not in TIMES else None
        return [_Range(NUMBER, f"v.value {op} {self._bind(value)}")] if abs(value) < _EXACT else None

    def _times(self, op: str, span: Span) -> list[_Range] | None:
        if any(_EXACT_TIME <= abs(end) < END for end in (span.start, span.end)):
            return None
        return [
            _Range(kind, self._time(_TIMES[op], span, length)) for kind, length in ((INSTANT, 0), (DAY, DAY_LENGTH))
        ]

    def _time(self, template: str, span: Span, length: int) -> str:
        """The end of a row of this length compares with a time as its beginning does with one that is earlier."""
        for side, moment in (("s", span.start), ("e", span.end)):
            for sign in ("<=", ">=", "<", ">", "="):
                before = f"{{end}} {sign} {{{side}}}"
                if before in template:
                    template = template.replace(before, f"v.value {sign} {self._bind(moment - length)}")
            if f"{{{side}}}" in template:
                template = template.replace(f"{{{side}}}", self._bind(moment))
        return template.replace("{begin}", "v.value")

    def _like(self, pattern: str) -> list[_Range] | None:
        """A pattern that is a text, or the beginning of one."""
        prefix, open_ended = _prefix(pattern)
        if prefix is None:
            return None
        if not open_ended:
            return [_Range(TEXT, f"v.text = {self._bind(prefix)}")]
        condition = f"v.text >= {self._bind(prefix)}"
        above = _above(prefix)
        if above is not None:
            condition += f" AND v.text < {self._bind(above)}"
        return [_Range(TEXT, f"({condition})")]


def _prefix(pattern: str) -> tuple[str | None, bool]:
    """The text of a pattern without wildcards but a last %, and whether it has that; None of any other."""
    text, escaped = "", False
    for place, letter in enumerate(pattern):
        if escaped or letter not in "%_\\":
            text, escaped = text + letter, False
        elif letter == "\\":
            escaped = True
        elif letter == "%" and place == len(pattern) - 1:
            return text, True
        else:
            return None, False
    return text, False


def _above(prefix: str) -> str | None:
    """The least text above all that begin with this, by code points; None: there is none."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if 0xD800 <= code <= 0xDFFF:  # no characters
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[:-1] + chr(code)
        prefix = prefix[:-1]
    return None
