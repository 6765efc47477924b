"""Which operations a SavedModel's graph holds: none that touches files, the network or runs code may be served.

A model server executes whatever graph it is given, with its own rights. What every SavedModel legitimately holds is
told apart from the rest by where it stands and where its file names come from: the saver's own operations, and tables
that are filled from the model's assets.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from tasks.errors import ForbiddenOps, InvalidSavedModel
from tasks.layout import is_plain_path
from tasks.protos import AssetFileDef, DataType, MetaGraphDef, SavedModel

if TYPE_CHECKING:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

# Found by going through all 1,910 operations of TensorFlow 2.21; a test goes through those of the installed one.
_FILES = (
    "CSVDataset CSVDatasetV2 CacheDataset CacheDatasetV2 CalibrationStatisticsSaver CreateSummaryDbWriter "
    "CreateSummaryFileWriter DTensorRestoreV2 DatasetToTFRecord DebugIdentity DebugIdentityV2 DebugIdentityV3 "
    "DebugNanCount DebugNumericSummary DistributedSave DumpTensor ExperimentalCSVDataset "
    "ExperimentalDatasetToTFRecord ExperimentalLMDBDataset ExperimentalMatchingFilesDataset ExperimentalSqlDataset "
    "FileSystemSetConfiguration FixedLengthRecordDataset FixedLengthRecordDatasetV2 FixedLengthRecordReader "
    "FixedLengthRecordReaderV2 GenerateVocabRemapping InitializeTableFromTextFile InitializeTableFromTextFileV2 "
    "LMDBDataset LMDBReader ListSnapshotChunksDataset LoadAndRemapMatrix LoadDataset MatchingFiles "
    "MatchingFilesDataset MergeV2Checkpoints ReadFile RecordInput Restore RestoreSlice RestoreV2 Save SaveDataset "
    "SaveDatasetV2 SaveSlices SaveV2 Skipgram SnapshotChunkDataset SnapshotDataset SnapshotDatasetReader "
    "SnapshotDatasetV2 SnapshotNestedDatasetReader SqlDataset TFRecordDataset TFRecordDatasetV2 TFRecordReader "
    "TFRecordReaderV2 TextLineDataset TextLineReader TextLineReaderV2 WholeFileReader WholeFileReaderV2 WriteFile "
)
_NETWORK = (
    "DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 DataServiceDatasetV4 RegisterDataset "
    "RegisterDatasetV2 RemoteCall RpcCall RpcClient RpcServer RpcServerRegister RpcServerStart "
)
# Python, native functions by name, and graphs that come as data and so escape this scan.
_CODE = "DatasetFromGraph EagerPyFunc PyFunc PyFuncStateless XlaCustomCall XlaCustomCallV2"
FORBIDDEN = frozenset(f"{_FILES} {_NETWORK} {_CODE}".split())
_WRITES_CHECKPOINT = frozenset({"MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2"})
_READS_CHECKPOINT = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
# Operations that are forbidden by the value of one attribute: unless it is one of these.
HARMLESS_VALUES = {
    "DecodeProtoV2": ("descriptor_source", ("", "local://")),  # else the name of a file, or bytes://
    "EncodeProto": ("descriptor_source", ("", "local://")),
    "FixedUnigramCandidateSampler": ("vocab_file", ("",)),
    "PrintV2": ("output_stream", ("stderr", "stdout", "log(info)", "log(warning)", "log(error)")),  # else a file
}
_FILE_NAME_INPUT = {"InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1} | dict.fromkeys(
    _READS_CHECKPOINT, 0
)
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "saved_model_train_op")
_ANYTHING = frozenset({""})  # origin of a value that cannot be followed; node that runs whatever calls it


def require_harmless(directory: Path, allowed: Collection[str]) -> None:
    """Refuse the SavedModel in `directory` if its graph holds an operation that touches files or runs code.

    Args:
        allowed: names of operations that may be there all the same.

    Raises:
        InvalidSavedModel: there is no `saved_model.pb`, it cannot be read, or another form of it lies beside.
        ForbiddenOps: with the operation, its node and its function.
    """
    found = forbidden(read_saved_model(directory), allowed)
    if found:
        names = ",".join(sorted({use.op for use in found}))
        shown = "; ".join(str(use) for use in found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        raise ForbiddenOps(
            f"The graph in {directory} holds operations that touch files or run code, with the model server's own "
            f"rights: {shown}. Export the model without them; if they are meant to be there, allow them by name where "
            f"it is published and where it is served: SLIPWAY_ALLOWED_OPS={names}."
        )


def read_saved_model(directory: Path) -> SavedModel:
    """The SavedModel in `directory`.

    Raises:
        InvalidSavedModel: there is no `saved_model.pb`, it cannot be read, or another form of it lies beside.
    """
    for other in ("saved_model.cpb", "saved_model.pbtxt"):  # TensorFlow reads some of these first
        if (directory / other).exists():
            raise InvalidSavedModel(f"{directory} holds {other}: only saved_model.pb can be served. Export it anew.")
    try:
        found = SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    except FileNotFoundError:
        raise InvalidSavedModel(
            f"{directory} is no SavedModel: it holds no saved_model.pb. Give the folder that an export wrote."
        ) from None
    except DecodeError:
        raise InvalidSavedModel(f"{directory}/saved_model.pb cannot be read: it was cut off, or is none.") from None
    if not found.meta_graphs:
        raise InvalidSavedModel(f"{directory}/saved_model.pb holds no graph: it was cut off. Export it anew.")
    return found


@dataclass(frozen=True)
class Use:
    """An operation that may not be there."""

    op: str
    node: str
    function: str | None  # None: the graph itself

    def __str__(self) -> str:
        return f"{self.op} in node {self.node!r} of {f'function {self.function!r}' if self.function else 'the graph'}"


def forbidden(model: SavedModel, allowed: Collection[str] = ()) -> list[Use]:
    """Every forbidden operation in any graph or function of `model`, but for those allowed by name."""
    found = []
    for meta_graph in model.meta_graphs:
        graph = _Graph(meta_graph)
        found += [
            Use(node.op, node.name, function)
            for function, node in graph.nodes
            if node.op not in allowed and _is_forbidden(graph, function, node)
        ]
    return found


def _is_forbidden(graph: "_Graph", function: str | None, node: "NodeDef") -> bool:
    if node.op in HARMLESS_VALUES:
        attribute, harmless = HARMLESS_VALUES[node.op]
        return attribute in node.attr and node.attr[attribute].s.decode("utf-8", "replace") not in harmless
    if node.op not in FORBIDDEN:
        return False
    if node.op in _WRITES_CHECKPOINT | _READS_CHECKPOINT and graph.never_runs(function, node):
        return False
    position = _FILE_NAME_INPUT.get(node.op)
    if position is None or len(node.input) <= position:
        return True
    harmless_files = graph.checkpoint if node.op in _READS_CHECKPOINT else graph.assets
    return not graph.origins(function, node.input[position]) <= harmless_files


class _Graph:
    """A meta graph, with who calls whom and where values come from."""

    def __init__(self, meta_graph: MetaGraphDef) -> None:
        definition = meta_graph.graph_def
        self.nodes: list[tuple[str | None, NodeDef]] = [
            *((None, node) for node in definition.node),
            *((f.signature.name, node) for f in definition.library.function for node in f.node_def),
        ]
        self._named = {(function, node.name): node for function, node in self.nodes}
        self._arguments = {f.signature.name: list(f.signature.input_arg) for f in definition.library.function}
        self._callers = self._find_callers(meta_graph)
        self._runs = self._needed_by(_roots(meta_graph))
        self._fed = {name for s in meta_graph.signature_def.values() for name in _tensor_names(s.inputs.values())}
        # Tensors that the server itself feeds when it loads, and that no client can feed.
        self.assets = frozenset(_asset_tensors(meta_graph) - self._fed)
        self.checkpoint = frozenset({meta_graph.saver_def.filename_tensor_name} - {""} - self._fed)

    def never_runs(self, function: str | None, node: "NodeDef") -> bool:
        """Whether a server never runs this node: it loads, initialises and answers, but writes no checkpoint.

        A node in a function that nothing calls counts as one that may run.
        """
        above = {node.name} if function is None else self._graph_nodes_above(function)
        return bool(above) and not above & (self._runs | _ANYTHING)

    def origins(self, function: str | None, tensor: str) -> frozenset[str]:
        """The graph's tensors that a value is taken from unchanged, through functions and variables."""
        found: set[str] = set()
        waiting, seen = [(function, tensor)], set()
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            if here[0] is None and _full(here[1]) in self.assets | self.checkpoint:
                found.add(_full(here[1]))
                continue
            sources = self._sources(*here)
            if not sources:
                return _ANYTHING
            waiting += sources
        return frozenset(found) or _ANYTHING

    def _sources(self, function: str | None, tensor: str) -> list[tuple[str | None, str]]:
        """Where a value is taken from unchanged, one step back; nothing where that is not known."""
        name, _, output = tensor.partition(":")
        if function is not None and not output:
            return self._argument_sources(function, name)
        node = self._named.get((function, name))
        if node is None or not node.input or (function is None and _full(tensor) in self._fed):
            return []
        if node.op == "Identity":
            return [(function, node.input[0])]
        if node.op == "ReadVariableOp" and function is None:
            return self._variable_sources(node.input[0])
        return []

    def _argument_sources(self, function: str, argument: str) -> list[tuple[str | None, str]]:
        """What the callers of `function` give it as `argument`."""
        arguments = self._arguments[function]
        names = [a.name for a in arguments]
        if argument not in names or any(a.number_attr or a.type_list_attr for a in arguments):
            return []
        position = names.index(argument)
        found: list[tuple[str | None, str]] = []
        for caller, node in self._callers[function]:
            if node is None or (node.op not in _CALLS and node.op != function) or len(node.input) <= position:
                return []
            found.append((caller, node.input[position]))
        return found

    def _variable_sources(self, handle: str) -> list[tuple[str | None, str]]:
        """What is assigned to a variable that nothing but the graph itself assigns; asset paths lie in such ones."""
        variable = self._named.get((None, handle))
        if variable is None or variable.op != "VarHandleOp":
            return []
        shared = variable.attr["shared_name"].s
        aliases = [n for _, n in self.nodes if n.op == "VarHandleOp" and n.attr["shared_name"].s == shared]
        literal = any(n.attr["dtype"].type == DataType.DT_RESOURCE for _, n in self.nodes if n.op.endswith("Const"))
        found: list[tuple[str | None, str]] = []
        for function, user in self.nodes:
            if function is not None or _full(handle) not in map(_full, user.input):
                continue
            if user.op == "AssignVariableOp" and len(user.input) > 1:
                found.append((None, user.input[1]))
            elif user.op not in ("ReadVariableOp", "VarIsInitializedOp"):
                return []
        return found if len(aliases) == 1 and not literal else []

    def _find_callers(self, meta_graph: MetaGraphDef) -> "dict[str, list[tuple[str | None, NodeDef | None]]]":
        """By function, the nodes that name it, each with the function it stands in; without a node: not by a call."""
        callers: dict[str, list[tuple[str | None, NodeDef | None]]] = {name: [] for name in self._arguments}
        for function, node in self.nodes:
            for name in {node.op, *_named_functions(node.attr)} & callers.keys():
                callers[name].append((function, node))
        for gradient in meta_graph.graph_def.library.gradient:
            if gradient.gradient_func in callers:
                callers[gradient.gradient_func].append((gradient.function_name, None))
        for function in meta_graph.graph_def.library.function:
            if "api_implements" in function.attr:  # TensorFlow may put it in another's place
                callers[function.signature.name].append((None, None))
        return callers

    def _graph_nodes_above(self, function: str) -> set[str]:
        """The graph's own nodes that run `function`, through any number of others."""
        found: set[str] = set()
        waiting, seen = [function], set()
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            for caller, node in self._callers.get(here, []):
                if caller is not None:
                    waiting.append(caller)
                else:
                    found.add(node.name if node else "")
        return found

    def _needed_by(self, tensors: Iterable[str]) -> set[str]:
        """The graph's own nodes that must run for these tensors or operations."""
        found: set[str] = set()
        waiting = [_node_of(t) for t in tensors]
        while waiting:
            node = self._named.get((None, waiting.pop()))
            if node is not None and node.name not in found:
                found.add(node.name)
                waiting += [_node_of(i) for i in node.input]
        return found


