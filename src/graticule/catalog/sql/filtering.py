"""A filter as SQL conditions on the columns of an item, as far as that says exactly the same.

SQL and CQL2 have the same three-valued logic, so AND, OR and NOT carry over. Properties without a column that are
declared as queryables are found in the index of their values (see `graticule.catalog.sql.conditions`). What has
neither is left to be checked on the documents: opening a document costs the same there, and its meaning then has one
implementation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graticule.catalog.narrowing import DATETIME, literal_span, property_first
from graticule.catalog.sql.conditions import Lead, ValueConditions
from graticule.catalog.sql.queryables import Indexed
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
class Check:
    """A condition on the values of queryables, which costs a look into their index per row."""

    #: Beginning with AND.
    sql: str
    #: Index rows that say the same as the whole part, where there is such a range of them.
    lead: Lead | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What candidates must meet beside the bounds of their question."""

    #: Conditions on ``i``, each beginning with AND; or ''.
    where: str
    values: Mapping[str, Any]
    #: What only the documents tell.
    residual: Filter | None
    checks: tuple[Check, ...] = ()
    #: The range of a queryable's index that candidates come from, in the order of time; or ''.
    of_one_value: str = ""

    @property
    def holding(self) -> str:
        """All checks in one."""
        return "".join(check.sql for check in self.checks)


def compile_filter(
    parts: Sequence[Expression],
    collections: Mapping[str, int],
    indexed: Mapping[str, Indexed] | None = None,
    searched: Collection[int] = (),
) -> Conditions:
    """Conditions for parts that must all hold.

    `collections` are the numbers of their ids; `indexed` the names whose values are known, and `searched` the
    collections that the search is about.
    """
    compiler = _Compiler(collections, indexed or {})
    where, left, checks = "", [], []
    for part in parts:
        compiler.values_of.used.clear()
        condition = compiler.condition(part)
        if condition is None:
            left.append(part)
            continue
        used = [one.colls for one in compiler.values_of.used]
        if not used:
            where += f" AND {condition}"
            continue
        covered = frozenset.intersection(*used)
        if covered.issuperset(searched):
            checks.append(Check(f" AND {condition}", compiler.values_of.lead(part)))
            continue
        left.append(part)  # collections without the index are told by their documents
        if covered:
            numbers = ", ".join(map(str, sorted(covered)))
            checks.append(Check(f" AND (i.coll NOT IN ({numbers}) OR {condition})", None))
    residual = Filter(left[0] if len(left) == 1 else Operation("and", tuple(left))) if left else None
    return Conditions(where, compiler.values, residual, tuple(checks))


class _Compiler:
    """Writes conditions and binds every literal."""

    def __init__(self, collections: Mapping[str, int], indexed: Mapping[str, Indexed]) -> None:
        self._collections = collections
        self.values: dict[str, Any] = {}
        self.values_of = ValueConditions(indexed, self._bind)

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
        if isinstance(subject, Property) and subject in self.values_of:
            return self.values_of.condition(node)
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
