"""Where a filter finds a property, and which properties it speaks of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graticule.stac.cql2.expressions import Array, Expression, Interval, Operation, Property


def descend(properties: Mapping[str, Any], name: str) -> Any:
    """A property by its name, or by a path of names; a name may itself have dots."""
    if name in properties:
        return properties[name]
    at = name.find(".")
    while at > 0:
        inner = properties.get(name[:at])
        if isinstance(inner, Mapping):
            found = descend(inner, name[at + 1 :])
            if found is not None:
                return found
        at = name.find(".", at + 1)
    return None


def properties_of(expression: Expression) -> Iterator[Property]:
    """Every property that an expression names, also more than once."""
    if isinstance(expression, Property):
        yield expression
    elif isinstance(expression, Operation):
        for arg in expression.args:
            yield from properties_of(arg)
    elif isinstance(expression, Array):
        for member in expression.members:
            yield from properties_of(member)
    elif isinstance(expression, Interval):
        for end in (expression.start, expression.end):
            yield from properties_of(end)
