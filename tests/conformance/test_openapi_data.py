"""The same as `test_openapi` for the tiler: requests made up from the document, about items that are there and not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks
from schemathesis.core.result import Ok

from tiler.served import COLLECTION, Tiled, bounds_of, tiled

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = 3


@pytest.fixture(scope="module")
def catalog(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiled]:
    items = {"scene": {"image": test_data / "raster" / "mosaic4" / "rgb1.tif"}}
    limits = {"GRATICULE_RENDER_MAX_PIXELS": "100000", "GRATICULE_RENDER_PROCESSES": "2"}
    with tiled(tmp_path_factory.mktemp("openapi"), items, **limits) as running:
        assert running.get("scene", "preview", assets="image", max_size=64).status_code == 200
        yield running


@pytest.mark.acceptance
@pytest.mark.filterwarnings("ignore")  # those of schemathesis and its libraries
def test_made_up_requests_are_answered_as_described(catalog: Tiled) -> None:
    schema = schemathesis.openapi.from_url(f"{catalog.served.url}/openapi.json")
    known = _known(catalog)
    answered: Counter[int] = Counter()
    walked = []
    with catalog.served.client("reader") as client:
        for result in schema.include(path_regex="^/data").get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            walked.append(operation.label)
            for mode in GenerationMode:
                _exercise(operation, mode, client, known, answered)
    assert len(walked) >= 90
    assert answered[200] > 50, "most were refused: that tests little"
    assert answered[400] > 50
    assert catalog.served.is_healthy()
    assert "Traceback" not in catalog.served.log_text()


@pytest.mark.acceptance
def test_no_parameter_is_told_twice(catalog: Tiled) -> None:
    document = catalog.client.get(f"{catalog.served.url}/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            told = [(parameter["in"], parameter["name"]) for parameter in operation["parameters"]]
            assert len(told) == len(set(told)), f"{method} {path}"


def _known(catalog: Tiled) -> dict[str, list[Any]]:
    """Values of path parameters and of the parameter `assets` that name what is there."""
    west, south, east, north = bounds_of(catalog.file("scene", "image"))
    return {
        "collectionId": [COLLECTION],
        "itemId": ["scene"],
        "tileMatrixSetId": ["WebMercatorQuad", "WGS1984Quad"],
        "classmapName": ["mtbs-severity", "modis-64A1"],
        "colorMapName": ["viridis", "modis-64A1"],
        "minx": [west],
        "miny": [south],
        "maxx": [east],
        "maxy": [north],
        "longitude": [(west + east) / 2],
        "latitude": [(south + north) / 2],
        "z": [0, 1.0],
        "x": [0, 0.0],
        "y": [0, 0.0],
        "scale": [1, 2.0],
        "width": [32, 64.0],
        "height": [32],
        "format": ["png", "npy"],
    }


def _exercise(
    operation: Any, mode: GenerationMode, client: requests.Session, known: dict[str, list[Any]], answered: Counter[int]
) -> None:
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def made_up(case: Any, data: Any) -> None:
        # Left to chance, no id would be one that is there: three of four are.
        for name in case.path_parameters or {}:
            if name in known and data.draw(st.integers(0, 3)):
                case.path_parameters[name] = data.draw(st.sampled_from(known[name]))
        if mode is GenerationMode.POSITIVE and case.query:
            # All parameters at once never fit together: a few of them do.
            names = sorted(case.query)
            case.query = {name: case.query[name] for name in names if not data.draw(st.integers(0, 5))}
        if data.draw(st.integers(0, 3)):
            case.query = {**(case.query or {}), "assets": ["image"], "max_size": 64}
        response = case.call(session=client, timeout=60)
        answered[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    try:
        made_up()
    except Exception as exc:
        raise AssertionError(f"{operation.label}, {mode.value}") from exc
