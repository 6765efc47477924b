"""From a model to the methods of it that become signatures."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.errors import InvalidModel
from tasks.names import is_numbered_input
from tasks.training.modules import named

SERVING_DEFAULT = "serving_default"


@dataclass(frozen=True)
class ExportedMethod:
    """A method that becomes a signature: a `tf.function` with an input signature, and its inputs' names in order."""

    signature: str
    function: Any
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class LoadedModel:
    """A recipe's model, and its methods that become signatures."""

    spec: str
    model: Any  # keras.Model
    methods: tuple[ExportedMethod, ...]


def exported_methods(spec: str, model: Any, signatures: Mapping[str, str] | None = None) -> LoadedModel:
    """The model that `spec` made with its methods that become signatures.

    Args:
        signatures: signature name → method name. If None: every method whose `tf.function` has an `input_signature`,
            under its own name; for a Sequential or functional model its call, as `serving_default`.

    Raises:
        InvalidModel: a signature names no method, or one without an input spec.
    """
    methods = signatures or _methods_with_input_spec(model, spec)
    return LoadedModel(spec, model, tuple(_exported_method(model, name, method) for name, method in methods.items()))


def _methods_with_input_spec(model: Any, spec: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind in reversed(type(model).__mro__):
        found |= {name: name for name, value in vars(kind).items() if input_signature(value) is not None}
    found |= {name: name for name, value in vars(model).items() if input_signature(value) is not None}
    if not found and _is_functional(model):
        return {SERVING_DEFAULT: "call"}
    if not found:
        raise InvalidModel(
            f"{named(spec)} returned a model that has nothing to serve: no method has an input spec. Decorate one with "
            '@tf.function(input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.float32, name="inputs")]), or let a '
            "Sequential begin with keras.Input."
        )
    return found


def _exported_method(model: Any, signature: str, method: str) -> ExportedMethod:
    function = getattr(model, method, None)
    if function is None or not callable(function):
        usable = ", ".join(repr(m) for kind in type(model).__mro__ for m, v in vars(kind).items() if input_signature(v))
        raise InvalidModel(
            f"Signature {signature!r} names the method {method!r}, which {type(model).__name__} does not have; methods "
            f"with an input spec: {usable or ('call' if _is_functional(model) else 'none')}."
        )
    specs = input_signature(function)
    if specs is not None:
        return ExportedMethod(signature, function, _input_names(function, specs))
    if method == "call" and _is_functional(model):
        return _functional_call(model, signature)
    raise InvalidModel(
        f"Signature {signature!r} names the method {method!r} of {type(model).__name__}, which has no input spec, so "
        "clients could not know what to send: decorate it with @tf.function(input_signature=[tf.TensorSpec(shape, "
        "dtype, name=...)])."
    )


def served_call(model: Any) -> ExportedMethod | None:
    """The model's own call as a method, if it has an input spec or the model knows its inputs; else None."""
    specs = input_signature(model.call)
    if specs is not None:
        return ExportedMethod(SERVING_DEFAULT, model.call, _input_names(model.call, specs))
    return _functional_call(model, SERVING_DEFAULT) if _is_functional(model) else None


def _functional_call(model: Any, signature: str) -> ExportedMethod:
    """The call of a Sequential or functional model, without training behaviour; its inputs as `input_names` says."""
    import keras
    import tensorflow as tf

    structure = getattr(model, "input", None) if isinstance(getattr(model, "input", None), dict) else model.inputs
    flat = keras.tree.flatten(structure)
    keys = keras.tree.flatten({key: key for key in structure}) if isinstance(structure, dict) else None
    names = input_names([tensor.name for tensor in flat], keys)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for tensor, name in zip(flat, names, strict=True)]

    @tf.function(input_signature=specs)  # type: ignore[untyped-decorator]
    def serve(*tensors: Any) -> Any:
        inputs = tensors[0] if len(tensors) == 1 else keras.tree.pack_sequence_as(structure, tensors)
        return model(inputs, training=False)

    return ExportedMethod(signature, serve, tuple(spec.name for spec in specs))


def input_names(own: Sequence[str], keys: Sequence[str] | None = None) -> list[str]:
    """What clients call a model's inputs, in order: the name that its author gave, else one that is always the same.

    Keras numbers inputs without a name through the whole process, so that the same model made again has other names.

    Args:
        own: their names in Keras.
        keys: those in the dict that the model takes, if it takes one.
    """
    if keys is None:
        keys = ["inputs"] if len(own) == 1 else [f"input_{number}" for number in range(1, len(own) + 1)]
    return [key if is_numbered_input(name) else name for name, key in zip(own, keys, strict=True)]


def input_signature(function: Any) -> Any:
    """The input signature of a `tf.function`; None for anything else."""
    from tensorflow.types.experimental import PolymorphicFunction

    return getattr(function, "input_signature", None) if isinstance(function, PolymorphicFunction) else None


def _input_names(function: Any, specs: Any) -> tuple[str, ...]:
    parameters = [name for name in inspect.signature(function.python_function).parameters if name != "self"]
    return tuple(getattr(spec, "name", None) or name for spec, name in zip(specs, parameters, strict=False))


def _is_functional(model: Any) -> bool:
    """Whether the model itself knows its inputs."""
    try:
        return bool(model.inputs)
    except (AttributeError, ValueError):
        return False
