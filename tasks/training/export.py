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
from tasks.evaluation.fitting import inputs_of, taken
from tasks.files import write_atomically
from tasks.records import SignatureSpec
from tasks.savedmodel.content import GOLDEN
from tasks.savedmodel.examples import golden_rows, inputs_from_spec
from tasks.savedmodel.golden import GoldenExample, prediction_log, write_golden
from tasks.savedmodel.messages import reason
from tasks.savedmodel.read import SavedModelFolder
from tasks.savedmodel.wires import readable_outputs
from tasks.training.methods import SERVING_DEFAULT, ExportedMethod
from tasks.training.train import TrainedModel, outputs_by_name
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
    try:
        archive.write_out(os.fspath(directory), verbose=False)
    except AssertionError as error:  # of tf.saved_model.save, for a resource that no attribute holds
        methods = ", ".join(repr(method.signature) for method in trained.loaded.methods)
        raise InvalidModel(
            f"The model of {trained.loaded.spec} cannot be exported: one of its signatures ({methods}) uses a lookup "
            "table or variable that no attribute of the model holds, so that it would be lost. Make it in __init__, as "
            "self.table = …, and not in the method that uses it."
        ) from error


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
    given, readable = outputs_by_name(answer), readable_outputs(spec)
    outputs = {name: given[name].numpy() for name in readable if name in given}
    if given.keys() != spec.outputs.keys():
        raise InvalidModel(
            f"Signature {method.signature!r} of {trained.loaded.spec} returns {type(answer).__name__}, expected a "
            "tensor, a list of tensors or a dict of tensors by name."
        )
    return GoldenExample(method.signature, inputs, {name: _array(value) for name, value in outputs.items()})


def _inputs(signature: str, spec: SignatureSpec, examples: Mapping[str, Array]) -> dict[str, Array]:
    """Held-out examples if the signature takes them, as they are or as PNG files; else made up."""
    pairs = taken(examples, spec)
    if pairs is not None:
        sizes = [t.shape[0] for t in spec.inputs.values() if t.shape and t.shape[0]]
        rows = min([golden_rows(examples), *sizes])
        given = inputs_of({name: array[:rows] for name, array in examples.items()}, pairs, spec)
        if all(len(array) == size for array in given.values() for size in sizes):
            return given
    if len(spec.inputs) == 1 and len(examples) == 1:
        ((name, tensor),), (images,) = spec.inputs.items(), examples.values()
        if tensor.dtype == "string" and tensor.shape == (None,) and _are_images(images):
            return {name: _png_files(images[: golden_rows(examples)])}
    return inputs_from_spec(signature, spec)


def _are_images(array: Array) -> bool:
    """Whether it is `[N, H, W, 1, 3 or 4]`, uint8 or floats in 0..1."""
    if array.ndim != 4 or array.shape[-1] not in (1, 3, 4):
        return False
    return array.dtype == np.uint8 or (array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1)


def _png_files(examples: Array) -> Array:
    import tensorflow as tf

    whole = examples if examples.dtype == np.uint8 else np.rint(examples * 255).astype(np.uint8)
    files = np.empty(len(examples), object)
    for number, pixels in enumerate(whole):
        files[number] = tf.io.encode_png(pixels).numpy()
    return files


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
