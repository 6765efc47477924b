"""SavedModels on disk: what they hold, and whether TensorFlow Serving could serve them."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from google.protobuf.message import DecodeError

from tasks.errors import InvalidSavedModel
from tasks.records import SignatureSpec, TensorSpec
from tasks.savedmodel.wires import unaskable
from tasks.wire.dtypes import Array, dtype_name
from tasks.wire.protos import MetaGraphDef, SavedModel, SignatureDef, TensorInfo
from tasks.wire.tensors import dimensions, from_proto

GRAPH = "saved_model.pb"
_OTHER_FORMS = ("saved_model.cpb", "saved_model.pbtxt")  # TensorFlow reads some of these first
SERVE = "serve"
_KERAS_FILES = (".keras", ".h5", ".hdf5")
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
        if directory.suffix in _KERAS_FILES and directory.is_file():
            raise InvalidSavedModel(f"{directory} is a Keras file, not a SavedModel. {_export(directory)}.")
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

    def defaults(self, signature: str) -> Mapping[str, Array]:
        """Values of the inputs that a gRPC request may leave out (`SignatureDef.defaults`)."""
        return {name: from_proto(value) for name, value in self.serving_graph.signature_def[signature].defaults.items()}

    def keeping(self, signatures: Collection[str]) -> Self:
        """This model with only these signatures; nothing on disk changes.

        Raises:
            InvalidSavedModel: it has no such signature.
        """
        there = self.signatures
        for name in signatures:
            if name not in there:
                raise InvalidSavedModel(
                    f"{self.directory} has no signature {name!r}, only {', '.join(map(repr, there)) or 'none at all'}."
                )
        content = SavedModel()
        content.CopyFrom(self.content)
        kept = type(self)(self.directory, content)
        for name in there.keys() - signatures:
            del kept.serving_graph.signature_def[name]
        return kept

    def require_servable(self) -> dict[str, SignatureSpec]:
        """Raise unless it is whole and can be served; returns its signatures.

        Raises:
            InvalidSavedModel: no graph tagged `serve`, no signature, no weights; a signature that cannot be asked.
        """
        signatures = self.signatures
        if not signatures:
            raise InvalidSavedModel(
                f"{self.directory} has no signature, so clients could ask it nothing: export it with "
                "keras.export.ExportArchive and add_endpoint, or with tf.saved_model.save(…, signatures={…})."
            )
        for name, definition in _definitions(self.serving_graph).items():
            why = _without_tensor(definition) or unaskable(signatures[name])
            if why is not None:
                others = ", ".join(f"--signature {other}" for other in signatures if other != name)
                raise InvalidSavedModel(
                    f"{self.directory}: signature {name!r} can be asked over neither REST nor gRPC: {why}. Export the "
                    f"model without it, or publish it without it: {others or 'it has no other signature'}."
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
    keras_files = sorted(p for p in directory.iterdir() if p.suffix in _KERAS_FILES)
    if keras_files:
        return f", but the Keras file {keras_files[0].name}. {_export(keras_files[0])}"
    return ". Write one with model.export(folder) or keras.export.ExportArchive"


def _export(file: Path) -> str:
    """How to make a SavedModel of a Keras file."""
    call = f'keras.models.load_model("{file}").export("{file.with_suffix("")}-export")'
    return f"Export it in Python, and give the folder that is then there: {call}"


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
    # An exporter that wrote no shape did not know it: it is not that of a scalar.
    shape = dimensions(info.tensor_shape) if info.HasField("tensor_shape") else None
    return TensorSpec(dtype_name(info.dtype), shape)


def _without_tensor(definition: SignatureDef) -> str | None:
    """Which input or output is made of several tensors, as sparse and ragged ones are: clients name just one."""
    for what, infos in (("input", definition.inputs), ("output", definition.outputs)):
        for name in sorted(infos):
            if not infos[name].name:
                return f"{what} {name!r} is not one tensor, but sparse or ragged"
    return None
