"""What answers a request that failed."""

import logging

import pytest

from infra.modelserver.errors import Code, as_status, not_found


def test_a_status_error_answers_as_it_is() -> None:
    error = not_found("no such model")
    assert as_status(error) is error


def test_memory_that_is_used_up_is_an_exhausted_resource() -> None:
    error = as_status(MemoryError())
    assert (error.code, error.message) == (Code.RESOURCE_EXHAUSTED, "Out of memory.")


def test_any_other_error_is_internal_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = as_status(KeyError("x"))
    assert (error.code, error.message) == (Code.INTERNAL, "KeyError: 'x'")
    assert "KeyError" in caplog.text
