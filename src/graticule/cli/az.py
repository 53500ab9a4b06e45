"""The program behind the ``az`` of `graticule env`: ``python -m graticule.cli.az DATA_DIR ARGUMENTS…``.

It answers ``az account get-access-token`` when the resource is this catalog's audience, as `AzureCliCredential` and
scripts call it. Everything else becomes the real ``az``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

from graticule.cli.shim import find_real_az

#: As long as the tokens of the real one live; clients ask again.
_TOKEN_LIFE: Final = timedelta(hours=1)


class _NotOurs(Exception):
    """The call is for the real az."""


class _Parser(argparse.ArgumentParser):
    """Knows the options of ``get-access-token``; a call that it cannot read is not ours."""

    def error(self, message: str) -> NoReturn:
        raise _NotOurs(message)


def main(arguments: Sequence[str]) -> NoReturn:
    """Answer, or become the real az."""
    data_dir, *rest = arguments
    try:
        options = _read(rest)
        text = _answer(Path(data_dir), options)
    except _NotOurs:
        _become_real_az(rest)
    print(text)
    sys.exit(0)


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    if list(arguments[:2]) != ["account", "get-access-token"]:
        raise _NotOurs
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resource")
    parser.add_argument("--scope", nargs="+", default=[])
    parser.add_argument("--tenant", "-t")
    parser.add_argument("--subscription", "--name", "-s", "-n")
    parser.add_argument("--query")
    parser.add_argument("--output", "-o", default="json", choices=("json", "jsonc", "tsv"))
    parser.add_argument("--only-show-errors", action="store_true")
    return parser.parse_args(arguments[2:])


def _answer(data_dir: Path, options: argparse.Namespace) -> str:
    from graticule.access.issuer import audience_name  # noqa: PLC0415 - calls for the real az do not wait for these
    from graticule.database import database_errors, said  # noqa: PLC0415
    from graticule.errors import GraticuleError  # noqa: PLC0415
    from graticule.settings import load_settings  # noqa: PLC0415

    try:
        audiences = {audience_name(audience) for audience in load_settings(data_dir=data_dir).audience}
        asked = {audience_name(text) for text in (options.resource, *options.scope) if text}
        if not asked or not asked <= audiences:
            raise _NotOurs
        return _format(_token(data_dir, options.tenant), options)
    except GraticuleError as exc:
        _fail(exc.message)
    except database_errors(OSError) as exc:
        _fail(f"The catalog in {data_dir} cannot be opened: {said(exc)}")


def _token(data_dir: Path, tenant: str | None) -> dict[str, Any]:
    from graticule.access import Role, open_issuer  # noqa: PLC0415
    from graticule.cli.catalog import open_catalog  # noqa: PLC0415

    with open_catalog(data_dir) as catalog:
        issuer = open_issuer(catalog.database, catalog.sealer, catalog.settings)
        issued = issuer.issue_with_expiry(Role.ADMINISTRATOR, _TOKEN_LIFE)
    local = datetime.fromtimestamp(issued.expires_at)  # noqa: DTZ006 - az prints local time without a zone here
    return {
        "accessToken": issued.token,
        "expiresOn": local.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "expires_on": issued.expires_at,
        "subscription": issuer.catalog_id,
        "tenant": tenant or issuer.catalog_id,
        "tokenType": "Bearer",
    }


def _format(answer: dict[str, Any], options: argparse.Namespace) -> str:
    if options.query is None:
        if options.output == "tsv":
            return "\t".join(str(value) for value in answer.values())
        return json.dumps(answer, indent=2)
    if options.query not in answer:
        _fail(f"--query must be one of {', '.join(answer)} for this catalog's tokens.")
    value = answer[options.query]
    return str(value) if options.output == "tsv" else json.dumps(value)


def _become_real_az(arguments: Sequence[str]) -> NoReturn:
    real = find_real_az(os.environ.get("PATH", os.defpath))
    if real is None:
        print(
            "az: this `az` comes from `graticule env` and answers only for the catalog; there is no Azure CLI further "
            "along PATH to do the rest.",
            file=sys.stderr,
        )
        sys.exit(127)
    os.execv(real, [real, *arguments])  # noqa: S606 - that is the purpose


def _fail(message: str) -> NoReturn:
    print(f"ERROR: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
