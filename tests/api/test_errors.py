"""Every error has a status, and what went wrong inside stays inside."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from graticule import errors
from graticule.api.errors import STATUSES, error_response, status_of


def leaves(root: type[errors.GraticuleError]) -> Iterator[type[errors.GraticuleError]]:
    yield root
    for child in root.__subclasses__():
        yield from leaves(child)


REFUSALS = list(dict.fromkeys(leaves(errors.RequestError)))
ALL = list(dict.fromkeys(leaves(errors.GraticuleError)))


@pytest.mark.parametrize("kind", REFUSALS)
def test_every_refusal_has_a_status_of_its_own_kind(kind: type[errors.GraticuleError]) -> None:
    status = status_of(kind())
    assert 400 <= status < 500 or (status == 503 and kind is errors.Unavailable)


@pytest.mark.parametrize("kind", ALL)
def test_every_answer_is_an_envelope(kind: type[errors.GraticuleError]) -> None:
    answer = error_response(kind())
    error = json.loads(bytes(answer.body))["error"]
    assert error["message"]
    assert answer.headers["x-ms-error-code"] == error["code"]
    assert answer.status_code == status_of(kind())


def test_nothing_is_listed_that_is_no_error() -> None:
    assert set(STATUSES) <= set(leaves(errors.GraticuleError))


@pytest.mark.parametrize("kind", [errors.InternalError, errors.InternalIntermittentError, errors.SettingsError])
def test_what_went_wrong_inside_is_not_told(kind: type[errors.GraticuleError]) -> None:
    answer = error_response(kind("cannot write /secret/place"))
    assert answer.status_code >= 500
    assert b"/secret/place" not in bytes(answer.body)


@pytest.mark.parametrize("kind", [errors.TooManyRequests, errors.Unavailable, errors.InternalIntermittentError])
def test_what_passes_says_when_to_come_back(kind: type[errors.GraticuleError]) -> None:
    assert int(error_response(kind()).headers["retry-after"]) > 0


def test_who_must_log_in_is_told_how() -> None:
    assert error_response(errors.Unauthorized()).headers["www-authenticate"] == "Bearer"
