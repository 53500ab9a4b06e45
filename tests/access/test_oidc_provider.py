"""Against a real OpenID Connect provider: npm's oidc-provider, installed once into the user's cache folder.

It runs in a temporary folder, and not as root. ``make test`` sees to it that there is a Node.js (tests/servers.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import platformdirs
import pytest
import requests

from graticule.access import Issuer, Role, open_identity
from graticule.errors import Unauthorized
from graticule.settings import AUDIENCE

if TYPE_CHECKING:
    from access.conftest import MakeSettings

SOURCE = Path(__file__).parent / "oidc_provider"
SECRET = "only used on the loopback"
ROLES = '{"admin": ["GeoCatalog Administrator"], "viewer": ["GeoCatalog Reader", "Other"], "stranger": []}'


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(f"THE REAL OIDC PROVIDER IS NOT TESTED: {reason}")


def node() -> str | None:
    return shutil.which(os.environ.get("GRATICULE_TEST_NODE", "node"))


def installed() -> Path:
    """The folder with the provider and its dependencies, made on first use."""
    if node() is None or shutil.which("npm") is None:
        unavailable("node and npm are needed: run `make test`, or name a node with GRATICULE_TEST_NODE")
    content = b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir()) if path.is_file())
    cache = platformdirs.user_cache_path("graticule-tests")
    folder = cache / f"oidc-provider-{hashlib.sha256(content).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        work = Path(temporary) / "work"
        shutil.copytree(SOURCE, work)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        npm = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300, check=False)
        if npm.returncode != 0:
            unavailable(f"npm ci failed: {npm.stderr.strip()[-300:]}")
        if not folder.exists():  # another run may have been quicker
            work.rename(folder)
    return folder


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) / "provider"
        shutil.copytree(installed(), work)
        yield from run_provider(work)


def run_provider(folder: Path) -> Iterator[str]:
    program = str(node())
    unprivileged: dict[str, Any] = {}
    if os.geteuid() == 0:
        # The interpreter goes along: where it lies, another user may have no way in.
        program = shutil.copy(program, str(folder))
        folder.parent.chmod(0o755)
        unprivileged = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    environment = {
        "PATH": os.environ["PATH"],
        "NODE_ENV": "production",
        "TEST_AUDIENCE": AUDIENCE,
        "TEST_ROLES": ROLES,
        "TEST_CLIENT_SECRET": SECRET,
    }
    command = [program, "provider.js"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        **unprivileged,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:"), "the provider did not start"
        yield line
        process.terminate()


def token_for(provider: str, client: str, resource: str = AUDIENCE) -> str:
    answer = requests.post(
        f"{provider}/token",
        data={"grant_type": "client_credentials", "resource": resource, "scope": "catalog"},
        auth=(client, SECRET),
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


@pytest.mark.parametrize(
    ("client", "roles"), [("admin", {Role.ADMINISTRATOR}), ("viewer", {Role.READER}), ("stranger", set())]
)
async def test_its_access_tokens_name_subject_and_roles(
    provider: str, issuer: Issuer, make_settings: MakeSettings, client: str, roles: set[Role]
) -> None:
    identity = open_identity(issuer, make_settings(oidc_issuer=provider))
    principal = await identity.authenticate(token_for(provider, client))

    assert principal.subject == client
    assert principal.roles == roles
    assert principal.issuer == provider


async def test_its_tokens_for_other_resources_are_refused(
    provider: str, issuer: Issuer, make_settings: MakeSettings
) -> None:
    identity = open_identity(issuer, make_settings(oidc_issuer=provider, audience=("https://other.example",)))
    with pytest.raises(Unauthorized, match="audience"):
        await identity.authenticate(token_for(provider, "admin"))


async def test_its_opaque_tokens_are_refused(provider: str, issuer: Issuer, make_settings: MakeSettings) -> None:
    identity = open_identity(issuer, make_settings(oidc_issuer=provider))
    with pytest.raises(Unauthorized):
        await identity.authenticate(token_for(provider, "admin", "https://opaque.example"))


async def test_it_is_not_trusted_unless_the_settings_say_so(
    provider: str, issuer: Issuer, make_settings: MakeSettings
) -> None:
    with pytest.raises(Unauthorized, match="does not trust"):
        await open_identity(issuer, make_settings()).authenticate(token_for(provider, "admin"))
