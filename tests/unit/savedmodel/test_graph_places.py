"""Every operation that touches files or runs code is found wherever a graph may hold it.

The graphs are written node by node, each as small as it can be: whether TensorFlow would run them does not matter here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tasks.savedmodel.safety import FORBIDDEN, HARMLESS_VALUES, forbidden
from tasks.wire.protos import AssetFileDef, MetaGraphDef, SavedModel, SignatureDef, TensorInfo

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    Nodes = RepeatedCompositeFieldContainer[NodeDef]

TABLES = ("InitializeTableFromTextFile", "InitializeTableFromTextFileV2")
CHECKPOINTS = ("Restore", "RestoreSlice", "RestoreV2")


def graph(output: str = "y", restore: str = "restore", initialiser: str = "init") -> MetaGraphDef:
    """A graph with a saver, an asset and a signature, which a test adds to; `output` is the signature's."""
    found = MetaGraphDef()
    for name in ("asset", "saver", "x"):
        found.graph_def.node.add(name=name, op="Placeholder")
    found.graph_def.node.add(name="table", op="HashTableV2")
    found.asset_file_def.append(AssetFileDef(tensor_info=TensorInfo(name="asset:0"), filename="words.txt"))
    found.saver_def.filename_tensor_name, found.saver_def.restore_op_name = "saver:0", restore
    found.collection_def["saved_model_main_op"].node_list.value.append(initialiser)
    found.signature_def["serving_default"].CopyFrom(
        SignatureDef(inputs={"x": TensorInfo(name="x:0")}, outputs={"y": TensorInfo(name=f"{output}:0")})
    )
    return found


def put(nodes: "Nodes", op: str, name: str = "bad", file: str | None = None) -> None:
    """Add a node of `op`, whose file name, if it takes one as an input, is the tensor that a server feeds at load."""
    node = nodes.add(name=name, op=op)
    if op in TABLES:
        node.input.extend(["table", file or "asset"])
    if op in CHECKPOINTS:
        node.input.append(file or "saver")
    if op in HARMLESS_VALUES:
        node.attr[HARMLESS_VALUES[op][0]].s = b"/etc/passwd"


def function(found: MetaGraphDef, name: str, *inputs: str) -> "Nodes":
    """Add a function; its nodes."""
    added = found.graph_def.library.function.add()
    added.signature.name = name
    for argument in inputs:
        added.signature.input_arg.add(name=argument)
    return added.node_def  # type: ignore[no-any-return]


def call(nodes: "Nodes", op: str, name: str, *inputs: str, **functions: str) -> None:
    node = nodes.add(name=name, op=op, input=inputs)
    for attribute, called in functions.items():
        node.attr[attribute].func.name = called


def file_of(op: str) -> str:
    return "saver" if op in CHECKPOINTS else "asset"


def in_the_graph(op: str) -> MetaGraphDef:
    found = graph("bad")
    put(found.graph_def.node, op)
    return found


def before_the_answer(op: str) -> MetaGraphDef:
    found = graph()
    put(found.graph_def.node, op)
    found.graph_def.node.add(name="y", op="Identity", input=["x", "^bad"])
    return found


def as_the_default_of_an_input(op: str) -> MetaGraphDef:
    found = graph()
    put(found.graph_def.node, op)
    found.graph_def.node.add(name="given", op="PlaceholderWithDefault", input=["bad"])
    found.graph_def.node.add(name="y", op="Identity", input=["given"])
    found.signature_def["serving_default"].inputs["x"].name = "given:0"
    return found


def as_what_a_function_captures(op: str) -> MetaGraphDef:
    found = graph()
    put(found.graph_def.node, op)
    function(found, "f", "captured")
    call(found.graph_def.node, "StatefulPartitionedCall", "y", "bad", f="f")
    return found


def in_an_old_loop(op: str) -> MetaGraphDef:
    found = graph()
    nodes = found.graph_def.node
    nodes.add(name="enter", op="Enter", input=["x"])
    nodes.add(name="merge", op="Merge", input=["enter", "next"])
    put(nodes, op)
    nodes.add(name="body", op="Identity", input=["merge", "^bad"])
    nodes.add(name="next", op="NextIteration", input=["body"])
    nodes.add(name="y", op="Exit", input=["merge"])
    return found