def _roots(meta_graph: MetaGraphDef) -> set[str]:
    """What a server runs: the signatures' outputs, the initialisers, and the restoring of variables."""
    roots = {meta_graph.saver_def.restore_op_name}
    for signature in meta_graph.signature_def.values():
        roots |= _tensor_names(signature.outputs.values())
    for name in _INIT_COLLECTIONS:
        if name in meta_graph.collection_def:
            roots |= set(meta_graph.collection_def[name].node_list.value)
    return roots


def _tensor_names(infos: "Iterable[TensorInfo]") -> set[str]:
    names = set()
    for info in infos:
        sparse = info.coo_sparse
        names |= {info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name}
        names |= _tensor_names(info.composite_tensor.components)
    return {_full(name) for name in names if name}


def _asset_tensors(meta_graph: MetaGraphDef) -> set[str]:
    """Tensors that are fed with the paths of assets, as far as these lie in the assets' folder."""
    assets = list(meta_graph.asset_file_def)
    for value in meta_graph.collection_def["saved_model_assets"].any_list.value if not assets else ():
        assets.append(AssetFileDef.FromString(value.value))
    return {_full(asset.tensor_info.name) for asset in assets if is_plain_path(asset.filename)}


def _named_functions(attributes: "Mapping[str, AttrValue]") -> set[str]:
    names = set()
    for value in attributes.values():
        for function in (value.func, *value.list.func):
            names |= {function.name, *_named_functions(function.attr)}
    return names


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _full(tensor: str) -> str:
    """A tensor's name with its output's number, which is left out where it is 0."""
    return tensor if ":" in tensor else f"{tensor}:0"
