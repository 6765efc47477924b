"""What can be said of a graph's running time before it runs."""

from collections.abc import Iterable
from typing import Any

# Operations whose work depends on what their inputs say, not only on how large these are; or that wait.
UNBOUNDED_OPS = frozenset(
    {
        "BarrierTakeMany", "Batch", "BatchFunction", "BroadcastTo", "DecodeAndCropJpeg", "DecodeBmp",
        "DecodeCompressed", "DecodeGif", "DecodeImage", "DecodeJpeg", "DecodePng", "EagerPyFunc", "Enter", "Fill",
        "For", "IteratorGetNext", "LinSpace", "MapDefun", "PyFunc", "PyFuncStateless", "QueueDequeueManyV2",
        "QueueDequeueV2", "Range", "RefEnter", "ReadFile", "SparseToDense", "StatelessWhile", "TensorListReserve",
        "Tile", "While", "XlaLaunch",
    }
)  # fmt: skip


def unbounded(graph: Any, tensors: Iterable[str]) -> frozenset[str]:
    """Which of these tensors' running time is not bounded by the size of what is fed.

    graph is a GraphDef; tensors are named as in a signature ("StatefulPartitionedCall:0").
    """
    nodes = {node.name: node for node in graph.node}
    functions = _unbounded_functions(graph.library.function)
    return frozenset(name for name in set(tensors) if _reaches(nodes, functions, _node_name(name)))


def _unbounded_functions(library: Iterable[Any]) -> set[str]:
    """The functions that hold such an operation, or call one that does."""
    calls: dict[str, set[str]] = {}
    found: set[str] = set()
    for function in library:
        name = function.signature.name
        calls[name] = {called for node in function.node_def for called in _called(node)}
        if any(node.op in UNBOUNDED_OPS for node in function.node_def):
            found.add(name)
    grown = True
    while grown:
        more = {name for name, called in calls.items() if name not in found and not called.isdisjoint(found)}
        grown = bool(more)
        found |= more
    return found


def _reaches(nodes: dict[str, Any], functions: set[str], start: str) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        node = nodes.get(waiting.pop())
        if node is None:
            continue
        if node.op in UNBOUNDED_OPS or node.op in functions or any(name in functions for name in _called(node)):
            return True
        for name in map(_node_name, node.input):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return False


def _called(node: Any) -> list[str]:
    """The functions that a node's attributes name."""
    names = []
    for value in node.attr.values():
        if value.HasField("func"):
            names.append(value.func.name)
        elif value.HasField("list"):
            names.extend(function.name for function in value.list.func)
    return names


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
