"""What a call of a signature does besides answering: whether it draws at random, and whether it changes state."""

import re
from collections.abc import Collection

from tasks.errors import NotServable
from tasks.savedmodel.read import SavedModelFolder
from tasks.wire.protos import NodeDef

_DRAWS = re.compile(r"Random|Multinomial|TruncatedNormal|Rng|CandidateSampler|^Stateful(Uniform|Standard|Binomial)")
_WRITES = re.compile(r"^(Assign|ResourceScatter|ResourceStridedSliceAssign|Scatter(?!Nd$))")


def require_random(model: SavedModelFolder, outputs: Collection[str]) -> None:
    """Raise if one of `outputs`, of which only the shape is to be compared, changes because a call changes state.

    Replicas that count for themselves answer differently, however good the model is; what is drawn at random may.

    Raises:
        NotServable: names the signature.
    """
    for name, spec in model.signatures.items():
        loose = sorted(spec.outputs.keys() & set(outputs))
        run = operations(model, name) if loose else set()
        if any(map(_WRITES.search, run)) and not any(map(_DRAWS.search, run)):
            raise NotServable(
                f"{model.directory}: signature {name!r} draws nothing at random, but assigns a variable in each call, "
                f"so replicas would answer differently. The policy's compare is for what is drawn at random: take "
                f"{loose[0]!r} out of it, and export the model without what it assigns."
            )


def operations(model: SavedModelFolder, signature: str) -> set[str]:
    """Names of the operations that may run when `signature` is called, functions' included."""
    graph = model.serving_graph
    nodes = {node.name: node for node in graph.graph_def.node}
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    outputs = graph.signature_def[signature].outputs.values()
    waiting = [nodes[name] for info in outputs if (name := _node(info.name)) in nodes]
    found: set[str] = set()
    reached = {node.name for node in waiting}
    while waiting:
        node = waiting.pop()
        found.add(node.op)
        for name in _called(node):
            function = functions.pop(name, None)  # each is looked into once
            waiting += function.node_def if function is not None else ()
        for name in map(_node, node.input):
            if name in nodes and name not in reached:
                reached.add(name)
                waiting.append(nodes[name])
    return found


def _called(node: NodeDef) -> set[str]:
    """The functions that a node runs."""
    attributes = node.attr.values()
    return {node.op} | {function.name for a in attributes for function in (a.func, *a.list.func)}


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
