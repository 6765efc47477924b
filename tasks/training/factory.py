"""From `package.module:factory` to a Keras model and the methods of it that become signatures."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from slipway_entry import PACKAGES, ROOT
from tasks.errors import InvalidModel
from tasks.limits import PROJECT_SETTING
from tasks.savedmodel.messages import reason

log = logging.getLogger(__name__)

WITH_TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"}  # with 1 tf.keras is Keras 2
SERVING_DEFAULT = "serving_default"
HERE = Path()  # the folder that a process works in: its project unless it is told another
_EXAMPLE = "for instance tasks.models:mlp"
_LIBRARIES = ("tensorflow", "keras", "numpy")
# Slipway's own modules that affect the weights that a training ends with.
_MAKES_WEIGHTS = ("data/dataset", "data/npz", "data/sources", "training/factory", "training/train")


@dataclass(frozen=True)
class ExportedMethod:
    """A method that becomes a signature: a `tf.function` with an input signature, and its inputs' names in order."""

    signature: str
    function: Any
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class LoadedModel:
    """A factory's model, and its methods that become signatures."""

    spec: str
    model: Any  # keras.Model
    methods: tuple[ExportedMethod, ...]


def load_model(spec: str, signatures: Mapping[str, str] | None = None, project: Path = HERE) -> LoadedModel:
    """Make the model that `spec` names and find its methods that become signatures.

    Args:
        spec: `package.module:factory`; the factory takes no arguments and returns a Keras model.
        signatures: signature name → method name. If None: every method whose `tf.function` has an `input_signature`,
            under its own name; for a Sequential or functional model its call, as `serving_default`.
        project: folder in which the module is looked for last.

    Raises:
        InvalidModel: no such module or factory, the factory fails or does not return a Keras model, a signature
            names no method, or one without an input spec.
    """
    model = _make(spec, project)
    methods = signatures or _methods_with_input_spec(model, spec)
    return LoadedModel(spec, model, tuple(_exported_method(model, name, method) for name, method in methods.items()))


def require_visible(spec: str, project: Path) -> None:
    """Raise if `spec` may mean a module of the user's own that one of Slipway's packages hides.

    Raises:
        InvalidModel: says what to rename.
    """
    name = spec.partition(":")[0]
    if hidden := _hidden(name, project):
        raise InvalidModel(f"Factory {spec!r} cannot be taken from {hidden}: {_rename(name)}")


def _hidden(module: str, project: Path) -> Path | None:
    """The user's file or folder that `module` would name if Slipway had no package of that name; or None."""
    first, *parts = module.split(".")
    if first not in (*PACKAGES, "tests") or not _is_slipways(first):
        return None
    for folder in map(Path, dict.fromkeys([str(project.absolute()), *sys.path])):
        place = folder.joinpath(first, *parts)
        for found in (place.with_name(f"{place.name}.py"), place):
            if found.exists() and folder.resolve() != ROOT:
                return found.absolute()
    return None


def _is_slipways(package: str) -> bool:
    """Whether Python finds Slipway's own package under this name."""
    found = importlib.util.find_spec(package)
    return found is not None and ROOT in [Path(place).parent for place in found.submodule_search_locations or ()]


def _rename(module: str) -> str:
    package = module.partition(".")[0]
    return (
        f"Slipway itself has a package {package!r}, which is found first. Rename yours, for instance to my_{package}."
    )


def code_version(spec: str, project: Path = HERE) -> str:
    """Identity of the code that makes and trains the model: `sha256:` and 64 hex digits.

    It covers the source of the factory's module (and, if that lies in a package other than Slipway's, of every
    module beside and below it), Slipway's own modules that load data and train, and the versions of Slipway,
    TensorFlow, Keras and NumPy. It does not depend on git or on the folder.

    Raises:
        InvalidModel: no such module.
    """
    module = _module(spec, project)
    own = Path(__file__).parents[1]
    sources = {f"slipway/{name}.py": own / f"{name}.py" for name in _MAKES_WEIGHTS}
    source = Path(module.__file__) if module.__file__ else None
    if source is not None:
        whole = module.__package__ and own not in source.parents
        found = sorted(source.parent.rglob("*.py")) if whole else [source]
        sources |= {f"factory/{path.relative_to(source.parent).as_posix()}": path for path in found}
    digest = hashlib.sha256()
    for name, path in sorted(sources.items()):
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for library in ("slipway", *_LIBRARIES):
        digest.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _make(spec: str, project: Path) -> Any:
    factory = _factory(spec, project)
    try:
        model = factory()
    except Exception as error:
        raise InvalidModel(f"Factory {spec!r} failed: {_error_text(error)}. It is called without arguments.") from error
    import keras

    if not isinstance(model, keras.Model):
        raise InvalidModel(
            f"Factory {spec!r} returned {_type_phrase(model)}, expected a Keras model (Sequential, functional, or a "
            "class derived from keras.Model): does it end with `return model`?"
        )
    return model


