"""Exporting a trained model as a SavedModel for TensorFlow Serving, with warm-up requests and golden examples."""

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import InvalidInput, InvalidModel
from tasks.files import write_atomically
from tasks.records import SignatureSpec, TensorSpec
from tasks.savedmodel.examples import EXAMPLES, inputs_from_spec
from tasks.savedmodel.golden import GOLDEN, GoldenExample, prediction_log, write_golden
from tasks.savedmodel.messages import reason
from tasks.savedmodel.read import SavedModelFolder
from tasks.training.factory import SERVING_DEFAULT, ExportedMethod
from tasks.training.train import TrainedModel
from tasks.wire.dtypes import Array
from tasks.wire.tfrecord import to_bytes

log = logging.getLogger(__name__)

# TensorFlow Serving answers these before a version is AVAILABLE (servables/tensorflow/saved_model_warmup.cc).
WARM_UP = "assets.extra/tf_serving_warmup_requests"
_WARM_UP_EXAMPLES = 1


@dataclass(frozen=True)
class ExportedModel:
    """A SavedModel on disk."""

    directory: Path
    signatures: Mapping[str, SignatureSpec]
    golden: str  # path of the golden examples, relative to the directory


def export_saved_model(trained: TrainedModel, directory: Path) -> ExportedModel:
    """Write the model, its warm-up requests and its golden examples to `directory`, all or nothing.

    Raises:
        InvalidInput: `directory` exists and is not empty.
        InvalidModel: a signature of the model fails on examples.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InvalidInput(f"{directory} exists already: export to a new folder, or remove it first.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
    try:
        _write_graph(trained, staging)
        signatures = SavedModelFolder.read(staging).signatures
        golden = [_golden_example(trained, method, signatures) for method in _methods(trained, signatures)]
        write_golden(staging / GOLDEN, golden)
        write_atomically(
            staging / WARM_UP, to_bytes(_warm_up(example, signatures[example.signature]) for example in golden)
        )
        staging.chmod(0o755)
        staging.rename(directory)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    log.info("exported %s to %s with signatures %s", trained.loaded.spec, directory, ", ".join(signatures))
    return ExportedModel(directory, signatures, GOLDEN)


def _write_graph(trained: TrainedModel, directory: Path) -> None:
    """Write it with Keras's ExportArchive: a Keras 3 model from tf.saved_model.save cannot be served."""
    import keras

    archive = keras.export.ExportArchive()
    archive.track(trained.loaded.model)
    for method in trained.loaded.methods:
        _put_variables_in_order(method.function, trained.loaded.model)
        archive.add_endpoint(method.signature, method.function)
    archive.write_out(os.fspath(directory), verbose=False)


def _put_variables_in_order(function: Any, model: Any) -> None:
    """Make the same weights the same bytes: a traced function keeps its variables in a set, ordered by address."""
    place = {id(variable.value): number for number, variable in enumerate(model.variables)}
    graph = function.get_concrete_function().graph
    graph.variables = sorted(graph.variables, key=lambda v: (place.get(id(v), len(place)), v.name))


def _methods(trained: TrainedModel, signatures: Mapping[str, SignatureSpec]) -> list[ExportedMethod]:
    """One for each signature: the archive adds `serving_default`, a copy of the first, if there is none."""
    methods = {method.signature: method for method in trained.loaded.methods}
    first = trained.loaded.methods[0]
    return [methods.get(name) or ExportedMethod(SERVING_DEFAULT, first.function, first.inputs) for name in signatures]


def _golden_example(
    trained: TrainedModel, method: ExportedMethod, signatures: Mapping[str, SignatureSpec]
) -> GoldenExample:
    """What the trained model itself, in this process, answers to held-out examples."""
    import tensorflow as tf

    spec = signatures[method.signature]
    inputs = _inputs(method.signature, spec, trained.examples)
    try:
        answer = method.function(*[tf.constant(inputs[name]) for name in method.inputs])
    except Exception as error:
        raise InvalidModel(
            f"Signature {method.signature!r} of {trained.loaded.spec} fails on {_described(spec)}: "
            f"{reason(error)}. A version is published only if each signature can be asked."
        ) from error
    outputs = {name: tensor.numpy() for name, tensor in _named(answer).items()}
    if outputs.keys() != spec.outputs.keys():
        raise InvalidModel(
            f"Signature {method.signature!r} of {trained.loaded.spec} returns {type(answer).__name__}, expected a "
            "tensor, a list of tensors or a dict of tensors by name."
        )
    return GoldenExample(method.signature, inputs, {name: _array(value) for name, value in outputs.items()})


def _inputs(signature: str, spec: SignatureSpec, examples: Array) -> dict[str, Array]:
    """Held-out examples `[N, 28, 28, 1]` if the signature takes them, as floats or PNG files; else made up."""
    if len(spec.inputs) == 1:
        ((name, tensor),) = spec.inputs.items()
        if _takes(tensor, examples):
            size = tensor.shape[0] if tensor.shape and tensor.shape[0] else EXAMPLES
            return {name: examples[:size]}
        if tensor.dtype == "string" and tensor.shape == (None,):
            return {name: _png_files(examples[:EXAMPLES])}
    return inputs_from_spec(signature, spec)


def _takes(tensor: TensorSpec, examples: Array) -> bool:
    if tensor.dtype != examples.dtype.name or tensor.shape is None or len(tensor.shape) != examples.ndim:
        return False
    batch, *rest = tensor.shape
    fits = all(size in (None, n) for size, n in zip(rest, examples.shape[1:], strict=True))
    return fits and (batch is None or batch <= len(examples))


def _png_files(examples: Array) -> Array:
    import tensorflow as tf

    files = np.empty(len(examples), object)
    for number, pixels in enumerate(np.rint(examples * 255).astype(np.uint8)):
        files[number] = tf.io.encode_png(pixels).numpy()
    return files


def _named(answer: Any) -> Mapping[str, Any]:
    """A method's outputs by the names that a SavedModel gives them."""
    if isinstance(answer, Mapping):
        return answer
    parts = answer if isinstance(answer, list | tuple) else [answer]
    return {f"output_{number}": part for number, part in enumerate(parts)}


def _array(value: Any) -> Array:
    return np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)


def _described(spec: SignatureSpec) -> str:
    return ", ".join(
        f"{name!r} {t.dtype} {'any' if t.shape is None else list(t.shape)}" for name, t in spec.inputs.items()
    )


def _warm_up(example: GoldenExample, spec: SignatureSpec) -> bytes:
    """One request that was just answered: a warm-up request that fails makes the version's load fail."""
    free = all(tensor.shape and tensor.shape[0] is None for tensor in spec.inputs.values())
    size = _WARM_UP_EXAMPLES if free else None
    return prediction_log(
        example.signature, {name: array[:size] if free else array for name, array in example.inputs.items()}
    )
