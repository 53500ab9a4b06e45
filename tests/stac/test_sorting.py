"""The order that a search asks for."""

from __future__ import annotations

import pytest

from graticule.errors import InvalidParameter
from graticule.stac.sorting import MAX_SORT_KEYS, SortKey, parse_sortby

CLOUD = ("properties", "eo:cloud_cover")


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("", []),
        ([], []),
        ("eo:cloud_cover", [SortKey(CLOUD, descending=False)]),
        ("+properties.eo:cloud_cover", [SortKey(CLOUD, descending=False)]),
        (" properties.eo:cloud_cover", [SortKey(CLOUD, descending=False)]),
        ("-eo:cloud_cover,id", [SortKey(CLOUD, descending=True), SortKey(("id",), descending=False)]),
        ("id,-id,+id", [SortKey(("id",), descending=False)]),
        ("-properties.id", [SortKey(("properties", "id"), descending=True)]),
        ("a.b.c", [SortKey(("properties", "a", "b", "c"), descending=False)]),
        ([{"field": "collection", "direction": "desc"}], [SortKey(("collection",), descending=True)]),
        ([{"field": "datetime"}], [SortKey(("properties", "datetime"), descending=False)]),
    ],
)
def test_both_forms_are_read(value: object, keys: list[SortKey]) -> None:
    assert parse_sortby(value) == tuple(keys)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5, "give names"),
        ({"field": "id", "direction": "asc"}, "give names"),
        (["id"], "each entry"),
        ([{"field": "id", "direction": "up"}], "'up' must be asc or desc"),
        ([{"field": "id", "direction": None}], "must be asc or desc"),
        ([{"direction": "asc"}], "a field is missing"),
        ([{"field": 7, "direction": "asc"}], "a field is missing"),
        ([{"field": "", "direction": "asc"}], "'' is not the name"),
        ("-", "not the name"),
        ("a..b", "not the name"),
        ('a"b', "not the name"),
        ("a\\b", "not the name"),
        ("a\0b", "not the name"),
        ("geometry", "no order by 'geometry'"),
        ("-assets.image.href", "no order"),
        ("properties", "no order"),
        (",".join(f"p{n}" for n in range(MAX_SORT_KEYS + 1)), "too many"),
    ],
)
def test_everything_else_is_refused(value: object, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^sortby: .*{reason}") as refused:
        parse_sortby(value)
    assert refused.value.target == "sortby"
