"""What may run on the event loop: graphs whose running time depends on shapes alone."""

import ctypes
import json
import re
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf import text_format

from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.graphs import BOUNDED_OPS, bounded
from tasks.wire.protos import MetaGraphDef, tensorflow_directory

GRAPH = """
    node { name: 'x' op: 'Placeholder' }
    node { name: 'n' op: 'Placeholder' }
    node { name: 'two' op: 'Const' }
    node { name: 'plain' op: 'PartitionedCall' input: 'x' attr { key: 'f' value { func { name: 'matmul' } } } }
    node { name: 'loop' op: 'PartitionedCall' input: 'x' attr { key: 'f' value { func { name: 'outer' } } } }
    node { name: 'after' op: 'Identity' input: 'loop:1' input: '^x' }
    node { name: 'beside' op: 'Identity' input: 'x' input: '^loop' }
    node { name: 'branch' op: 'Case' attr { key: 'branches' value { list { func { name: 'matmul' } } } } }
    node { name: 'frame' op: 'Enter' input: 'x' }
    node { name: 'legacy' op: 'inner' input: 'x' }
    node { name: 'absent_function' op: 'PartitionedCall' attr { key: 'f' value { func { name: 'absent' } } } }
    node { name: 'itself' op: 'PartitionedCall' attr { key: 'f' value { func { name: 'itself' } } } }
    node { name: 'rows' op: 'Shape' input: 'x' }
    node { name: 'pair' op: 'Pack' input: 'rows' input: 'two' }
    node { name: 'sum' op: 'AddV2' input: 'rows' input: 'n' }
    node { name: 'flat' op: 'Reshape' input: 'x' input: 'two' }
    node { name: 'by_shape' op: 'Reshape' input: 'x' input: 'pair' }
    node { name: 'by_value' op: 'Reshape' input: 'x' input: 'n' }
    node { name: 'by_sum' op: 'Tile' input: 'x' input: 'sum' }
    node { name: 'to_n' op: 'Range' input: 'two' input: 'n' input: 'two' }
    node { name: 'joined' op: 'ConcatV2' input: 'x' input: 'n' input: 'two' }
    node { name: 'joined_by_value' op: 'ConcatV2' input: 'x' input: 'two' input: 'n' }
    node { name: 'by_argument' op: 'PartitionedCall' input: 'x' attr { key: 'f' value { func { name: 'filled' } } } }
    node { name: 'random' op: 'RandomUniform' input: 'n' }
    node { name: 'text' op: 'Identity' input: 'x' attr { key: 'T' value { type: DT_STRING } } }
    node { name: 'texts' op: 'IdentityN' input: 'x' attr { key: 'T' value { list { type: [DT_FLOAT, DT_STRING] } } } }
    node { name: 'weights' op: 'VarHandleOp' attr { key: 'shape' value { shape { dim { size: 3 } } } } }
    node { name: 'read' op: 'ReadVariableOp' input: 'weights' }
    node { name: 'grows' op: 'VarHandleOp' attr { key: 'shape' value { shape { dim { size: -1 } } } } }
    node { name: 'read_grown' op: 'ReadVariableOp' input: 'grows' }
    node { name: 'by_variable' op: 'Fill' input: 'read' input: 'two' }
    library {
      function { signature { name: 'outer' } node_def { name: 'c' op: 'StatefulPartitionedCall'
        attr { key: 'f' value { func { name: 'inner' } } } } }
      function { signature { name: 'inner' } node_def { name: 'w' op: 'StatelessWhile' } }
      function { signature { name: 'matmul' } node_def { name: 'm' op: 'MatMul' input: 'a' input: 'a' } }
      function { signature { name: 'itself' } node_def { name: 'c' op: 'PartitionedCall'
        attr { key: 'f' value { func { name: 'itself' } } } } }
      function { signature { name: 'filled' } node_def { name: 'f' op: 'Fill' input: 'a' input: 'a' } }
    }
"""


def graph() -> Any:
    return text_format.Parse(f"graph_def {{ {GRAPH} }}", MetaGraphDef()).graph_def


