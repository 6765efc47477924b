"""Which operations a SavedModel's graph holds: none that touches files, the network or runs code may be served.

A model server executes any graph that it is given, with its own rights. Every SavedModel legitimately holds some that
read files, and two things distinguish these from the rest: what runs them, and where their file names come from. While
it loads, and only then, a server feeds the saver's tensor with the checkpoint's path and runs the restore operation,
and feeds the assets' tensors with their paths and runs the initialiser (tensorflow/cc/saved_model/loader.cc). In what a
client runs later, the same tensors hold what the SavedModel's author wrote into them, which may be any path: so nothing
that a signature reaches may read a file, wherever its name comes from.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tasks.errors import ForbiddenOps
from tasks.files import is_plain_path
from tasks.savedmodel.read import SavedModelFolder
from tasks.wire.dtypes import DataType
from tasks.wire.protos import AssetFileDef, AttrValue, MetaGraphDef, NodeDef, SavedModel, TensorInfo

# Found by going through all 1,910 operations of TensorFlow 2.21; a test goes through those of the installed one.
_FILES = (
    "CSVDataset CSVDatasetV2 CacheDataset CacheDatasetV2 CalibrationStatisticsSaver CreateSummaryDbWriter "
    "CreateSummaryFileWriter DTensorRestoreV2 DatasetToTFRecord DebugIdentity DebugIdentityV2 DebugIdentityV3 "
    "DebugNanCount DebugNumericSummary DistributedSave DumpTensor ExperimentalCSVDataset "
    "ExperimentalDatasetToTFRecord ExperimentalLMDBDataset ExperimentalMatchingFilesDataset ExperimentalSqlDataset "
    "FileSystemSetConfiguration FixedLengthRecordDataset FixedLengthRecordDatasetV2 FixedLengthRecordReader "
    "FixedLengthRecordReaderV2 GenerateVocabRemapping ImmutableConst InitializeTableFromTextFile "
    "InitializeTableFromTextFileV2 LMDBDataset LMDBReader ListSnapshotChunksDataset LoadAndRemapMatrix LoadDataset "
    "MatchingFiles MatchingFilesDataset MergeV2Checkpoints ReadFile RecordInput Restore RestoreSlice RestoreV2 Save "
    "SaveDataset SaveDatasetV2 SaveSlices SaveV2 Skipgram SnapshotChunkDataset SnapshotDataset SnapshotDatasetReader "
    "SnapshotDatasetV2 SnapshotNestedDatasetReader SqlDataset StoreMinibatchStatisticsInFdo TFRecordDataset "
    "TFRecordDatasetV2 TFRecordReader TFRecordReaderV2 TextLineDataset TextLineReader TextLineReaderV2 "
    "WholeFileReader WholeFileReaderV2 WriteFile "
)
_NETWORK = (
    "ConnectTPUEmbeddingHosts Copy CopyHost DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 "
    "DataServiceDatasetV4 RegisterDataset RegisterDatasetV2 RemoteCall RpcCall RpcClient RpcServer RpcServerRegister "
    "RpcServerStart "
)
# Python; native functions by name; graphs and modules that are data, which this scan does not see; the server's end.
_CODE = (
    "Abort DatasetFromGraph DeserializeIterator EagerPyFunc MlirPassthroughOp PyFunc PyFuncStateless WorkerHeartbeat "
    "XlaCallModule XlaCustomCall XlaCustomCallV2 _TPUCompileMlir _XlaHostComputeMlir"
)
FORBIDDEN = frozenset(f"{_FILES} {_NETWORK} {_CODE}".split())
_WRITES_CHECKPOINT = frozenset({"MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2"})
_READS_CHECKPOINT = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
_FILLS_TABLE = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
# Operations that are forbidden by the value of one attribute: unless it is one of these.
HARMLESS_VALUES = {
    "DecodeProtoV2": ("descriptor_source", ("", "local://")),  # else the name of a file, or bytes://
    "EncodeProto": ("descriptor_source", ("", "local://")),
    "FixedUnigramCandidateSampler": ("vocab_file", ("",)),
    "PrintV2": ("output_stream", ("stderr", "stdout", "log(info)", "log(warning)", "log(error)")),  # else a file
}
_FILE_NAME_INPUT = dict.fromkeys(_FILLS_TABLE, 1) | dict.fromkeys(_READS_CHECKPOINT, 0)
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_CLIENT, _INITIALISER, _RESTORE = "client", "initialiser", "restore"  # what runs a node
_INITIALISERS = ("saved_model_main_op", "legacy_init_op", "saved_model_train_op")  # names of collections
_INIT_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")
WITHOUT_OUTPUT = _FILLS_TABLE | {"NoOp", "InitializeTable", "InitializeTableV2"}
_WRITES_VARIABLE = ("Assign", "ResourceScatter", "ResourceStridedSlice")  # how these operations' names begin
_FOLLOWED = frozenset(
    ["AssignVariableOp", "Const", "Identity", "Placeholder", "PlaceholderWithDefault", "ReadVariableOp", "VarHandleOp"]
)
# The operations that this scan knows by name: a function of the same name would be taken for the operation.
_KNOWN = FORBIDDEN | HARMLESS_VALUES.keys() | WITHOUT_OUTPUT | _CALLS | _FOLLOWED
_PLAIN_NAME = re.compile(r"[\w.>/\\-]+", re.ASCII)  # another might be read as a node and its output
_NODE_OUTPUT = re.compile(r"\w+:\d+", re.ASCII)  # in functions; `argument:0` is the argument itself
_COUNTED = re.compile(r"_\d+$")  # what an exporter adds to an asset's name if another has the same
_ANYTHING = frozenset({""})  # the origin of a value that cannot be traced; also, a caller that cannot be named


def require_harmless(model: SavedModelFolder, allowed: Collection[str]) -> None:
    """Raise if a graph of the SavedModel holds an operation that touches files or runs code.

    Args:
        allowed: names of operations that are allowed to be there.

    Raises:
        ForbiddenOps: with the operation, its node and its function.
    """
    found = forbidden(model.content, allowed)
    if found:
        names = ",".join(sorted({use.op for use in found}))
        shown = "; ".join(str(use) for use in found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        raise ForbiddenOps(
            f"The graph in {model.directory} holds operations that touch files or run code, with the model server's "
            f"own rights: {shown}. Export the model without them; if they are meant to be there, allow them by name "
            f"where it is published and where it is served: SLIPWAY_ALLOWED_OPS={names}."
        )


@dataclass(frozen=True)
class Use:
    """Where a forbidden operation is used."""

    op: str
    node: str
    function: str | None  # None: the graph itself

    def __str__(self) -> str:
        return f"{self.op} in node {self.node!r} of {f'function {self.function!r}' if self.function else 'the graph'}"


def forbidden(model: SavedModel, allowed: Collection[str] = ()) -> list[Use]:
    """Every forbidden operation in any graph or function of `model`, except those allowed by name."""
    found = []
    for meta_graph in model.meta_graphs:
        graph = _Graph(meta_graph)
        found += [
            Use(node.op, node.name, function)
            for function, node in graph.nodes
            if node.op not in allowed and _is_forbidden(graph, function, node)
        ]
    return found


def _is_forbidden(graph: "_Graph", function: str | None, node: NodeDef) -> bool:
    if node.op in HARMLESS_VALUES:
        attribute, harmless = HARMLESS_VALUES[node.op]
        if attribute not in node.attr:
            return False
        value = node.attr[attribute]  # in a function it may be a placeholder, whose value each caller gives
        return value.WhichOneof("value") != "s" or value.s.decode("utf-8", "replace") not in harmless
    if node.op not in FORBIDDEN:
        return False
    run_by = graph.run_by(function, node)
    if node.op in _WRITES_CHECKPOINT | _READS_CHECKPOINT and not run_by:
        return False
    position = _FILE_NAME_INPUT.get(node.op)
    if position is None or len(node.input) <= position:
        return True
    fills_table = node.op in _FILLS_TABLE
    if not run_by <= {_INITIALISER if fills_table else _RESTORE}:
        return True
    return not graph.origins(function, node.input[position]) <= (graph.assets if fills_table else graph.checkpoint)


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
        self._misleading = self._has_misleading_names(meta_graph)
        self._callers = self._find_callers(meta_graph)
        self._cones = {what: self._needed_by(roots) for what, roots in self._roots(meta_graph).items()}
        self._fed = {name for s in meta_graph.signature_def.values() for name in _tensor_names(s.inputs.values())}
        # Tensors that the server itself feeds when it loads, and that no client can feed.
        self.assets = frozenset(self._asset_tensors(meta_graph) - self._fed)
        self.checkpoint = frozenset(self._checkpoint_tensors(meta_graph) - self._fed)

    def run_by(self, function: str | None, node: NodeDef) -> set[str]:
        """What makes a server run this node, of `_CLIENT`, `_INITIALISER` and `_RESTORE`; empty if nothing does.

        A node in a function that nothing calls counts as one that a client runs, and so does every node of a graph
        whose names mislead.
        """
        if self._misleading:
            return {_CLIENT}
        above = {node.name} if function is None else self._graph_nodes_above(function)
        if not above or above & _ANYTHING:
            return {_CLIENT}
        return {what for what, cone in self._cones.items() if above & cone}

    def origins(self, function: str | None, tensor: str) -> frozenset[str]:
        """The graph's tensors that a value is taken from unchanged, through functions and variables."""
        found: set[str] = set()
        waiting, seen = [(function, tensor)], set()
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            if here[0] is None and _full_name(here[1]) in self.assets | self.checkpoint:
                found.add(_full_name(here[1]))
                continue
            sources = self._sources(*here)
            if not sources:
                return _ANYTHING
            waiting += sources
        return frozenset(found) or _ANYTHING

    def _sources(self, function: str | None, tensor: str) -> list[tuple[str | None, str]]:
        """Where a value comes from unchanged, one step back; empty if that is not known."""
        name, _, output = tensor.partition(":")
        if function is not None and not _NODE_OUTPUT.fullmatch(output):
            return self._argument_sources(function, tensor)
        node = self._named.get((function, name))
        if node is None or not node.input or (function is None and _full_name(tensor) in self._fed):
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
            if node is None or not _only_calls(node, function) or len(node.input) <= position:
                return []
            found.append((caller, node.input[position]))
        return found

    def _variable_sources(self, handle: str) -> list[tuple[str | None, str]]:
        """What is assigned to a variable that only the graph itself assigns, as those that hold asset paths."""
        variable = self._named.get((None, handle))
        if variable is None or variable.op != "VarHandleOp":
            return []
        shared = variable.attr["shared_name"].s
        handles = [n for _, n in self.nodes if "VarHandle" in n.op]
        if any(n is not variable and _may_share(n, shared) for n in handles):
            return []
        found: list[tuple[str | None, str]] = []
        for function, user in self.nodes:
            if not _may_write_strings(user):
                continue
            written = self._variables_behind(function, user.input[0]) if user.input else None
            if written is None:
                return []  # a handle that comes from elsewhere may be that of any variable
            if any(other is variable for other in written):
                if function is not None or user.op != "AssignVariableOp" or len(user.input) < 2:
                    return []
                found.append((None, user.input[1]))
        return found

    def _variables_behind(self, function: str | None, handle: str) -> list[NodeDef] | None:
        """The variables whose handle this may be; None if it cannot be followed."""
        found: list[NodeDef] = []
        waiting, seen = [(function, handle)], set()
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            node = self._named.get((here[0], _node_of(here[1])))
            if node is not None and node.op == "VarHandleOp":
                found.append(node)
                continue
            sources = self._sources(*here)
            if not sources:
                return None
            waiting += sources
        return found

    def _has_misleading_names(self, meta_graph: MetaGraphDef) -> bool:
        """Whether a name may stand for something other than what it seems to. TensorFlow refuses such graphs, too."""
        functions = [f.signature.name for f in meta_graph.graph_def.library.function]
        names = {n.name for _, n in self.nodes} | {a.name for given in self._arguments.values() for a in given}
        return (
            len(self._named) < len(self.nodes)
            or len(self._arguments) < len(functions)
            or not _KNOWN.isdisjoint(functions)
            or not all(map(_PLAIN_NAME.fullmatch, names))
        )

    def _find_callers(self, meta_graph: MetaGraphDef) -> dict[str, list[tuple[str | None, NodeDef | None]]]:
        """By function, the nodes that name it, each with the function it is in; None for what is not a call."""
        callers: dict[str, list[tuple[str | None, NodeDef | None]]] = {name: [] for name in self._arguments}
        for function, node in self.nodes:
            for name in {node.op, *_named_functions(node.attr)} & callers.keys():
                callers[name].append((function, node))
        for gradient in meta_graph.graph_def.library.gradient:
            if gradient.gradient_func in callers:
                callers[gradient.gradient_func].append((gradient.function_name, None))
        for function in meta_graph.graph_def.library.function:
            given = {a.name: a.default_value for a in function.signature.attr}  # to callers that give no value
            for name in _named_functions({**function.attr, **given}) & callers.keys():
                callers[name].append((function.signature.name, None))
            if "api_implements" in function.attr:  # TensorFlow may substitute it for another
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

    def _roots(self, meta_graph: MetaGraphDef) -> dict[str, set[str]]:
        """What a server runs: for clients the signatures' outputs, and while it loads initialisers and restore."""
        initialisers: set[str] = set()
        for name in _INITIALISERS:
            if name in meta_graph.collection_def:
                initialisers |= set(meta_graph.collection_def[name].node_list.value)
        fetched: set[str] = set()
        for name, signature in meta_graph.signature_def.items():
            outputs = _tensor_names(signature.outputs.values())
            if name in _INIT_SIGNATURES:
                initialisers |= outputs
                outputs = {tensor for tensor in outputs if self._has_output(tensor)}  # a client may name it, too
            fetched |= outputs
        return {_CLIENT: fetched, _INITIALISER: initialisers, _RESTORE: {meta_graph.saver_def.restore_op_name}}

    def _has_output(self, tensor: str) -> bool:
        node = self._named.get((None, _node_of(tensor)))
        return node is None or node.op not in WITHOUT_OUTPUT

    def _asset_tensors(self, meta_graph: MetaGraphDef) -> set[str]:
        """Tensors that are fed with assets' paths, if these lie in the assets' folder.

        Its own value, if it is not fed, must name the same file: TensorFlow 2 leaves it empty, and
        TensorFlow 1 left the path from which the file was copied.
        """
        assets = list(meta_graph.asset_file_def)
        for value in meta_graph.collection_def["saved_model_assets"].any_list.value if not assets else ():
            assets.append(AssetFileDef.FromString(value.value))
        wrong = {_full_name(a.tensor_info.name) for a in assets if not self._is_asset(a.tensor_info.name, a.filename)}
        return {_full_name(asset.tensor_info.name) for asset in assets} - wrong

    def _is_asset(self, tensor: str, filename: str) -> bool:
        own = self._own_values(tensor)
        names = {re.split(r"[/\\]", value)[-1] for value in own or ()}
        return is_plain_path(filename) and own is not None and names <= {filename, _COUNTED.sub("", filename)}

    def _checkpoint_tensors(self, meta_graph: MetaGraphDef) -> set[str]:
        """The tensor that is fed with the checkpoint's path, unless it holds a path that leads elsewhere."""
        tensor = meta_graph.saver_def.filename_tensor_name
        own = self._own_values(tensor)
        return {_full_name(tensor)} if own is not None and all(map(is_plain_path, own)) else set()

    def _own_values(self, tensor: str) -> list[str] | None:
        """The texts that a tensor of the graph holds unless it is fed; None if they are not to be seen."""
        node, seen = self._named.get((None, _node_of(tensor))), set[str]()
        while node is not None and node.op in ("Identity", "PlaceholderWithDefault") and node.input:
            if node.name in seen:
                return None
            seen.add(node.name)
            node = self._named.get((None, _node_of(node.input[0])))
        if node is None or node.op not in ("Const", "Placeholder"):
            return None
        if node.op == "Placeholder":
            return []
        value = node.attr["value"].tensor
        return None if value.tensor_content else [text.decode("utf-8", "replace") for text in value.string_val]


