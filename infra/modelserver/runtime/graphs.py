"""What can be said about a graph's running time before it runs."""

from collections.abc import Collection, Iterable, Mapping

from tasks.wire.dtypes import DataType
from tasks.wire.protos import GraphDef, NodeDef

# Operations whose work, and the shapes of whose outputs, depend on the shapes of their inputs alone, not on the values.
# Easily taken for one, but not among them: `Where` (the size of its output depends on the values), branches and loops,
# decoders, random numbers, and what iterates until it is exact enough.
_BY_SHAPE = frozenset(
    {
        "Abs", "Acos", "Acosh", "Add", "AddN", "AddV2", "Asin", "Asinh", "Atan", "Atan2", "Atanh", "AvgPool",
        "AvgPool3D", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "BiasAdd", "BiasAddV1", "Bitcast",
        "BroadcastArgs", "Cast", "Ceil", "CheckNumerics", "ClipByValue", "Const", "Conv2D", "Conv3D", "Cos", "Cosh",
        "DepthToSpace", "DepthwiseConv2dNative", "Div", "DivNoNan", "Einsum", "Elu", "EnsureShape", "Equal", "Erf",
        "Erfc", "Exp", "Expm1", "Floor", "FloorDiv", "FloorMod", "FusedBatchNorm", "FusedBatchNormV2",
        "FusedBatchNormV3", "Gather", "GatherNd", "Greater", "GreaterEqual", "Identity", "IdentityN", "Inv",
        "IsFinite", "IsInf", "IsNan", "L2Loss", "LRN", "LeakyRelu", "Less", "LessEqual", "Log", "Log1p", "LogSoftmax",
        "LogicalAnd", "LogicalNot", "LogicalOr", "MatMul", "MatrixDiag", "MatrixDiagPart", "MaxPool", "MaxPool3D",
        "Maximum", "Minimum", "Mod", "Mul", "MulNoNan", "Neg", "NoOp", "NotEqual", "OnesLike", "Pack", "Placeholder",
        "PreventGradient", "Rank", "ReadVariableOp", "RealDiv", "Reciprocal", "Relu", "Relu6", "ResourceGather",
        "ResourceGatherNd", "Rint", "Round", "Rsqrt", "Select", "SelectV2", "Selu", "Shape", "ShapeN", "Sigmoid",
        "Sign", "Sin", "Sinh", "Size", "Snapshot", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Sqrt",
        "Square", "SquaredDifference", "Squeeze", "StopGradient", "Sub", "Tan", "Tanh", "TruncateDiv", "TruncateMod",
        "Unpack", "VarHandleOp", "Xdivy", "Xlog1py", "Xlogy", "ZerosLike",
    }
)  # fmt: skip
# The same, provided that no client chooses the values of these inputs (by number; -1 is the last).
_BY_SHAPE_AND_VALUES: Mapping[str, tuple[int, ...]] = {
    "All": (1,),
    "Any": (1,),
    "ArgMax": (1,),
    "ArgMin": (1,),
    "BatchToSpaceND": (1, 2),
    "BroadcastTo": (1,),
    "Concat": (0,),
    "ConcatV2": (-1,),
    "Conv2DBackpropInput": (0,),
    "Conv3DBackpropInputV2": (0,),
    "Cumprod": (1,),
    "Cumsum": (1,),
    "ExpandDims": (1,),
    "Fill": (0,),
    "GatherV2": (2,),
    "MatrixBandPart": (1, 2),
    "Max": (1,),
    "Mean": (1,),
    "Min": (1,),
    "MirrorPad": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "PadV2": (1,),
    "Prod": (1,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "ResizeBilinear": (1,),
    "ResizeNearestNeighbor": (1,),
    "ReverseV2": (1,),
    "Slice": (1, 2),
    "SpaceToBatchND": (1, 2),
    "Split": (0,),
    "SplitV": (1, 2),
    "StridedSlice": (1, 2, 3),
    "Sum": (1,),
    "Tile": (1,),
    "TopKV2": (1,),
    "Transpose": (1,),
}
BOUNDED_OPS: Mapping[str, tuple[int, ...]] = {**dict.fromkeys(_BY_SHAPE, ()), **_BY_SHAPE_AND_VALUES}

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_VALUES_OF_SHAPES = frozenset({"Const", "Rank", "Shape", "ShapeN", "Size"})


def bounded(graph: GraphDef, fed: Iterable[str], tensors: Iterable[str]) -> frozenset[str]:
    """Which tensors' computation takes a time that depends on the shapes of the inputs alone, not on their values.

    An operation that is not in BOUNDED_OPS is assumed to depend on values.

    Args:
        fed: names of the tensors that clients may feed, as in a signature ("serving_default_x:0").
        tensors: names of the tensors to judge, in the same form.
    """
    nodes = {node.name: node for node in graph.node}
    functions = _Functions(graph)
    clients = {_node_name(name) for name in fed}
    return frozenset(name for name in set(tensors) if _is_bounded(nodes, clients, functions, [_node_name(name)]))


class _Functions:
    """The functions in a graph's library; each is judged once."""

    def __init__(self, graph: GraphDef) -> None:
        self._library = {function.signature.name: function for function in graph.library.function}
        self._judged: dict[str, bool] = {}

    def are_bounded(self, name: str) -> bool:
        if name not in self._library:
            return False
        if name not in self._judged:
            self._judged[name] = False  # for one that calls itself
            nodes = {node.name: node for node in self._library[name].node_def}
            # A function may be called with any values: its arguments are not among its nodes, and so never fixed.
            self._judged[name] = _is_bounded(nodes, (), self, list(nodes))
        return self._judged[name]


def _is_bounded(nodes: Mapping[str, NodeDef], fed: Collection[str], functions: _Functions, starts: list[str]) -> bool:
    """Whether these nodes, and all that they depend on, are bounded."""
    seen, waiting = set(starts), list(starts)
    while waiting:
        node = nodes.get(waiting.pop())
        if node is None:  # a function's argument
            continue
        if not _may_run(node, nodes, fed, functions):
            return False
        for name in map(_node_name, node.input):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return True


def _may_run(node: NodeDef, nodes: Mapping[str, NodeDef], fed: Collection[str], functions: _Functions) -> bool:
    """Whether one node is bounded. What handles strings is not: they can be of any length in a tensor of one shape."""
    if any(DataType.STRING in (value.type, *value.list.type) for value in node.attr.values()):
        return False
    if node.op in _CALLS:
        return functions.are_bounded(node.attr["f"].func.name)
    if node.op not in BOUNDED_OPS:
        return False
    if node.op == "VarHandleOp":  # a variable whose shape may change says nothing about the next run
        shape = node.attr["shape"].shape
        return not shape.unknown_rank and all(dim.size >= 0 for dim in shape.dim)
    inputs = [name for name in node.input if not name.startswith("^")]
    return all(_is_fixed(inputs[number], nodes, fed) for number in BOUNDED_OPS[node.op])


def _is_fixed(tensor: str, nodes: Mapping[str, NodeDef], fed: Collection[str]) -> bool:
    """Whether a tensor's values are constants of the model, or follow from shapes."""
    seen, waiting = set[str](), [_node_name(tensor)]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node = nodes.get(name)
        if node is None or name in fed or node.op not in BOUNDED_OPS:
            return False
        if node.op in _VALUES_OF_SHAPES:
            continue
        inputs = [_node_name(input_) for input_ in node.input if not input_.startswith("^")]
        if not inputs:  # a placeholder, or a variable, which the next request may change
            return False
        waiting.extend(inputs)
    return True


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
