"""A SavedModel is tried alone, in a real model server, before it is published."""

import multiprocessing
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.errors import ForbiddenOps, LoadFailed, NotServable
from tasks.isolation import landlock_version
from tasks.savedmodel.golden import GoldenExample
from tasks.savedmodel.messages import Failure
from tasks.savedmodel.session import Question, ask
from tasks.serving import sandbox
from tasks.settings import Settings
from tasks.validation.sandbox import try_saved_model
from tests.helpers.local import until
from tests.helpers.models import X
from tests.helpers.policies import POLICY, policy

MINE = Settings()
UNSERVABLE = """
import sys, keras, tensorflow as tf
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
tf.saved_model.save(model, sys.argv[1])
class Writes(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "name")])
    def write(self, name):
        tf.io.write_file(name, "was here")
        return name
writes = Writes()
tf.saved_model.save(writes, sys.argv[2], signatures=writes.write)
class Reads(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "name")])
    def read(self, name):
        return tf.io.read_file(name)
reads = Reads()
tf.saved_model.save(reads, sys.argv[3], signatures=reads.read)
"""


def affine(version: int = 1) -> list[GoldenExample]:
    return [GoldenExample("serving_default", {"x": X}, {"y": X / 2 + np.float32(version)})]


def sandboxes() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if "--model_name=sandboxed" in (p.info["cmdline"] or ())]


@pytest.fixture(scope="module")
def unservable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`keras3`, as tf.saved_model.save writes a Keras 3 model; `writes` and `reads`, which do so with a file."""
    folder = tmp_path_factory.mktemp("unservable")
    command: list[str | Path] = [
        sys.executable,
        "-c",
        UNSERVABLE,
        folder / "keras3",
        folder / "writes",
        folder / "reads",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_a_model_that_answers_as_expected_passes_and_its_server_ends(small_models: Path) -> None:
    report = try_saved_model("sandboxed", small_models / "affine" / "1", affine(), MINE, POLICY)
    assert {(f.asked["protocol"], f.wrong) for f in report.findings} == {("REST", None), ("gRPC", None)}
    assert sandboxes() == []


def test_a_port_that_was_taken_meanwhile_is_left_for_another(
    small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        drawn = [[sandbox._free_ports(1)[0], other.getsockname()[1]], sandbox._free_ports(2)]
        monkeypatch.setattr(sandbox, "_free_ports", lambda _: drawn.pop(0))
        assert try_saved_model("sandboxed", small_models / "affine" / "1", affine(), MINE, POLICY).passed
    assert drawn == []


def test_a_model_that_answers_otherwise_than_it_was_trained_is_refused(small_models: Path) -> None:
    with pytest.raises(NotServable, match="output 'y' differs in 3 of 3 values"):
        try_saved_model("sandboxed", small_models / "affine" / "1", affine(2), MINE, POLICY)


def test_a_model_that_answers_right_but_too_slowly_is_refused(small_models: Path) -> None:
    hasty = policy(answer_budget=1e-9)
    with pytest.raises(NotServable, match=r"right, but take .* s; the policy's answer_budget allows 1e-09 s"):
        try_saved_model("sandboxed", small_models / "affine" / "1", affine(), MINE, hasty)


def test_a_model_that_does_not_load_is_refused_with_the_servers_own_words(small_models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_models / "affine" / "1", tmp_path / "broken")
    index = folder / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(LoadFailed, match=r"ended with code 1. The end of its log: .*DATA_LOSS: not an sstable"):
        try_saved_model("sandboxed", folder, affine(), MINE, POLICY)


def test_a_keras_3_model_that_no_model_server_can_serve_is_refused_with_what_to_do(unservable: Path) -> None:
    answers = {"output_0": np.ones((1, 2), np.float32)}
    golden = [GoldenExample("serving_default", {"inputs": np.ones((1, 3), np.float32)}, answers)]
    with pytest.raises(NotServable, match=r"Could not find variable .* export it with model.export"):
        try_saved_model("sandboxed", unservable / "keras3", golden, MINE, POLICY)


def test_a_signature_that_no_golden_example_asks_is_refused(small_models: Path) -> None:
    with pytest.raises(NotServable, match="nothing proves that signature 'serving_default' can be served"):
        try_saved_model("sandboxed", small_models / "affine" / "1", [], MINE, POLICY)


def test_a_graph_that_touches_files_is_refused_before_it_is_run(unservable: Path, tmp_path: Path) -> None:
    name = np.array(str(tmp_path / "written").encode(), object)
    golden = [GoldenExample("serving_default", {"name": name}, {"output_0": name})]
    with pytest.raises(ForbiddenOps, match="WriteFile"):
        try_saved_model("sandboxed", unservable / "writes", golden, MINE, POLICY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel offers no Landlock")
def test_a_graph_that_gets_past_the_scan_reads_no_key(unservable: Path, tmp_path: Path) -> None:
    key = tmp_path / "signing.pem"
    key.write_text("a secret")
    name, content = (np.array(text.encode(), object) for text in (str(key), key.read_text()))
    past = Settings(allowed_ops="ReadFile")
    golden = [GoldenExample("serving_default", {"name": name}, {"output_0": content})]
    with pytest.raises(NotServable, match="Permission denied"):
        try_saved_model("sandboxed", unservable / "reads", golden, past, POLICY)
    (answer,) = ask(unservable / "reads", [Question("serving_default", {"name": name})])
    assert isinstance(answer, Failure)
    assert "Permission denied" in answer.message


def test_no_model_server_outlives_a_run_that_was_killed_in_the_middle(small_models: Path) -> None:
    arguments = ("sandboxed", small_models / "affine" / "1", affine(), MINE, POLICY)
    run = multiprocessing.get_context("spawn").Process(target=try_saved_model, args=arguments)
    run.start()
    until(sandboxes, "a sandbox runs")
    run.kill()
    run.join(10)
    until(lambda: not sandboxes(), "the sandbox has ended too", 10)
