"""The main job, from a user's side: a whole stack, the command line, clients, and three ways to have a run begin."""

import base64
import dataclasses
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests

from tasks.data.dataset import split
from tasks.data.digits import load
from tasks.data.sources import load_dataset
from tasks.records import Manifest, now
from tasks.savedmodel.golden import GoldenExample, read_golden, write_golden
from tasks.store import keys
from tasks.store.base import Store
from tasks.store.connect import connect
from tasks.tracking.registry import Registry
from tasks.versions import catalog
from tasks.versions.signing import Trust
from tasks.wire.dtypes import Array
from tasks.wire.protos import PredictionServiceStub, PredictRequest
from tasks.wire.tensors import from_proto, to_proto
from tests.helpers.local import LocalStack, until
from tests.helpers.versions import claimed_numbers, publish_version

# The first test waits for the stack, others for whole releases.
pytestmark = pytest.mark.timeout(900)

README = (Path(__file__).parents[3] / "README.md").read_text()
HEADERS = {"content-type": "application/json"}
TRAINED_FROM = {"factory": "tasks.models:mlp", "epochs": 1}


@pytest.fixture(scope="module")
def stack_store(stack: LocalStack) -> Store:
    return connect(stack.settings)


@pytest.fixture(scope="module")
def digits() -> Array:
    """Digits that no training saw, float32 `[10, 28, 28, 1]` in 0..1: a 0, a 1, and so on."""
    held_out = split("digits", load("mnist-5k"), split_seed=0).test
    first = [int(np.argmax(held_out.labels["y"] == digit)) for digit in range(10)]
    return np.asarray(held_out.features["x"][first])


@pytest.fixture(scope="module")
def demonstrated(stack: LocalStack) -> list[str]:
    """What the demonstration printed, run with the Sequential and then with the custom model, which answers to more."""
    printed = []
    for factory in ("tasks.models:sequential_mlp", "tasks.models:mlp"):
        done = stack.slipway("demo", "--factory", factory)
        assert done.returncode == 0, done.stdout + done.stderr
        printed.append(done.stdout)
    return printed


@pytest.fixture(scope="module")
def few_digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data on which training takes a moment."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    few = load_dataset("mnist-5k", split_seed=0).train.rows(slice(None, None, 4))
    np.savez(path, x=few.features["x"], y=few.labels["y"])
    return path


