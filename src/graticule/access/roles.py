"""Who asks, and what their roles allow: the one decision that every route calls."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from graticule.errors import Forbidden


class Role(Enum):
    """The two roles of a GeoCatalog; the value is the name that a token carries."""

    ADMINISTRATOR = "GeoCatalog Administrator"
    READER = "GeoCatalog Reader"

    @property
    def implied(self) -> frozenset[Role]:
        """The roles that holding this one amounts to."""
        return frozenset(Role) if self is Role.ADMINISTRATOR else frozenset({self})


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    #: The caller's stable id at its issuer.
    subject: str
    #: The roles that the token names; `require` knows what they imply.
    roles: frozenset[Role]
    #: The ``iss`` claim of the token.
    issuer: str

    def has(self, role: Role) -> bool:
        """Whether one of the roles is or implies this one."""
        return any(role in held.implied for held in self.roles)


def require(principal: Principal, role: Role) -> None:
    """Let a principal pass that has a role.

    Raises:
        Forbidden: it has not.
    """
    if not principal.has(role):
        raise Forbidden(f"This needs the role {role.value}, which the token does not carry.")


def role_named(text: str) -> Role | None:
    """The role of a full name, whatever its case; None for any other text."""
    folded = text.strip().casefold()
    return next((role for role in Role if role.value.casefold() == folded), None)


def role_nicknamed(text: str) -> Role | None:
    """The role behind ``administrator`` or ``reader``: names that only this catalog's own issuer and settings use."""
    return Role.__members__.get(text.strip().upper())
