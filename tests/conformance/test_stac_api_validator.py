"""The STAC API validator of the community finds no error."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from pystac.validation.local_validator import get_local_schema_cache
from requests.adapters import HTTPAdapter
from stac_api_validator.validations import QueryConfig, validate_api

from acceptance.serving import Served

from .conftest import COLLECTION

CLASSES = [
    "core", "collections", "features", "item-search", "filter", "item-search#sort", "item-search#fields",
    "item-search#query", "features#sort", "features#fields", "features#query",
]  # fmt: skip
#: Holds a good part of the items.
GEOMETRY = {"type": "Polygon", "coordinates": [[[-175, -65], [0, -65], [0, 65], [-175, 65], [-175, -65]]]}


@pytest.fixture
def _bundled_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas of the specification come from the pystac package instead of the network."""
    send = HTTPAdapter.send
    schemas = get_local_schema_cache()

    def answer(self: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        url = str(request.url).partition("#")[0]
        if url.startswith("http://127.0.0.1:"):
            return send(self, request, *args, **kwargs)
        response = requests.Response()
        response.url, response.request = url, request
        response.status_code = 200 if url in schemas else 404
        response._content = json.dumps(schemas.get(url, {})).encode()
        return response

    monkeypatch.setattr(HTTPAdapter, "send", answer)


@pytest.mark.acceptance
@pytest.mark.usefixtures("_bundled_schemas")
@pytest.mark.filterwarnings("ignore")  # those of the validator and its libraries
def test_it_finds_no_error(served: Served) -> None:
    query = QueryConfig(
        query_comparison_field="gsd",
        query_eq_value="1.5", query_neq_value="1", query_lt_value="2", query_lte_value="1.5", query_gt_value="1",
        query_gte_value="1.5",
        query_substring_field="scene:state",
        query_starts_with_value="c", query_ends_with_value="a", query_contains_value="a",
        query_in_field="scene:state", query_in_values="c,ca",
    )  # fmt: skip
    token = served.token("reader")
    _warnings, errors = validate_api(
        f"{served.url}/stac",
        CLASSES,
        COLLECTION,
        json.dumps(GEOMETRY),
        token,
        None,
        "properties.gsd",
        True,
        query,
        None,
        {"Authorization": f"Bearer {token}"},  # for the requests that it makes through pystac
        open_assets_urls=False,
    )
    assert [str(error) for error in errors] == []
