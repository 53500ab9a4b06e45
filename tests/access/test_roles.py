from __future__ import annotations

import pytest

from graticule.access import Principal, Role, require
from graticule.access.roles import role_named
from graticule.errors import Forbidden


def principal(*roles: Role) -> Principal:
    return Principal("someone", frozenset(roles), "urn:test")


def test_an_administrator_may_read() -> None:
    require(principal(Role.ADMINISTRATOR), Role.READER)


def test_a_reader_may_read() -> None:
    require(principal(Role.READER), Role.READER)


@pytest.mark.parametrize("roles", [(), (Role.READER,)])
def test_nobody_else_may_administrate(roles: tuple[Role, ...]) -> None:
    with pytest.raises(Forbidden, match="GeoCatalog Administrator"):
        require(principal(*roles), Role.ADMINISTRATOR)


def test_a_principal_without_roles_may_not_read() -> None:
    with pytest.raises(Forbidden):
        require(principal(), Role.READER)


@pytest.mark.parametrize("text", ["GeoCatalog Reader", "geocatalog reader", " GEOCATALOG READER "])
def test_role_names_ignore_case(text: str) -> None:
    assert role_named(text) is Role.READER


@pytest.mark.parametrize("text", ["reader", "Owner", "", "GeoCatalog Readers"])
def test_other_names_are_no_roles(text: str) -> None:
    assert role_named(text) is None