def answered(stack: LocalStack, body: object, model: str = "MLP") -> Any:
    """As the notes on TensorFlow Serving that clients are written from do it."""
    url = f"http://localhost:{stack.settings.rest_port}/v1/models/{model}:predict"
    response = requests.post(url, data=json.dumps(body), headers=HEADERS, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def runs(stack: LocalStack, **filters: object) -> list[dict[str, Any]]:
    url = f"{stack.settings.prefect_api}/flow_runs/filter"
    found: list[dict[str, Any]] = stack.http.post(url, json={"flow_runs": filters}, timeout=30).json()
    return found


def test_the_demonstration_publishes_a_version_each_time_and_says_what_it_did(
    stack: LocalStack, stack_store: Store, demonstrated: list[str]
) -> None:
    assert catalog.published(stack_store, "MLP") == [1, 2]
    for number, printed in enumerate(demonstrated, 1):
        assert f"MLP version {number} is accepted and serves." in printed
        assert "all right" in printed
        assert printed.count("true ") == 3
        for address in (stack.settings.prefect_port, stack.settings.mlflow_uri, stack.settings.rest_port):
            assert str(address) in printed
    assert [catalog.version(stack_store, "MLP", n).state for n in (1, 2)] == ["accepted", "accepted"]


def test_the_models_are_good_at_digits_they_never_saw(stack_store: Store, demonstrated: list[str]) -> None:
    for number in (1, 2):
        assert catalog.manifest(stack_store, "MLP", number).training.metrics["accuracy"] >= 0.93


def test_every_step_is_seen_in_prefect(stack: LocalStack, demonstrated: list[str]) -> None:
    release, *_ = runs(stack, name={"any_": ["release MLP"]}, state={"type": {"any_": ["COMPLETED"]}})
    children = runs(stack, parent_flow_run_id={"any_": [release["id"]]})
    assert {run["name"] for run in children} >= {"train MLP"}
    url = f"{stack.settings.prefect_api}/task_runs/filter"
    steps = {run["name"] for run in stack.http.post(url, json={}, timeout=30).json()}
    assert steps >= {
        "read the data mnist-5k",
        "train and export MLP",
        "publish MLP",
        "serve MLP 1 as MLP-candidate",
        "validate MLP-candidate",
        "serve MLP 1 as MLP",
        "validate MLP",
        "accept MLP 1",
    }
    artifacts = stack.http.post(f"{stack.settings.prefect_api}/artifacts/filter", json={}, timeout=30).json()
    assert {a["key"] for a in artifacts} >= {"training-mlp", "validation-mlp", "validation-mlp-candidate"}


def test_mlflow_has_each_version_and_the_accepted_one_is_the_champion(
    stack: LocalStack, stack_store: Store, demonstrated: list[str]
) -> None:
    registry = Registry.connect(stack.settings)
    assert registry.champion("MLP") == 2
    found = requests.get(
        f"{stack.settings.mlflow_uri}/api/2.0/mlflow/model-versions/search",
        params={"filter": "name='MLP'"},
        timeout=30,
    ).json()["model_versions"]
    assert {v["source"] for v in found} == {stack_store.uri(f"models/MLP/{n}") for n in (1, 2)}


def test_the_published_folder_is_a_base_path_as_it_stands(stack_store: Store, demonstrated: list[str]) -> None:
    names = set(stack_store.keys(keys.version_prefix("MLP", 1)))
    prefix = keys.version_prefix("MLP", 1)
    assert names >= {prefix + "saved_model.pb", prefix + "variables/variables.index"}
    assert prefix + "assets.extra/tf_serving_warmup_requests" in names


def test_the_custom_model_is_asked_by_the_names_of_its_methods_over_rest_and_grpc(
    stack: LocalStack,
    demonstrated: list[str],
    digits: Array,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few, truth = digits, list(range(10))
    by_call = answered(stack, {"signature_name": "call", "instances": few.tolist()})
    assert np.argmax(by_call, axis=-1).tolist() == truth
    classes = answered(stack, {"signature_name": "classify", "instances": few.tolist()})
    assert [row["class"] for row in classes] == truth
    golden = next(e for e in golden_examples(stack, 2) if e.signature == "from_png")
    pngs = [{"b64": base64.b64encode(png).decode()} for png in golden.inputs["image_bytes"][:3]]
    from_png = answered(stack, {"signature_name": "from_png", "instances": pngs})
    shown = golden.outputs["output_0"].argmax(axis=-1).tolist()
    assert np.argmax(from_png, axis=-1).tolist() == shown[:3]

    request = PredictRequest(inputs={"inputs": to_proto(few)})
    request.model_spec.name, request.model_spec.signature_name = "MLP", "call"
    with grpc.insecure_channel(f"localhost:{stack.settings.grpc_port}") as channel:
        reply = PredictionServiceStub(channel).Predict(request, timeout=10)
    assert reply.model_spec.version.value == 2
    np.testing.assert_allclose(from_proto(reply.outputs["output_0"]), by_call, rtol=1e-5, atol=1e-5)

    image = tmp_path / "digit.png"
    image.write_bytes(golden.inputs["image_bytes"][0])
    monkeypatch.chdir(tmp_path)
    asked = run_as_documented(stack, '"from_png"', few)
    assert np.argmax(answered(stack, json.loads(asked["data"]))[0]) == shown[0]
    told = run_as_documented(stack, "PredictionServiceStub", few)["reply"]
    np.testing.assert_allclose(from_proto(told.outputs["output_0"]), by_call, rtol=1e-5, atol=1e-5)
    done = stack.slipway("predict", "MLP", "--signature", "from_png", str(image))
    assert np.argmax(json.loads(done.stdout)["predictions"][0]) == shown[0]


def test_going_back_serves_the_sequential_model_whose_clients_send_instances_alone(
    stack: LocalStack, demonstrated: list[str], digits: Array
) -> None:
    done = stack.slipway("rollback", "MLP")
    assert done.returncode == 0, done.stderr
    assert "MLP version 1 is served again" in done.stdout
    predictions = answered(stack, {"instances": digits[0:3].tolist()})
    assert np.argmax(predictions, axis=-1).tolist() == [0, 1, 2]
    run_as_documented(stack, '"instances": digits[0:3]', digits)


def run_as_documented(stack: LocalStack, part: str, digits: Any) -> dict[str, Any]:
    """Run the README's block of Python that holds `part` as it stands, at the ports of this stack; what it defines."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if part in block]
    for usual, own in ((":8501", stack.settings.rest_port), (":8500", stack.settings.grpc_port)):
        block = block.replace(usual, f":{own}")
    defined: dict[str, Any] = {"digits": digits, "base64": base64, "json": json}
    exec(block, defined)
    return defined


def golden_examples(stack: LocalStack, version: int) -> list[GoldenExample]:
    from tasks.versions.catalog import golden_examples as read

    stack_store = connect(stack.settings)
    return read(stack_store, catalog.manifest(stack_store, "MLP", version))


def test_a_version_whose_weights_are_not_those_it_was_trained_with_is_taken_back(
    stack: LocalStack, stack_store: Store, demonstrated: list[str], digits: Array, tmp_path: Path
) -> None:
    served = next(v["manifest"]["version"] for v in listed(stack) if v["served"])
    before = answered(stack, {"instances": digits[0:3].tolist()})
    wrong = publish_with_the_golden_examples_of_another(stack_store, Trust.of(stack.settings), tmp_path)
    done = stack.slipway("rollout", "MLP", str(wrong))
    assert done.returncode == 1
    assert f"slipway: The rollout of MLP version {wrong} was aborted: " in done.stderr
    assert f"Version {served} serves as before." in done.stderr
    assert "Traceback" not in done.stderr
    assert answered(stack, {"instances": digits[0:3].tolist()}) == before
    assert [(v["manifest"]["version"], v["served"]) for v in listed(stack) if v["served"]] == [(served, True)]
    assert catalog.version(stack_store, "MLP", wrong).state == "rejected"
    (failed,) = runs(stack, name={"any_": [f"rollout MLP {wrong} to default"]})
    assert failed["state_type"] == "FAILED"
    assert f"The rollout of MLP version {wrong} was aborted" in failed["state"]["message"]


def listed(stack: LocalStack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stack.slipway_here("versions", "MLP", "--json").stdout)
    return found


def publish_with_the_golden_examples_of_another(stack_store: Store, trust: Trust, folder: Path) -> int:
    """Publish version 1's files again, beside golden examples that promise other answers."""
    manifest = catalog.manifest(stack_store, "MLP", 1)
    assert manifest.golden is not None
    download(stack_store, manifest, folder)
    golden = folder / manifest.golden
    promised = [
        GoldenExample(e.signature, e.inputs, {n: a + a.dtype.type(1) for n, a in e.outputs.items()})
        for e in read_golden(golden)
    ]
    golden.unlink()
    write_golden(golden, promised)
    return publish_version(
        stack_store,
        trust,
        "MLP",
        folder,
        signatures=manifest.signatures,
        golden=manifest.golden,
        training=manifest.training,
        run="a test",
    ).version


def download(stack_store: Store, manifest: Manifest, folder: Path) -> None:
    for entry in manifest.files:
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        stack_store.download(keys.version_prefix(manifest.model, manifest.version) + entry.path, path)


def test_a_saved_model_made_elsewhere_is_released_with_what_it_answers_itself(
    stack: LocalStack, small_models: Path, tmp_path: Path
) -> None:
    affine = small_models / "affine"
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps({"instances": [1.0, 2.0]}))
    done = stack.slipway("release", "Affine", "--saved-model", str(affine / "2"), "--inputs", str(inputs))
    assert done.returncode == 0, done.stderr
    assert answered(stack, {"instances": [4.0]}, "Affine") == [4.0]
    done = stack.slipway_here("publish", str(affine / "3"), "--model", "Affine", "--json")
    assert json.loads(done.stdout)["version"] == 2
    assert answered(stack, {"instances": [4.0]}, "Affine") == [4.0]


def from_the_ui(stack: LocalStack, deployment: str, data: Path) -> None:
    """What the UI's form sends."""
    stack.http.post(
        f"{stack.settings.prefect_api}/deployments/{deployment}/create_flow_run",
        json={"parameters": {"model": "FromUI", **TRAINED_FROM, "data": str(data)}, "state": {"type": "SCHEDULED"}},
        timeout=30,
    ).raise_for_status()


def from_the_schedule(stack: LocalStack, deployment: str, data: Path) -> None:
    """As the nightly schedule, only that nights are short."""
    schedule = {
        "schedule": {"interval": 20, "anchor_date": (now() + timedelta(seconds=6)).isoformat(), "timezone": "UTC"},
        "active": True,
        "parameters": {"model": "FromSchedule", **TRAINED_FROM, "data": str(data)},
    }
    url = f"{stack.settings.prefect_api}/deployments/{deployment}/schedules"
    answer = stack.http.post(url, json=[schedule], timeout=30)
    assert answer.status_code == 201, answer.text

    def begun() -> bool:
        of_deployment = runs(stack, deployment_id={"any_": [deployment]}, state={"type": {"any_": ["RUNNING"]}})
        return any(run["parameters"]["model"] == "FromSchedule" for run in of_deployment)

    until(begun, "a night begins", 180)
    # One night is enough. What has begun goes on.
    stack.http.delete(f"{url}/{answer.json()[0]['id']}", timeout=30).raise_for_status()


def from_an_event(stack: LocalStack, data: Path) -> None:
    """As a data pipeline tells that there is new data."""
    emit(stack, {"model": "FromEvent", "data": str(data)})


def emit(stack: LocalStack, payload: dict[str, str]) -> None:
    command = ["event", "emit", "slipway.dataset.updated", "--resource-id", "slipway.dataset.few"]
    subprocess.run(
        [sys.executable, "-m", "prefect", *command, "--payload", json.dumps(payload)],
        env=stack.env,  # without an address: the profile that `up` wrote leads to the stack
        check=True,
        timeout=120,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def begun(stack: LocalStack, few_digits_file: Path) -> None:
    """Two releases, begun in two ways at once."""
    url = f"{stack.settings.prefect_api}/deployments/name/release/release"
    deployment = stack.http.get(url, timeout=30).json()["id"]
    from_the_ui(stack, deployment, few_digits_file)
    from_the_schedule(stack, deployment, few_digits_file)


@pytest.mark.parametrize("model", ["FromUI", "FromSchedule"])
def test_a_run_publishes_a_version_however_it_was_started(
    stack: LocalStack, stack_store: Store, begun: None, model: str
) -> None:
    until(lambda: catalog.published(stack_store, model), f"{model} is published", 240)
    until(lambda: catalog.version(stack_store, model, 1).state == "accepted", f"{model} serves", 120)


def test_an_event_retrains_a_model_as_its_last_version_was_made(
    stack: LocalStack, stack_store: Store, demonstrated: list[str], few_digits_file: Path, tmp_path: Path
) -> None:
    first = catalog.manifest(stack_store, "MLP", 1)
    download(stack_store, first, tmp_path)
    publish_version(
        stack_store,
        Trust.of(stack.settings),
        "FromEvent",
        tmp_path,
        signatures=first.signatures,
        golden=first.golden,
        training=dataclasses.replace(first.training, epochs=2, seed=3),
        run="a test",
    )
    from_an_event(stack, few_digits_file)
    until(lambda: len(catalog.published(stack_store, "FromEvent")) == 2, "FromEvent is trained", 240)
    made = catalog.manifest(stack_store, "FromEvent", 2).training
    assert (made.factory, made.epochs, made.seed) == ("tasks.models:sequential_mlp", 2, 3)
    assert made.data == str(few_digits_file)
    until(lambda: catalog.version(stack_store, "FromEvent", 2).state == "accepted", "FromEvent serves", 120)


def test_what_comes_over_the_api_is_bounded_and_makes_no_model_by_anothers_factory(
    stack: LocalStack, stack_store: Store, demonstrated: list[str]
) -> None:
    emit(stack, {"model": "Mine", "data": "mnist-5k"})
    for deployment, parameters in (
        ("train/train", {"model": "AnyCode", "factory": "os:abort"}),
        ("train/train", {"model": "MLP", "data": "/etc/hosts"}),
        ("release-saved-model/release-saved-model", {"model": "AnyFolder", "saved_model": "/etc"}),
    ):
        url = f"{stack.settings.prefect_api}/deployments"
        found = stack.http.get(f"{url}/name/{deployment}", timeout=30).json()["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        stack.http.post(f"{url}/{found}/create_flow_run", json=body, timeout=30).raise_for_status()
    said = (
        "no version of it was ever made",
        "'os:abort' is not among the recipes and factories that a deployment's run may call",
        "data='/etc/hosts' lies outside the folders",
        "saved_model='/etc' lies outside the folders",
    )

    def failures() -> str:
        return "\n".join(run["state"]["message"] or "" for run in runs(stack, state={"type": {"any_": ["FAILED"]}}))

    until(lambda: all(text in failures() for text in said), "each run fails and says why", 240)
    assert [model for model in ("Mine", "AnyCode", "AnyFolder") if claimed_numbers(stack_store, model)] == []


def test_the_documented_command_that_tells_of_new_data_begins_a_run(stack: LocalStack) -> None:
    (command,) = re.findall(r"^prefect event emit .*$", README, re.MULTILINE)
    api, env = stack.settings.prefect_api, stack.env | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    deployment = stack.http.get(f"{api}/deployments/name/release/release", timeout=30).json()["id"]

    def begun() -> dict[str, dict[str, Any]]:
        found = runs(stack, deployment_id={"any_": [deployment]})
        return {run["id"]: run["parameters"] for run in found if not run["auto_scheduled"]}

    before = begun()
    subprocess.run(["bash", "-c", command], env=env, check=True, timeout=120, capture_output=True)
    until(lambda: begun().keys() - before.keys(), "a run is scheduled", 180)
    ((run, parameters),) = [(run, parameters) for run, parameters in begun().items() if run not in before]
    stack.http.delete(f"{api}/flow_runs/{run}", timeout=30).raise_for_status()  # trainings are tested above
    assert parameters == {"model": "MLP"} | json.loads(re.findall(r"--payload '(.*)'", command)[0])


# What else is refused: tests/integration/delivery/test_bad_input.py.
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["release", "New", "--factory", "tasks.models:mlp", "--signature", "call=no"], "names the method 'no'"),
        (["rollout", "MLP", "1", "--fleet", "defualt"], "Fleet 'defualt' has no replica: none has ever reported."),
    ],
)
def test_bad_input_gets_one_clear_message_and_changes_nothing(
    stack: LocalStack, stack_store: Store, command: list[str], said: str
) -> None:
    done = stack.slipway(*command)
    assert done.returncode == 1, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert claimed_numbers(stack_store, "New") == []
    assert stack_store.children(keys.fleets_prefix()) == ["default"]


def test_a_model_server_that_is_gone_is_named(stack: LocalStack, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text("[1.0]")
    done = stack.slipway("predict", "MLP", str(request), SLIPWAY_REST_PORT="1")
    assert done.returncode == 1
    assert "No model server answers at http://127.0.0.1:1" in done.stderr