def _factory(spec: str, project: Path) -> Callable[[], Any]:
    module = _module(spec, project)
    name = spec.partition(":")[2]
    factory = getattr(module, name, None)
    if factory is None:
        callables = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        public = ", ".join(n for n in callables if not n.startswith("_")) or "none"
        raise InvalidModel(f"Module {module.__name__!r} has no factory {name!r}; its functions are: {public}.")
    if not callable(factory):
        raise InvalidModel(
            f"{spec!r} is {_type_phrase(factory)}, which cannot be called: name a function without arguments that "
            "returns a Keras model."
        )
    return factory  # type: ignore[no-any-return]


def _module(spec: str, project: Path) -> ModuleType:
    name, colon, factory = spec.partition(":")
    if not colon or not all(part.isidentifier() for part in [*name.split("."), factory]):
        raise InvalidModel(f"Factory {spec!r} is not of the form package.module:function, {_EXAMPLE}.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_tensorflow()
    here = str(project.absolute())
    if here not in sys.path:
        sys.path.append(here)  # last, so that nothing here hides a library
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or ""
        if hidden := _hidden(missing, project):
            raise InvalidModel(
                f"Factory {spec!r} needs {hidden}, which cannot be imported: {_rename(missing)}"
            ) from None
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{missing}."):
            # The stack sets SLIPWAY_PROJECT for the runs of its deployments.
            named = "?" if project == HERE else f", which SLIPWAY_PROJECT names? {PROJECT_SETTING}"
            raise InvalidModel(
                f"There is no module {missing!r} for factory {spec!r}: is it spelt right, and installed or in "
                f"{here}{named}"
            ) from None
        raise InvalidModel(f"Module {name!r} of factory {spec!r} cannot be imported: {_error_text(error)}.") from error
    except Exception as error:
        raise InvalidModel(f"Module {name!r} of factory {spec!r} cannot be imported: {_error_text(error)}.") from error


def use_tensorflow() -> None:
    """Make Keras 3 compute with TensorFlow, whatever the environment or ~/.keras/keras.json choose.

    Raises:
        InvalidModel: Keras is loaded already, with another backend.
    """
    chosen = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if chosen != "tensorflow":
        log.warning("KERAS_BACKEND=%s is ignored: what TensorFlow Serving serves is made with TensorFlow", chosen)
    os.environ.update(WITH_TENSORFLOW)
    loaded = sys.modules.get("keras")
    backend = loaded.backend.backend() if loaded is not None else "tensorflow"
    if backend != "tensorflow":
        raise InvalidModel(
            f"Keras was loaded with {backend} in this process: unset KERAS_BACKEND, or set it to tensorflow, before "
            "anything imports keras."
        )


def _methods_with_input_spec(model: Any, spec: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind in reversed(type(model).__mro__):
        found |= {name: name for name, value in vars(kind).items() if _input_signature(value) is not None}
    found |= {name: name for name, value in vars(model).items() if _input_signature(value) is not None}
    if not found and _is_functional(model):
        return {SERVING_DEFAULT: "call"}
    if not found:
        raise InvalidModel(
            f"The model that {spec!r} returned has nothing to serve: no method has an input spec. Decorate one with "
            '@tf.function(input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.float32, name="inputs")]), or let a '
            "Sequential begin with keras.Input."
        )
    return found


def _exported_method(model: Any, signature: str, method: str) -> ExportedMethod:
    function = getattr(model, method, None)
    if function is None or not callable(function):
        usable = ", ".join(
            repr(m) for kind in type(model).__mro__ for m, v in vars(kind).items() if _input_signature(v)
        )
        raise InvalidModel(
            f"Signature {signature!r} names the method {method!r}, which {type(model).__name__} does not have; methods "
            f"with an input spec: {usable or ('call' if _is_functional(model) else 'none')}."
        )
    specs = _input_signature(function)
    if specs is not None:
        return ExportedMethod(signature, function, _input_names(function, specs))
    if method == "call" and _is_functional(model):
        return _functional_call(model, signature)
    raise InvalidModel(
        f"Signature {signature!r} names the method {method!r} of {type(model).__name__}, which has no input spec, so "
        "clients could not know what to send: decorate it with @tf.function(input_signature=[tf.TensorSpec(shape, "
        "dtype, name=...)])."
    )


def _functional_call(model: Any, signature: str) -> ExportedMethod:
    """The call of a Sequential or functional model, with its inputs' own names, and without training behaviour."""
    import keras
    import tensorflow as tf

    structure = getattr(model, "input", None) if isinstance(getattr(model, "input", None), dict) else model.inputs
    flat = keras.tree.flatten(structure)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in flat]

    @tf.function(input_signature=specs)  # type: ignore[untyped-decorator]
    def serve(*tensors: Any) -> Any:
        inputs = tensors[0] if len(tensors) == 1 else keras.tree.pack_sequence_as(structure, tensors)
        return model(inputs, training=False)

    return ExportedMethod(signature, serve, tuple(spec.name for spec in specs))


def _input_signature(function: Any) -> Any:
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


def _error_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {reason(error)}" if str(error) else type(error).__name__


def _type_phrase(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
