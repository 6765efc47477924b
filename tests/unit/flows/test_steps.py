"""Steps: what the Prefect UI calls their runs is made of their arguments, and clients are not among these."""

import dataclasses
import inspect
import string
import typing

import pytest
from prefect import Task

from flows import steps

STEPS = {name: found for name, found in vars(steps).items() if isinstance(found, Task)}


@pytest.mark.parametrize("name", STEPS)
def test_a_steps_run_is_named_by_its_arguments(name: str) -> None:
    found = STEPS[name]
    hints = typing.get_type_hints(inspect.unwrap(found.fn))
    assert isinstance(found.task_run_name, str)
    for _, field, _, _ in string.Formatter().parse(found.task_run_name):
        first, *attributes = (field or "").split(".")
        if not first:
            continue
        assert first in inspect.signature(found.fn).parameters, field
        kind = hints[first]
        for attribute in attributes:
            fields = {f.name: f.type for f in dataclasses.fields(kind)}
            assert attribute in fields, field
            kind = fields[attribute]


@pytest.mark.parametrize("name", STEPS)
def test_no_client_is_among_a_steps_parameters(name: str) -> None:
    assert {"store", "trust"}.isdisjoint(inspect.signature(STEPS[name].fn).parameters)
