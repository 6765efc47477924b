"""SavedModels on disk: what they hold, and whether TensorFlow Serving could serve them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from google.protobuf.message import DecodeError

from tasks.errors import InvalidSavedModel
from tasks.records import SignatureSpec, TensorSpec
from tasks.wire.dtypes import dtype_name
from tasks.wire.protos import MetaGraphDef, SavedModel, SignatureDef, TensorInfo
from tasks.wire.tensors import dimensions

GRAPH = "saved_model.pb"
_OTHER_FORMS = ("saved_model.cpb", "saved_model.pbtxt")  # TensorFlow reads some of these first
SERVE = "serve"
_INTERNAL = "__saved_model_"  # the loader's own signatures, such as the initialisation
_VARIABLE_OPS = {"VarHandleOp", "VariableV2", "Variable"}


@dataclass(frozen=True, eq=False)
class SavedModelFolder:
    """A SavedModel on disk, and what its `saved_model.pb` holds, read once."""

    directory: Path
    content: SavedModel

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The SavedModel in `directory`.

        Raises:
            InvalidSavedModel: there is no `saved_model.pb`, it cannot be read, or another form of it lies beside it.
        """
        path = directory / GRAPH
        if not directory.is_dir():
            raise InvalidSavedModel(
                f"{directory} is not a folder: give the folder of a SavedModel, the one with {GRAPH} in it."
            )
        for other in _OTHER_FORMS:
            if (directory / other).exists():
                raise InvalidSavedModel(f"{directory} holds {other}: only {GRAPH} can be served. Export it anew.")
        if not path.is_file():
            there = _what_lies_there(directory)
            raise InvalidSavedModel(f"{directory} is not a SavedModel: it holds no {GRAPH}{there}.")
        try:
            content = SavedModel.FromString(path.read_bytes())
        except DecodeError:
            raise InvalidSavedModel(
                f"{path} ({path.stat().st_size} bytes) is cut off, or not a SavedModel: copy or export it again."
            ) from None
        if not content.meta_graphs:
            raise InvalidSavedModel(f"{path} holds no graph: it was cut off. Export it anew.")
        return cls(directory, content)

    @property
    def serving_graph(self) -> MetaGraphDef:
        """The graph that TensorFlow Serving loads: the one tagged `serve`.

        Raises:
            InvalidSavedModel: there is none.
        """
        for graph in self.content.meta_graphs:
            if set(graph.meta_info_def.tags) == {SERVE}:
                return graph
        tags = [sorted(graph.meta_info_def.tags) for graph in self.content.meta_graphs]
        raise InvalidSavedModel(
            f"{self.directory / GRAPH} has no graph tagged {SERVE!r}, only {tags}: it was cut off, or exported "
            "for something other than serving."
        )

    @property
    def signatures(self) -> dict[str, SignatureSpec]:
        """What clients can ask of it, by name.

        Raises:
            InvalidSavedModel: it has no graph for serving.
        """
        return {name: _spec(definition) for name, definition in _definitions(self.serving_graph).items()}

    def require_servable(self) -> dict[str, SignatureSpec]:
        """Raise unless it is whole and can be served; returns its signatures.

        Raises:
            InvalidSavedModel: no graph tagged `serve`, no signature, no weights.
        """
        signatures = self.signatures
        if not signatures:
            raise InvalidSavedModel(
                f"{self.directory} has no signature, so clients could ask it nothing: export it with "
                "keras.export.ExportArchive and add_endpoint, or with tf.saved_model.save(…, signatures={…})."
            )
        if any(node.op in _VARIABLE_OPS for node in self.serving_graph.graph_def.node):
            _require_variables(self.directory)
        return signatures


def _what_lies_there(directory: Path) -> str:
    """What lies there instead, if that helps."""
    versions = sorted(p.name for p in directory.iterdir() if p.name.isdigit() and (p / GRAPH).is_file())
    if versions:
        return (
            f", but versions that do ({', '.join(versions[:3])}): give one of these, such as {directory / versions[-1]}"
        )
    keras_files = sorted(p.name for p in directory.glob("*.keras"))
    if keras_files:
        return f", but {keras_files[0]}: load that with Keras and call model.export(folder)"
    return ". Write one with model.export(folder) or keras.export.ExportArchive"


def _require_variables(directory: Path) -> None:
    variables = directory / "variables"
    index = variables / "variables.index"
    shards = sorted(p.name for p in variables.glob("variables.data-*-of-*"))
    if not index.is_file() or not index.stat().st_size or not shards:
        raise InvalidSavedModel(
            f"{directory} lacks its weights: {index.relative_to(directory)} or its data is missing. TensorFlow Serving "
            "would load it and then fail every prediction: copy or export it again, whole."
        )
    expected = int(shards[0].rpartition("-of-")[2]) if re.fullmatch(r".*-of-\d+", shards[0]) else len(shards)
    if len(shards) != expected:
        raise InvalidSavedModel(
            f"{directory} lacks some of its weights: {len(shards)} of {expected} files variables/variables.data-… are "
            "there. Copy or export it again, whole."
        )


def _definitions(graph: MetaGraphDef) -> dict[str, SignatureDef]:
    return {n: graph.signature_def[n] for n in sorted(graph.signature_def) if not n.startswith(_INTERNAL)}


def _spec(definition: SignatureDef) -> SignatureSpec:
    return SignatureSpec(
        inputs={name: _tensor(definition.inputs[name]) for name in sorted(definition.inputs)},
        outputs={name: _tensor(definition.outputs[name]) for name in sorted(definition.outputs)},
    )


def _tensor(info: TensorInfo) -> TensorSpec:
    return TensorSpec(dtype_name(info.dtype), dimensions(info.tensor_shape))