def in_a_function(op: str) -> MetaGraphDef:
    found = graph()
    put(function(found, "f", "file"), op, file="file")
    call(found.graph_def.node, "PartitionedCall", "y", file_of(op), f="f")
    return found


def in_nested_calls(op: str) -> MetaGraphDef:
    found = graph()
    put(function(found, "inner", "file"), op, file="file")
    call(function(found, "middle", "file"), "StatefulPartitionedCall", "calls", "file", f="inner")
    call(function(found, "outer", "file"), "PartitionedCall", "calls", "file", f="middle")
    call(found.graph_def.node, "StatefulPartitionedCall", "y", file_of(op), f="outer")
    return found


def called_by_its_name(op: str) -> MetaGraphDef:
    found = graph()
    put(function(found, "f", "file"), op, file="file")
    found.graph_def.node.add(name="y", op="f", input=[file_of(op)])
    return found


def in_the(caller: str, attribute: str) -> Callable[[str], MetaGraphDef]:
    def build(op: str) -> MetaGraphDef:
        found = graph()
        put(function(found, "f", "file"), op, file="file")
        call(found.graph_def.node, caller, "y", file_of(op), **{attribute: "f"})
        return found

    return build


def in_a_case(op: str) -> MetaGraphDef:
    found = graph()
    put(function(found, "f", "file"), op, file="file")
    node = found.graph_def.node.add(name="y", op="Case", input=["x", file_of(op)])
    node.attr["branches"].list.func.add(name="f")
    return found


def in_a_functions_attribute(op: str) -> MetaGraphDef:
    found = graph()
    put(function(found, "f", "file"), op, file="file")
    node = function(found, "g", "file").add(name="calls", op="PartitionedCall", input=["file"])
    node.attr["f"].placeholder = "given"
    outer = found.graph_def.node.add(name="y", op="PartitionedCall", input=[file_of(op)])
    outer.attr["f"].func.name = "g"
    outer.attr["f"].func.attr["given"].func.name = "f"
    return found


def in_a_nested_functions_attribute(op: str) -> MetaGraphDef:
    found = in_a_functions_attribute(op)
    outer = found.graph_def.node[-1]
    given = outer.attr["f"].func
    deeper = type(given)(name="h")
    deeper.attr["given"].func.CopyFrom(given)
    function(found, "h", "file")
    given.CopyFrom(deeper)
    return found


def in_a_gradient(op: str) -> MetaGraphDef:
    found = graph()
    function(found, "f", "file")
    put(function(found, "f_gradient", "file"), op, file="file")
    found.graph_def.library.gradient.add(function_name="f", gradient_func="f_gradient")
    call(found.graph_def.node, "SymbolicGradient", "y", file_of(op), f="f")
    return found


def in_what_may_replace_another(op: str) -> MetaGraphDef:
    found = graph()
    put(function(found, "f", "file"), op, file="file")
    found.graph_def.library.function[0].attr["api_implements"].s = b"same"
    return found


def in_a_function_that_nothing_calls(op: str) -> MetaGraphDef:
    found = graph()
    put(function(found, "f", "file"), op, file="file")
    return found


def in_the_initialiser_and_the_answer(op: str) -> MetaGraphDef:
    found = graph()
    put(function(found, "f", "file"), op, file="file")
    for name in ("init", "restore", "y"):
        call(found.graph_def.node, "StatefulPartitionedCall", name, file_of(op), f="f")
    return found


def in_a_second_signature(op: str) -> MetaGraphDef:
    found = graph()
    put(found.graph_def.node, op)
    found.signature_def["hidden"].outputs["classes"].name = "bad:0"
    return found


def in_a_sparse_answer(op: str) -> MetaGraphDef:
    found = graph()
    put(found.graph_def.node, op)
    found.signature_def["serving_default"].outputs["s"].coo_sparse.values_tensor_name = "bad:0"
    return found


