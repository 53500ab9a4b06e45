"""A whole catalog behind its application, and callers of both roles."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from api.asgi import Client
from graticule.access import Role
from graticule.app import create_app
from graticule.sealing import prepare_data_dir
from graticule.services import Services, open_services
from graticule.settings import Settings, load_settings

COLLECTION: dict[str, Any] = {
    "type": "Collection",
    "stac_version": "1.0.0",
    "id": "naip",
    "description": "National Agriculture Imagery Program",
    "license": "proprietary",
    "extent": {"spatial": {"bbox": [[-125, 24, -66, 50]]}, "temporal": {"interval": [["2010-01-01T00:00:00Z", None]]}},
    "links": [{"rel": "license", "href": "https://example.com/license"}],
}


@pytest.fixture(scope="session")
def prepared_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With schema and keys, which take a while to make."""
    settings = load_settings(data_dir=tmp_path_factory.mktemp("prepared"))
    prepare_data_dir(settings.data_dir)

    async def open_once() -> None:
        async with open_services(settings):
            pass

    asyncio.run(open_once())
    return settings.data_dir


@pytest.fixture
def settings(tmp_path: Path, prepared_data_dir: Path) -> Settings:
    settings = load_settings(data_dir=tmp_path / "catalog", max_body_bytes=3_000_000)
    shutil.copytree(prepared_data_dir, settings.data_dir)
    return settings


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    async with open_services(settings) as services:
        yield services


@pytest.fixture
def app(services: Services) -> ASGIApp:
    return create_app(services)


@pytest.fixture
async def admin(app: ASGIApp, services: Services) -> Client:
    """An administrator, and a collection ``naip``."""
    client = Client(app, services.issuer.issue(Role.ADMINISTRATOR, timedelta(hours=1)))
    assert (await client.post("/stac/collections", COLLECTION)).status == 202
    return client


@pytest.fixture
def reader(app: ASGIApp, services: Services) -> Client:
    return Client(app, services.issuer.issue(Role.READER, timedelta(hours=1)))


@pytest.fixture
def stranger(app: ASGIApp) -> Client:
    return Client(app)
