"""``graticule token``: a bearer token on stdout."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from graticule.cli.options import DataDir, duration


class RoleName(Enum):
    """The roles, as the command line calls them."""

    ADMINISTRATOR = "administrator"
    READER = "reader"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("token")(token)


def token(
    data_dir: DataDir = None,
    role: Annotated[RoleName, typer.Option(help="What the token allows.")] = RoleName.ADMINISTRATOR,
    expires_in: Annotated[str, typer.Option(metavar="DURATION", help="Its life: 90s, 30m, 12h, 7d.")] = "12h",
) -> None:
    """Print a bearer token for the catalog. The server may be running or not."""
    from graticule.access import Role, open_issuer  # noqa: PLC0415 - `--help` need not wait for cryptography
    from graticule.cli.catalog import open_catalog  # noqa: PLC0415

    life = duration(expires_in, "--expires-in")
    with open_catalog(data_dir) as catalog:
        issuer = open_issuer(catalog.database, catalog.sealer, catalog.settings)
        print(issuer.issue(Role[role.name], life))