def _tensor_names(infos: Iterable[TensorInfo]) -> set[str]:
    names = set()
    for info in infos:
        sparse = info.coo_sparse
        names |= {info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name}
        names |= _tensor_names(info.composite_tensor.components)
    return {_full_name(name) for name in names if name}


def _may_write_strings(node: NodeDef) -> bool:
    """Whether a node writes a variable that is not known to be one of numbers.

    TensorFlow ignores attributes that the operation does not have, so one of the two may be there to mislead.
    """
    types = {node.attr[name].type for name in ("dtype", "T") if name in node.attr}
    return node.op.startswith(_WRITES_VARIABLE) and (not types or bool(types & {DataType.STRING, DataType.INVALID}))


def _may_share(handle: NodeDef, shared_name: bytes) -> bool:
    """Whether this may be a handle of the variable of that name: in a function, the caller may give the name."""
    name = handle.attr["shared_name"]
    return handle.op != "VarHandleOp" or bool(name.placeholder) or name.s == shared_name


def _only_calls(node: NodeDef, function: str) -> bool:
    """Whether all that a node does with `function` is to call it with the node's own inputs.

    A function that an attribute names in any other way is called by another, with arguments that are not seen here.
    """
    named = _named_functions(node.attr)
    if node.op in _CALLS:
        return node.attr["f"].func.name == function and named.count(function) == 1
    return node.op == function and function not in named


def _named_functions(attributes: Mapping[str, AttrValue]) -> list[str]:
    """The functions that attributes name, at any depth, each as often as it is named."""
    names: list[str] = []
    for value in attributes.values():
        for function in (value.func, *value.list.func):
            names += [function.name, *_named_functions(function.attr)]
    return names


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _full_name(tensor: str) -> str:
    """A tensor's name with its output's number, which may be left out if it is 0."""
    return tensor if ":" in tensor else f"{tensor}:0"