PLACES: dict[str, Callable[[str], MetaGraphDef]] = {
    "the graph": in_the_graph,
    "before the answer": before_the_answer,
    "default of an input": as_the_default_of_an_input,
    "captured by a function": as_what_a_function_captures,
    "an old loop": in_an_old_loop,
    "a function": in_a_function,
    "nested calls": in_nested_calls,
    "a call by name": called_by_its_name,
    "the body of While": in_the("While", "body"),
    "the condition of StatelessWhile": in_the("StatelessWhile", "cond"),
    "a branch of If": in_the("If", "then_branch"),
    "a branch of StatelessIf": in_the("StatelessIf", "else_branch"),
    "For": in_the("For", "body"),
    "a data set's map": in_the("ParallelMapDatasetV2", "f"),
    "a batched function": in_the("BatchFunction", "f"),
    "a compiled function": in_the("XlaLaunch", "function"),
    "a branch of Case": in_a_case,
    "a function's attribute": in_a_functions_attribute,
    "a function's attribute's attribute": in_a_nested_functions_attribute,
    "a gradient": in_a_gradient,
    "a replacement of another function": in_what_may_replace_another,
    "a function that nothing calls": in_a_function_that_nothing_calls,
    "the initialiser and the answer": in_the_initialiser_and_the_answer,
    "a second signature": in_a_second_signature,
    "a sparse answer": in_a_sparse_answer,
}


def uses(found: MetaGraphDef) -> list[str]:
    return [use.op for use in forbidden(SavedModel(meta_graphs=[found]))]


@pytest.mark.parametrize("op", sorted(FORBIDDEN | HARMLESS_VALUES.keys()))
def test_an_operation_is_found_in_every_place_from_which_a_client_can_run_it(op: str) -> None:
    assert [place for place, build in PLACES.items() if uses(build(op)) != [op]] == []


@pytest.mark.parametrize("op", sorted(HARMLESS_VALUES))
def test_a_value_that_each_caller_gives_is_not_taken_for_harmless(op: str) -> None:
    found = graph()
    node = function(found, "f").add(name="bad", op=op)
    node.attr[HARMLESS_VALUES[op][0]].placeholder = "given"
    assert uses(found) == [op]


@pytest.mark.parametrize("op", TABLES)
def test_a_table_is_filled_from_an_asset_by_the_initialiser_alone(op: str) -> None:
    found = graph()
    put(found.graph_def.node, op, name="init")
    assert uses(found) == []
    found.saver_def.restore_op_name = "init"
    assert uses(found) == [op]
    found = graph()
    put(found.graph_def.node, op, name="init", file="saver")
    assert uses(found) == [op]


@pytest.mark.parametrize("op", TABLES)
def test_a_function_that_fills_a_table_is_called_by_nothing_but_the_initialiser(op: str) -> None:
    found = graph()
    put(function(found, "fills", "file"), op, file="file")
    call(found.graph_def.node, "StatefulPartitionedCall", "init", "asset", f="fills")
    assert uses(found) == []
    function(found, "other")
    found.graph_def.library.function[1].signature.attr.add(name="g", type="func").default_value.func.name = "fills"
    assert uses(found) == [op]


@pytest.mark.parametrize("op", CHECKPOINTS)
def test_a_checkpoint_is_read_by_the_restore_operation_alone(op: str) -> None:
    found = graph()
    put(found.graph_def.node, op, name="restore")
    assert uses(found) == []
    found.collection_def["saved_model_main_op"].node_list.value[:] = ["restore"]
    assert uses(found) == [op]
    found = graph()
    put(found.graph_def.node, op, name="restore", file="asset")
    assert uses(found) == [op]


FILE_READERS = (*TABLES, *CHECKPOINTS)


def loads(op: str, *inputs: str, callee: str = "reads", **functions: str) -> MetaGraphDef:
    """A graph in which the function "reads" runs `op` on its argument, and what runs at load calls `callee`.

    `functions` are what the call gives as attributes of type function.
    """
    found = graph()
    put(function(found, "reads", "file"), op, file="file")
    name = "init" if op in TABLES else "restore"
    call(found.graph_def.node, "StatefulPartitionedCall", name, *(inputs or (file_of(op),)), f=callee)
    for attribute, given in functions.items():
        found.graph_def.node[-1].attr["f"].func.attr[attribute].func.name = given
    return found


