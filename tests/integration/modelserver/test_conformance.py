"""The embedded model server, asked what TensorFlow Serving was asked: every answer is TensorFlow Serving's."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import conformance

CASES = Path(conformance.HERE) / "cases"
SERVER = f"{sys.executable} -m infra.modelserver"
NAMES = sorted(path.stem for path in CASES.glob("*.json") if not path.name.endswith(".answers.json"))


def test_there_are_recorded_cases() -> None:
    assert len(NAMES) >= 15


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_tensorflow_servings(name: str, small_models: Path) -> None:
    case: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    recorded = json.loads((CASES / f"{name}.answers.json").read_text())
    answers = conformance.run_case(case, SERVER, small_models)
    assert len(answers) == len(recorded)
    differing = [
        f"{conformance.label(case, i)}\n  recorded {want}\n  answered {got}"
        for i, (want, got) in enumerate(zip(recorded, answers, strict=True))
        if False in conformance.compare(want, got).values()
    ]
    assert not differing, "\n".join(differing)