@pytest.mark.parametrize(
    "tensor", ["x:0", "plain:0", "absent:0", "flat:0", "by_shape:0", "joined:0", "read:0", "rows:0", "sum:0"]
)
def test_what_follows_from_shapes_alone_is_bounded(tensor: str) -> None:
    assert bounded(graph(), ["x:0", "n:0"], [tensor]) == {tensor}


@pytest.mark.parametrize(
    "tensor", ["loop:0", "after:0", "beside:0", "branch:0", "frame", "legacy:0", "absent_function:0", "itself:0"]
)
def test_loops_branches_and_what_is_not_there_are_found_behind_nodes_and_functions(tensor: str) -> None:
    assert bounded(graph(), ["x:0", "n:0"], [tensor]) == frozenset()


@pytest.mark.parametrize(
    "tensor", ["by_value:0", "by_sum:0", "to_n:0", "joined_by_value:0", "by_argument:0", "by_variable:0", "random:0"]
)
def test_a_shape_that_follows_from_a_value_is_not_bounded(tensor: str) -> None:
    assert bounded(graph(), ["x:0", "n:0"], [tensor]) == frozenset()


@pytest.mark.parametrize("tensor", ["text:0", "texts:0", "read_grown:0"])
def test_text_of_any_length_and_variables_of_any_shape_are_not_bounded(tensor: str) -> None:
    assert bounded(graph(), ["x:0"], [tensor]) == frozenset()


def test_a_constant_that_clients_may_replace_is_none() -> None:
    assert bounded(graph(), ["x:0", "two:0"], ["flat:0", "by_shape:0", "plain:0"]) == {"plain:0"}


def test_each_tensor_is_judged_by_itself() -> None:
    assert bounded(graph(), ["x:0"], ["plain:0", "loop:0", "loop:1"]) == {"plain:0"}


def operations() -> dict[str, Any]:
    """Every operation of the installed TensorFlow: its OpDef by its name."""
    c_api.load()
    library = ctypes.CDLL(str(tensorflow_directory() / "libtensorflow_cc.so.2"))
    library.TF_GetAllOpList.restype = ctypes.POINTER(c_api._Buffer)
    content = library.TF_GetAllOpList().contents
    known = MetaGraphDef().meta_info_def.stripped_op_list
    known.ParseFromString(ctypes.string_at(content.data, content.length))
    return {op.name: op for op in known.op}


def test_no_operation_of_tensorflow_is_bounded_but_those_that_are_listed() -> None:
    known = operations()
    assert len(known) > 1000
    assert BOUNDED_OPS.keys() <= known.keys()
    every = MetaGraphDef().graph_def
    every.node.add(name="c", op="Const")
    for name, op in known.items():
        every.node.add(name=name, op=name, input=["c"] * len(op.input_arg))
    assert bounded(every, (), known) <= BOUNDED_OPS.keys()


def test_an_input_that_is_called_a_size_an_axis_or_a_shape_may_hold_no_clients_value() -> None:
    telling = re.compile(r"shape|size|dim|axis|indices$|depth|limit|pad|multiples|perm|^k$|begin|crops|num_|block")
    known, harmless = operations(), {("Gather", "indices"), ("GatherNd", "indices"), ("GatherV2", "indices"),
                                     ("ResourceGather", "indices"), ("ResourceGatherNd", "indices"),
                                     ("OneHot", "indices")}  # fmt: skip
    for name, fixed in BOUNDED_OPS.items():
        inputs = [arg.name for arg in known[name].input_arg]
        free = set(inputs) - {inputs[number] for number in fixed}
        assert {one for one in free if telling.search(one) and (name, one) not in harmless} == set(), name


def test_tensorflow_infers_the_outputs_of_each_listed_operation_from_shapes() -> None:
    command = [sys.executable, "-m", "tests.unit.modelserver.runtime.inferred_shapes"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    unused_but_on_gpus = {"FusedBatchNormV3"}  # its sixth output
    assert {name for name, decided in json.loads(done.stdout).items() if not decided} == unused_but_on_gpus
