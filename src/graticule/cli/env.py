"""``graticule env``: the exports with which unmodified Azure scripts find this catalog and log in to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graticule.cli.address import read_address
from graticule.cli.options import DataDir
from graticule.cli.shim import write_shim

if TYPE_CHECKING:
    from graticule.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("env")(env)


def env(
    data_dir: DataDir = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="Print the settings in force instead, secrets masked.")
    ] = False,
) -> None:
    """Print exports for a shell: eval "$(graticule env)"."""
    if settings:
        from graticule.settings import load_settings  # noqa: PLC0415 - `--help` need not wait for pydantic

        print("\n".join(settings_lines(load_settings(data_dir=data_dir))))
        return
    for name, value in _exports(data_dir).items():
        print(f"export {name}={_quoted(value)}")
    print(_path_export(data_dir))


def settings_lines(settings: Settings) -> list[str]:
    """The settings in force, a ``NAME=value`` each as the environment would have it; secrets are masked."""
    return [
        f"GRATICULE_{name.upper()}={_as_variable(value)}"
        for name, value in settings.effective().items()
        if value is not None
    ]


def _as_variable(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(entry) for entry in value)
    return json.dumps(value) if isinstance(value, dict | bool) else str(value)


def _exports(data_dir: Path | None) -> dict[str, str]:
    from graticule.access import open_issuer, open_managed_identity, tls_files  # noqa: PLC0415
    from graticule.cli.catalog import open_catalog  # noqa: PLC0415

    with open_catalog(data_dir) as catalog:
        folder = catalog.settings.data_dir
        issuer = open_issuer(catalog.database, catalog.sealer, catalog.settings)
        identity = open_managed_identity(catalog.database, catalog.sealer, catalog.settings, issuer)
    url = read_address(folder)
    exports = {
        "GRATICULE_URL": url,
        "GRATICULE_DATA_DIR": str(folder),
        "IDENTITY_ENDPOINT": f"{url}/identity/token",
        "IDENTITY_HEADER": identity.header,
    }
    files = tls_files(folder)
    if files.bundle.exists():
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):  # requests; curl and GDAL; OpenSSL
            exports[name] = str(files.bundle)
        exports["NODE_EXTRA_CA_CERTS"] = str(files.authority)
    return exports


def _path_export(data_dir: Path | None) -> str:
    from graticule.settings import load_settings  # noqa: PLC0415

    folder = load_settings(data_dir=data_dir).data_dir
    bin_dir = write_shim(folder / "bin", folder).parent
    if os.environ.get("PATH", "").split(os.pathsep)[0] == str(bin_dir):
        return 'export PATH="$PATH"'  # already first: a second eval does not make it longer
    return f'export PATH={_quoted(str(bin_dir))}:"$PATH"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
