"""Requests made up from the OpenAPI document, right and wrong ones: no failure of ours, no status that is not told."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.core.result import Ok

from acceptance.serving import Served

#: What holds of every answer. What breaks the described shape may still be taken: readers are lenient on purpose.
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = 12


@pytest.mark.acceptance
@pytest.mark.filterwarnings("ignore")  # those of schemathesis and its libraries
def test_made_up_requests_are_answered_as_described(served: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    walked = []
    with served.client() as client:
        for result in schema.include(path_regex="^/stac").get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            walked.append(operation.label)
            for mode in GenerationMode:
                _exercise(operation, mode, client)
    assert len(walked) >= 39
    assert served.is_healthy()
    assert "Traceback" not in served.log_text()


def _exercise(operation: Any, mode: GenerationMode, client: requests.Session) -> None:
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def made_up(case: Any) -> None:
        response = case.call(session=client)
        case.validate_response(response, checks=CHECKS)

    try:
        made_up()
    except Exception as exc:
        raise AssertionError(f"{operation.label}, {mode.value}") from exc
