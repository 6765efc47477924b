"""The user's own modules: how they are found, imported, and told apart by what is in them.

A spec names one: `package.module`, a recipe; or `package.module:function`, which makes a model.
"""

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from slipway_entry import PACKAGES, ROOT
from tasks.errors import InvalidModel
from tasks.limits import PROJECT_SETTING
from tasks.savedmodel.messages import reason

log = logging.getLogger(__name__)

WITH_TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"}  # with 1 tf.keras is Keras 2
HERE = Path()  # the folder that a process works in: its project unless it is told another
_LIBRARIES = ("tensorflow", "keras", "numpy")
# Slipway's own packages that affect the weights that a training ends with.
_MAKES_WEIGHTS = ("data", "training")


def named(spec: str) -> str:
    """What a spec is called in messages."""
    return f"Factory {spec!r}" if ":" in spec else f"Recipe {spec!r}"


def require_form(spec: str) -> None:
    """Raise unless `spec` is a module's name, or that of a function in one.

    Raises:
        InvalidModel: says what was expected.
    """
    module, colon, function = spec.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *([function] if colon else [])]):
        raise InvalidModel(
            f"{spec!r} names neither a recipe, package.module such as shop.prices, nor a factory, "
            "package.module:function such as shop.prices:make."
        )


def require_visible(spec: str, project: Path) -> None:
    """Raise if `spec` may mean a module of the user's own that one of Slipway's packages hides.

    Raises:
        InvalidModel: says what to rename.
    """
    name = spec.partition(":")[0]
    if hidden := _hidden(name, project):
        raise InvalidModel(f"{named(spec)} cannot be taken from {hidden}: {_rename(name)}")


def import_module(spec: str, project: Path) -> ModuleType:
    """The module that `spec` names, imported, with Keras on TensorFlow.

    Args:
        project: folder in which it is looked for last.

    Raises:
        InvalidModel: there is none, or importing it fails.
    """
    require_form(spec)
    name = spec.partition(":")[0]
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
            raise InvalidModel(f"{named(spec)} needs {hidden}, which cannot be imported: {_rename(missing)}") from None
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{missing}."):
            raise _missing(missing, spec, project) from None
        raise InvalidModel(f"The module of {_lower(spec)} cannot be imported: {error_text(error)}.") from error
    except Exception as error:
        raise InvalidModel(f"The module of {_lower(spec)} cannot be imported: {error_text(error)}.") from error


def defines(spec: str, name: str, project: Path = HERE) -> bool:
    """Whether the module of `spec` may define `name` at its top level; told from its source, without running it.

    Raises:
        InvalidModel: there is no such module.
    """
    source = _source(spec, project)
    try:
        body = ast.parse(source.read_bytes()).body if source is not None else []
    except SyntaxError:
        return True  # importing it says what is wrong
    return any(name in names or "*" in names for names in map(_bound, body))


def function_of(spec: str, name: str, project: Path = HERE) -> str:
    """Where the function `name` of the module of `spec` is found, as `package.module:function`.

    If the module has it from another by `from … import`, that is where: it may do without what the module needs.
    """
    module, source = spec.partition(":")[0], _source(spec, project)
    package = module if source is not None and source.name == "__init__.py" else module.rpartition(".")[0]
    for statement in ast.parse(source.read_bytes()).body if source is not None else []:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    relative = "." * statement.level + (statement.module or "")
                    return f"{importlib.util.resolve_name(relative, package)}:{alias.name}"
    return f"{module}:{name}"


def _bound(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {alias.asname or alias.name for alias in names}
        case ast.Assign() | ast.AnnAssign():
            return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        case ast.If() | ast.Try() | ast.With():
            return {"*"}
    return set()


def code_version(spec: str, project: Path = HERE) -> str:
    """Identity of the code that makes and trains the model: `sha256:` and 64 hex digits. Nothing of it is run.

    It covers the whole package of the recipe or factory (its module alone, if it lies in none or is Slipway's own),
    Slipway's own modules that load data and train, and the versions of Slipway, TensorFlow, Keras and NumPy. It does
    not depend on git or on the folder.

    Raises:
        InvalidModel: no such module.
    """
    own = Path(__file__).parents[1]
    sources = {
        f"slipway/{path.relative_to(own).as_posix()}": path
        for package in _MAKES_WEIGHTS
        for path in sorted((own / package).glob("*.py"))
    }
    source = _source(spec, project)
    if source is not None:
        parents = spec.partition(":")[0].count(".") + (source.name == "__init__.py")
        top = source.parents[max(parents - 1, 0)]
        whole = parents > 0 and own not in source.parents
        found = sorted(top.rglob("*.py")) if whole else [source]
        sources |= {f"recipe/{path.relative_to(top).as_posix()}": path for path in found}
    digest = hashlib.sha256()
    for name, path in sorted(sources.items()):
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for library in ("slipway", *_LIBRARIES):
        digest.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _source(spec: str, project: Path) -> Path | None:
    """The file of the module that `spec` names, None if it has no source; found as Python finds it, but not imported.

    Raises:
        InvalidModel: there is no such module.
    """
    require_form(spec)
    path: list[str] | None = None
    for number, part in enumerate(parts := spec.partition(":")[0].split("."), 1):
        name = ".".join(parts[:number])
        if number == 1 and part in PACKAGES:
            path = [str(ROOT)]
        folders = [*sys.path, str(project.absolute())] if path is None else path
        found = PathFinder.find_spec(name, folders)
        if found is None and number == 1 and part in sys.modules:
            found = importlib.util.find_spec(part)
        if found is None:
            raise _missing(name, spec, project)
        path = [*(found.submodule_search_locations or [])]
    return Path(found.origin) if found and found.origin and found.origin.endswith(".py") else None


def _missing(module: str, spec: str, project: Path) -> InvalidModel:
    here = str(project.absolute())
    # The stack sets SLIPWAY_PROJECT for the runs of its deployments.
    place = "?" if project == HERE else f", which SLIPWAY_PROJECT names? {PROJECT_SETTING}"
    return InvalidModel(
        f"There is no module {module!r} for {_lower(spec)}: is it spelt right, and installed or in {here}{place}"
    )


def _lower(spec: str) -> str:
    text = named(spec)
    return text[0].lower() + text[1:]


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


def error_text(error: BaseException) -> str:
    """An error of the user's code in one line."""
    return f"{type(error).__name__}: {reason(error)}" if str(error) else type(error).__name__


def type_phrase(value: object) -> str:
    """What a value is, as a sentence needs it."""
    return "None" if value is None else f"an object of type {type(value).__name__}"