def elsewhere(nodes: "Nodes", name: str = "elsewhere") -> None:
    node = nodes.add(name=name, op="Const")
    node.attr["value"].tensor.string_val.append(b"/etc/passwd")


def calls_what_it_is_given(found: MetaGraphDef) -> None:
    """Add a function that calls its attribute's value, with a path of its own."""
    nodes = function(found, "calls", "file")
    found.graph_def.library.function[-1].signature.attr.add(name="given", type="func")
    elsewhere(nodes)
    nodes.add(name="inner", op="StatefulPartitionedCall", input=["elsewhere:output:0"]).attr["f"].placeholder = "given"


def given_as_an_attribute(op: str) -> MetaGraphDef:
    found = loads(op, callee="calls", given="reads")
    calls_what_it_is_given(found)
    return found


def given_to_a_function_called_by_its_name(op: str) -> MetaGraphDef:
    found = loads(op, callee="calls")
    calls_what_it_is_given(found)
    node = found.graph_def.node[-1]
    node.op = "calls"
    del node.attr["f"]
    node.attr["given"].func.name = "reads"
    return found


def given_in_a_list(op: str) -> MetaGraphDef:
    found = loads(op, callee="calls")
    calls_what_it_is_given(found)
    found.graph_def.node[-1].attr["f"].func.attr["given"].list.func.add(name="reads")
    return found


def given_as_a_default(op: str) -> MetaGraphDef:
    found = loads(op, callee="calls")
    calls_what_it_is_given(found)
    found.graph_def.library.function[-1].signature.attr[0].default_value.func.name = "reads"
    return found


def given_to_itself(op: str) -> MetaGraphDef:
    return loads(op, given="reads")


def given_to_itself_by_its_name(op: str) -> MetaGraphDef:
    found = loads(op)
    found.graph_def.node[-1].op = "reads"
    return found


def given_beside_the_function_that_is_called(op: str) -> MetaGraphDef:
    found = loads(op)
    found.graph_def.node[-1].attr["g"].func.name = "reads"
    return found


def given_to(caller: str, attribute: str) -> Callable[[str], MetaGraphDef]:
    def build(op: str) -> MetaGraphDef:
        found = loads(op)
        node = found.graph_def.node[-1]
        node.op = caller
        del node.attr["f"]
        node.attr[attribute].func.name = "calls"
        node.attr[attribute].func.attr["given"].func.name = "reads"
        calls_what_it_is_given(found)
        return found

    return build


def in_an_operations_stead(name: str) -> Callable[[str], MetaGraphDef]:
    def build(op: str) -> MetaGraphDef:
        found = loads(op)
        elsewhere(function(found, name, "input"))
        return found

    return build


def through_a_function_that_is_called_identity(op: str) -> MetaGraphDef:
    found = loads(op, "same")
    found.graph_def.node.add(name="same", op="Identity", input=[file_of(op)])
    elsewhere(function(found, "Identity", "input"))
    return found


def by_an_argument_that_looks_like_an_output(op: str) -> MetaGraphDef:
    found = loads(op, file_of(op), "elsewhere")
    reads = found.graph_def.library.function[0]
    reads.signature.input_arg.add(name="a:output:0")
    reads.node_def.add(name="a", op="Identity", input=["file"])
    reads.node_def[0].input[-1] = "a:output:0"
    elsewhere(found.graph_def.node)
    return found


def by_an_argument_and_a_node_of_one_name(op: str) -> MetaGraphDef:
    found = loads(op, file_of(op), "elsewhere")
    reads = found.graph_def.library.function[0]
    reads.signature.input_arg.add(name="a")
    reads.node_def.add(name="a", op="Identity", input=["file"])
    reads.node_def[0].input[-1] = "a:0"  # the argument; the node's output would be a:output:0
    elsewhere(found.graph_def.node)
    return found


