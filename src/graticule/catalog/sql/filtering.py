"""A filter as SQL conditions on the columns of an item, as far as that says exactly the same.

SQL and CQL2 have the same three-valued logic, so AND, OR and NOT carry over. What has no column is left to be checked
on the documents: opening a document costs the same there, and its meaning then has one implementation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graticule.catalog.narrowing import DATETIME, literal_span, property_first
from graticule.stac.cql2.evaluation import Filter
from graticule.stac.cql2.expressions import Array, Expression, Literal, Operation, Property, Span
from graticule.stac.cql2.operators import COMPARISONS

_ID: Final = Property("id", of_item=True)
_COLLECTION: Final = Property("collection", of_item=True)
_CLOUD: Final = Property("eo:cloud_cover")
_PLATFORM: Final = Property("platform")
#: Floating-point columns compare exactly with smaller numbers.
_EXACT: Final = 1 << 53
#: A longer list is looked through on the documents: statements have a largest number of values.
_MOST_MEMBERS: Final = 500

#: `evaluation.RELATIONS` over columns; {s} and {e} are the ends of the other interval.
_RELATIONS: Final = {
    "t_after": "i.t > {e}",
    "t_before": "i.te < {s}",
    "t_contains": "(i.t < {s} AND i.te > {e})",
    "t_disjoint": "(i.t > {e} OR i.te < {s})",
    "t_during": "(i.t > {s} AND i.te < {e})",
    "t_equals": "(i.t = {s} AND i.te = {e})",
    "t_finishedBy": "(i.t < {s} AND i.te = {e})",
    "t_finishes": "(i.t > {s} AND i.te = {e})",
    "t_intersects": "(i.t <= {e} AND i.te >= {s})",
    "t_meets": "i.te = {s}",
    "t_metBy": "i.t = {e}",
    "t_overlappedBy": "(i.t > {s} AND i.t < {e} AND i.te > {e})",
    "t_overlaps": "(i.t < {s} AND i.te > {s} AND i.te < {e})",
    "t_startedBy": "(i.t = {s} AND i.te > {e})",
    "t_starts": "(i.t = {s} AND i.te < {e})",
}
_TIME_COMPARISONS: Final = {
    "=": "(i.t >= {s} AND i.t <= {e})",
    "<>": "(i.t < {s} OR i.t > {e})",
    "<": "i.t < {s}",
    "<=": "i.t <= {e}",
    ">": "i.t > {e}",
    ">=": "i.t >= {s}",
}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What candidates must meet beside the bounds of their question."""

    #: Conditions on ``i``, each beginning with AND; or ''.
    where: str
    values: Mapping[str, Any]
    #: What only the documents tell.
    residual: Filter | None


def compile_filter(parts: Sequence[Expression], collections: Mapping[str, int]) -> Conditions:
    """Conditions for parts that must all hold; `collections` are the numbers of their ids."""
    compiler = _Compiler(collections)
    where, left = "", []
    for part in parts:
        condition = compiler.condition(part)
        if condition is None:
            left.append(part)
        else:
            where += f" AND {condition}"
    residual = Filter(left[0] if len(left) == 1 else Operation("and", tuple(left))) if left else None
    return Conditions(where, compiler.values, residual)


class _Compiler:
    """Writes conditions and binds every literal."""

    def __init__(self, collections: Mapping[str, int]) -> None:
        self._collections = collections
        self.values: dict[str, Any] = {}

    def condition(self, node: Expression) -> str | None:
        """Exactly this condition, or None."""
        if isinstance(node, Literal):
            return "(1 = 1)" if node.value is True else "(1 = 0)"
        if not isinstance(node, Operation):
            return None
        if node.op in {"and", "or"}:
            parts = [self.condition(arg) for arg in node.args]
            written = [part for part in parts if part is not None]
            return None if len(written) < len(parts) else f"({f' {node.op.upper()} '.join(written)})"
        if node.op == "not":
            inner = self.condition(node.args[0])
            return None if inner is None else f"(NOT {inner})"
        return self._predicate(property_first(node))

    def _predicate(self, node: Operation) -> str | None:
        subject, *others = node.args
        if subject == DATETIME:
            return self._time(node.op, others)
        if node.op == "in":
            members = others[0].members if isinstance(others[0], Array) else ()
            parts = [self._comparison("=", subject, member) for member in members]
            written = [part for part in parts if part is not None]
            return f"({' OR '.join(written)})" if written and len(written) == len(parts) <= _MOST_MEMBERS else None
        if node.op == "between":
            low, high = self._comparison(">=", subject, others[0]), self._comparison("<=", subject, others[1])
            return None if low is None or high is None else f"({low} AND {high})"
        return self._comparison(node.op, subject, others[0]) if node.op in COMPARISONS else None

    def _time(self, op: str, others: Sequence[Expression]) -> str | None:
        spans = [literal_span(other) for other in others]
        if op == "between" and isinstance(others[0], Span) and isinstance(others[1], Span):
            return f"(i.t >= {self._bind(others[0].start)} AND i.t <= {self._bind(others[1].end)})"
        text = _RELATIONS.get(op) or _TIME_COMPARISONS.get(op)
        if text is None or len(spans) != 1 or spans[0] is None:
            return None
        start = self._bind(spans[0].start) if "{s}" in text else ""
        return text.format(s=start, e=self._bind(spans[0].end) if "{e}" in text else "")

    def _comparison(self, op: str, subject: Expression, value: Expression) -> str | None:
        if not isinstance(value, Literal) or isinstance(value.value, bool):
            return None
        if isinstance(value.value, str):
            if subject == _COLLECTION and op in {"=", "<>"}:
                return f"i.coll {op} {self._bind(self._collections.get(value.value, -1))}"
            if subject == _ID or (subject == _PLATFORM and op in {"=", "<>"}):
                return f"{'i.id' if subject == _ID else 'i.platform'} {op} {self._bind(value.value)}"
        elif subject == _CLOUD and abs(value.value) < _EXACT:
            return f"i.cloud {op} {self._bind(value.value)}"
        return None

    def _bind(self, value: str | float) -> str:
        name = f"f{len(self.values)}"
        self.values[name] = value
        return f":{name}"
