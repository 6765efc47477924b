from typing import Any

import pytest
from google.protobuf import text_format

from infra.modelserver.graphs import unbounded
from tasks.wire.protos import MetaGraphDef

GRAPH = """
    node { name: 'x' op: 'Placeholder' }
    node { name: 'plain' op: 'PartitionedCall' input: 'x' attr { key: 'f' value { func { name: 'matmul' } } } }
    node { name: 'loop' op: 'PartitionedCall' input: 'x' attr { key: 'f' value { func { name: 'outer' } } } }
    node { name: 'after' op: 'Identity' input: 'loop:1' input: '^x' }
    node { name: 'branch' op: 'Case' attr { key: 'branches' value { list { func { name: 'matmul' } func { name: 'inner' } } } } }
    node { name: 'frame' op: 'Enter' input: 'x' }
    node { name: 'legacy' op: 'inner' input: 'x' }
    library {
      function { signature { name: 'outer' } node_def { name: 'c' op: 'StatefulPartitionedCall'
        attr { key: 'f' value { func { name: 'inner' } } } } }
      function { signature { name: 'inner' } node_def { name: 'w' op: 'StatelessWhile' } }
      function { signature { name: 'matmul' } node_def { name: 'm' op: 'MatMul' } }
    }
"""  # noqa: E501


def graph() -> Any:
    return text_format.Parse(f"graph_def {{ {GRAPH} }}", MetaGraphDef()).graph_def


@pytest.mark.parametrize("tensor", ["x:0", "plain:0", "absent:0"])
def test_a_graph_without_loops_is_bounded(tensor: str) -> None:
    assert unbounded(graph(), [tensor]) == frozenset()


@pytest.mark.parametrize("tensor", ["loop:0", "after:0", "branch:0", "frame", "legacy:0"])
def test_a_loop_is_found_behind_nodes_and_functions(tensor: str) -> None:
    assert unbounded(graph(), [tensor]) == {tensor}


def test_each_tensor_is_judged_by_itself() -> None:
    assert unbounded(graph(), ["plain:0", "loop:0", "loop:1"]) == {"loop:0", "loop:1"}


def test_functions_that_call_each_other_do_not_keep_it_busy() -> None:
    made = graph()
    function = made.library.function.add()
    function.signature.name = "again"
    function.node_def.add(name="c", op="PartitionedCall").attr["f"].func.name = "again"
    made.node.add(name="cycle", op="PartitionedCall", input=["cycle"]).attr["f"].func.name = "again"
    assert unbounded(made, ["cycle:0"]) == frozenset()