def by_two_functions_of_one_name(op: str) -> MetaGraphDef:
    found = loads(op)
    function(found, "reads", "file")
    return found


def by_two_nodes_of_one_name(op: str) -> MetaGraphDef:
    found = loads(op, "same")
    elsewhere(found.graph_def.node, "same")
    found.graph_def.node.add(name="same", op="Identity", input=[file_of(op)])
    return found


def through_a_variable(op: str) -> MetaGraphDef:
    """The file's name is kept in a variable, as that of an asset in a TensorFlow 2 export. This is harmless."""
    found = loads(op, "read")
    nodes = found.graph_def.node
    nodes.add(name="variable", op="VarHandleOp").attr["shared_name"].s = b"v"
    nodes.add(name="assign", op="AssignVariableOp", input=["variable", file_of(op)]).attr["dtype"].type = 7
    nodes.add(name="read", op="ReadVariableOp", input=["variable"])
    return found


def through_a_variable_that_is_assigned_under_a_false_type(op: str) -> MetaGraphDef:
    found = through_a_variable(op)
    elsewhere(found.graph_def.node)
    again = found.graph_def.node.add(name="again", op="AssignVariableOp", input=["variable", "elsewhere"])
    again.attr["dtype"].type = 7
    again.attr["T"].type = 1  # TensorFlow ignores what the operation does not have
    return found


def through_a_variable_whose_name_a_caller_gives(op: str) -> MetaGraphDef:
    found = through_a_variable(op)
    nodes = function(found, "assigns")
    nodes.add(name="alias", op="VarHandleOp").attr["shared_name"].placeholder = "given"
    elsewhere(nodes)
    nodes.add(name="assign", op="AssignVariableOp", input=["alias:resource:0", "elsewhere:output:0"])
    call(found.graph_def.node, "StatefulPartitionedCall", "again", f="assigns")
    found.graph_def.node[-1].attr["f"].func.attr["given"].s = b"v"
    return found


DISGUISES: dict[str, Callable[[str], MetaGraphDef]] = {
    "an attribute": given_as_an_attribute,
    "an attribute of a call by name": given_to_a_function_called_by_its_name,
    "a list": given_in_a_list,
    "a default": given_as_a_default,
    "an attribute of itself": given_to_itself,
    "an attribute of itself, called by name": given_to_itself_by_its_name,
    "an attribute beside the call's": given_beside_the_function_that_is_called,
    "a branch of If": given_to("If", "then_branch"),
    "the body of While": given_to("While", "body"),
    "a map": given_to("MapDefun", "f"),
    "a gradient": given_to("SymbolicGradient", "f"),
    "Identity": through_a_function_that_is_called_identity,
    "AssignVariableOp": in_an_operations_stead("AssignVariableOp"),
    "VarHandleOp": in_an_operations_stead("VarHandleOp"),
    "StatefulPartitionedCall": in_an_operations_stead("StatefulPartitionedCall"),
    "NoOp": in_an_operations_stead("NoOp"),
    "an argument like an output": by_an_argument_that_looks_like_an_output,
    "an argument and a node": by_an_argument_and_a_node_of_one_name,
    "two functions": by_two_functions_of_one_name,
    "two nodes": by_two_nodes_of_one_name,
    "a false type": through_a_variable_that_is_assigned_under_a_false_type,
    "a variable's name": through_a_variable_whose_name_a_caller_gives,
}


@pytest.mark.parametrize("op", FILE_READERS)
def test_what_runs_at_load_may_take_the_servers_path_through_calls_and_variables(op: str) -> None:
    assert uses(loads(op)) == []
    assert uses(through_a_variable(op)) == []
    by_name = loads(op)
    by_name.graph_def.node[-1].op = "reads"
    del by_name.graph_def.node[-1].attr["f"]
    assert uses(by_name) == []


@pytest.mark.parametrize("op", FILE_READERS)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_path_that_only_seems_to_be_the_servers_is_refused(op: str, disguise: str) -> None:
    assert uses(DISGUISES[disguise](op)) == [op]
