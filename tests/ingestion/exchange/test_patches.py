"""The patches of tables: what they make of one document is the other."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graticule.ingestion.exchange.patches import difference, patched, same

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "ä"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "~/", ""]), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "c/d", "~0"]), VALUES)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OBJECTS, OBJECTS)
def test_a_patched_document_is_the_other_one(before: dict[str, Any], after: dict[str, Any]) -> None:
    operations = difference(before, after)
    assert same(patched(orjson.loads(orjson.dumps(before)), operations), after)
    assert (operations == []) == same(before, after)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (None, False), ([], {}), ("", None), ([1], [1, 2])])
def test_values_of_another_type_are_not_the_same(one: Any, other: Any) -> None:
    assert not same({"x": one}, {"x": other})
    assert difference({"x": one}, {"x": other}) == [{"op": "replace", "path": "/x", "value": other}]


def test_the_operations_are_those_of_json_patch() -> None:
    before = {"a": 1, "b/c": {"d": [{"e": 1}, {"f": 2}]}, "gone": 0}
    after = {"a": 1, "b/c": {"d": [{"e": 1}, {"f": 3}]}, "new~": None}
    assert difference(before, after) == [
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/b~1c/d/1/f", "value": 3},
        {"op": "add", "path": "/new~0", "value": None},
    ]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/list/7", "value": 1},
        {"op": "move", "path": "/a", "from": "/b"},
        {"op": "add", "path": "/list/0", "value": 1},
        {"path": "/a"},
        "text",
    ],
    ids=str,
)
def test_a_patch_that_does_not_fit_is_refused(operation: Any) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        patched({"a": 1, "list": []}, [operation])
