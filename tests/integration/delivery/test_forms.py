"""SavedModels whose answers are not plain floats, tried in a real model server."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import NotServable
from tasks.policy import Policy
from tasks.savedmodel.examples import golden_from_inputs
from tasks.savedmodel.read import SavedModelFolder
from tasks.settings import Settings
from tasks.validation.sandbox import try_saved_model
from tasks.validation.validate import ValidationReport
from tests.helpers.policies import POLICY, policy


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    command: list[str | Path] = [sys.executable, "-m", "tests.helpers.make_forms", folder]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def tried(folder: Path, rule: Policy = POLICY) -> ValidationReport:
    examples = golden_from_inputs(SavedModelFolder.read(folder))
    return try_saved_model("M", folder, examples, Settings(), rule)


def test_what_rest_cannot_carry_is_asked_over_grpc_and_the_finding_says_so(forms: Path) -> None:
    asked = [f for f in tried(forms / "many").findings if f.check == "golden answers"]
    protocols: dict[str, list[str]] = {}
    for finding in asked:
        protocols.setdefault(finding.asked["signature"], []).append(finding.asked["protocol"])
    over_grpc_alone = {"complex", "bfloat16", "half", "variant"}
    assert {name for name, wires in protocols.items() if wires == ["gRPC"]} == over_grpc_alone
    assert all(wires == ["REST", "gRPC"] for name, wires in protocols.items() if name not in over_grpc_alone)
    assert {f.asked["signature"]: f.note for f in asked if f.note} == {
        "complex": "REST cannot carry output 'z' (complex64)",
        "bfloat16": "REST cannot carry input 'x' (bfloat16)",
        "half": "REST cannot carry output 'y' (float16); "
        'a Keras model gives float32 if its last layer has dtype="float32"',
        "variant": "REST cannot carry output 'v' (variant); "
        "output 'v' (variant) cannot be read: clients leave it out (output_filter), and so did validation",
    }


def test_answers_that_are_drawn_at_random_are_refused_unless_the_policy_compares_their_shape(forms: Path) -> None:
    with pytest.raises(NotServable, match=r'the same was asked twice.* the line compare\."s" = "shape"'):
        tried(forms / "sampling")
    report = tried(forms / "sampling", policy(compare={"s": "shape"}))
    assert {f.note for f in report.findings} == {None, "of 's' only shape and dtype were compared, by the policy"}


def test_state_that_a_call_changes_is_refused_whatever_the_policy_compares(forms: Path) -> None:
    with pytest.raises(NotServable, match=r"the same was asked twice.* a variable that a call assigns"):
        tried(forms / "counting")
    with pytest.raises(NotServable, match="draws nothing at random, but assigns a variable"):
        tried(forms / "counting", policy(compare={"y": "shape"}))
