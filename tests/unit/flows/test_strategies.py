"""What the forms of the Prefect UI offer as a strategy, and what flows and the Prefect API take."""

from typing import Any

import pytest
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, is_valid, validate

from flows.fleet import plan
from flows.release import release, release_saved_model
from flows.rollout import rollout
from tasks.delivery import strategies

FLOWS: list[Flow[..., Any]] = [release, release_saved_model, rollout, plan]
GIVEN = {"model": "MLP", "version": 7, "saved_model": "exported"}


@pytest.fixture(params=FLOWS, ids=lambda flow: flow.name)
def flow(request: pytest.FixtureRequest) -> Flow[..., Any]:
    found: Flow[..., Any] = request.param
    return found


def parameters(flow: Flow[..., Any], strategy: str) -> dict[str, Any]:
    known = parameter_schema(flow).properties
    return {name: value for name, value in GIVEN.items() if name in known} | {"strategy": strategy}


def test_a_form_offers_the_strategies_with_blue_green_as_the_default(flow: Flow[..., Any]) -> None:
    shown = parameter_schema(flow).properties["strategy"]
    assert shown["anyOf"][0]["enum"] == list(strategies.known())
    assert shown["default"] == "blue-green"


@pytest.mark.parametrize("name", ["blue-green", "labels", "candidate"])
def test_the_prefect_api_takes_each_strategy_and_the_old_name(flow: Flow[..., Any], name: str) -> None:
    assert is_valid(parameters(flow, name), parameter_schema(flow).model_dump())


def test_the_prefect_api_refuses_an_unknown_strategy_and_lists_those_that_it_knows(flow: Flow[..., Any]) -> None:
    with pytest.raises(ValidationError, match=r"'canary' is not one of \['blue-green', 'labels'.*\]"):
        validate(parameters(flow, "canary"), parameter_schema(flow).model_dump(), raise_on_error=True)


def test_a_flow_takes_the_old_name_for_the_present_one(flow: Flow[..., Any]) -> None:
    assert flow.validate_parameters(parameters(flow, "candidate"))["strategy"] == "blue-green"


def test_a_flow_refuses_an_unknown_strategy_and_lists_those_that_it_knows(flow: Flow[..., Any]) -> None:
    with pytest.raises(ParameterTypeError, match="'canary' is not known: use 'blue-green'"):
        flow.validate_parameters(parameters(flow, "canary"))
