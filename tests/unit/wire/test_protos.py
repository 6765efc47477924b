import importlib.util
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tasks.wire import WireError, protos

BEFORE = """
import sys
from tasks.wire import protos, dtypes, tensors, tfrecord
from tasks.savedmodel import golden, read
from tasks.training import methods, train, export
from tasks.data import dataset, sources
import infra.modelserver.server
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras"))
assert "tensorflow" not in loaded and "keras" not in loaded, loaded
assert not [name for name in loaded if name.startswith("tensorflow.python")], loaded
"""

RUNS = """
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
assert model(tf.ones((3, 2))).shape == (3, 1)
assert tensor_pb2.TensorProto is protos.TensorProto
assert isinstance(tf.make_tensor_proto(1.0), protos.TensorProto)
assert isinstance(tf.train.Example(), protos.Example)
"""

THREADS = """
import threading
barrier, wrong = threading.Barrier(5), []
def load(module):
    try:
        barrier.wait()
        __import__(module)
    except BaseException as error:
        wrong.append(repr(error))
threads = [threading.Thread(target=load, args=[name]) for name in ["tensorflow", *4 * ["tasks.wire.protos"]]]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not wrong, wrong
from tasks.wire import protos
"""


PROGRAMS = {
    "messages first, without TensorFlow": BEFORE + RUNS,
    "TensorFlow first": "import tensorflow\nfrom tasks.wire import protos\n" + RUNS,
    "both at once in threads": THREADS + RUNS,
}


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """All programs, side by side: each loads TensorFlow, which takes its time."""
    programs = {
        name: subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for name, program in PROGRAMS.items()
    }
    yield programs
    for program in programs.values():
        program.kill()
        program.communicate()


WITHOUT_TENSORFLOW = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *package: None if name == "tensorflow" else found(name, *package)
sys.argv = sys.argv[1:]
from {module} import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("infra.cli.main", ["slipway", "versions", "MLP"]),
        ("infra.modelserver.__main__", ["slipway-model-server", "--model_base_path=/nowhere"]),
    ],
)
def test_a_program_without_tensorflow_says_so_in_one_line(module: str, arguments: list[str]) -> None:
    program = WITHOUT_TENSORFLOW.format(module=module)
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    text = "TensorFlow cannot be found: install Slipway with its dependencies (make demo)."
    assert done.stderr == f"{arguments[0]}: {text}\n"


def test_a_missing_tensorflow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WireError, match="TensorFlow cannot be found: install Slipway"):
        protos.tensorflow_directory()


@pytest.mark.parametrize("name", PROGRAMS)
def test_messages_and_tensorflow_are_loaded_in_any_order(
    running: dict[str, "subprocess.Popen[str]"], name: str
) -> None:
    _, errors = running[name].communicate(timeout=200)
    assert running[name].returncode == 0, errors[-2000:]
