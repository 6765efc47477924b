"""The embedded model server, asked what TensorFlow Serving was asked: every answer is TensorFlow Serving's."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import conformance

# Answers are read with TensorFlow.
pytestmark = pytest.mark.xdist_group("keras")

CASES = Path(conformance.HERE) / "cases"
SERVER = f"{sys.executable} -m infra.modelserver"
NAMES = sorted(path.stem for path in CASES.glob("*.json") if not path.name.endswith(".answers.json"))


Answers = list[dict[str, Any]]


@pytest.fixture(scope="module")
def answered(small_models: Path) -> Iterator[dict[str, Future[dict[str, Answers]]]]:
    """The answers of each case. Stories wait for most of their time, so that two servers are asked side by side."""
    alike: dict[str, list[str]] = {}
    for name in NAMES:
        asked = case(name)
        alike.setdefault(f"{asked.get('flags')} {asked['config']}" if "requests" in asked else name, []).append(name)
    with ThreadPoolExecutor(2) as pool:
        runs = [(names, pool.submit(answers, names, small_models)) for names in alike.values()]
        yield {name: run for names, run in runs for name in names}


def answers(names: list[str], models: Path) -> dict[str, Answers]:
    """What one server answers in each of these cases."""
    if "steps" in case(names[0]):
        return {names[0]: conformance.run_case(case(names[0]), SERVER, models)}
    requests = {name: case(name)["requests"] for name in names}
    together = {**case(names[0]), "requests": [request for name in names for request in requests[name]]}
    found = iter(conformance.run_case(together, SERVER, models))
    return {name: list(islice(found, len(requests[name]))) for name in names}


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return found


def test_there_are_recorded_cases() -> None:
    assert len(NAMES) >= 15


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_tensorflow_servings(answered: dict[str, Future[dict[str, Answers]]], name: str) -> None:
    recorded = json.loads((CASES / f"{name}.answers.json").read_text())
    told = answered[name].result()[name]
    assert len(told) == len(recorded)
    differing = [
        f"{conformance.label(case(name), i)}\n  recorded {want}\n  answered {got}"
        for i, (want, got) in enumerate(zip(recorded, told, strict=True))
        if False in conformance.compare(want, got).values()
    ]
    assert not differing, "\n".join(differing)
