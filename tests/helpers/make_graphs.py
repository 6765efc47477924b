"""Write real SavedModels, harmless and not, for the scan of their operations; run with the folder to write into.

TensorFlow is loaded here, in a process of its own, so that tests of a scan that needs none do not load it.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.client import pywrap_tf_session

X = tf.TensorSpec([None], tf.float32, name="x")
TEXT = tf.TensorSpec([], tf.string, name="text")


def save(folder: Path, function: Callable[..., object], spec: tf.TensorSpec = X, **tracked: object) -> None:
    module = tf.Module()
    for name, value in tracked.items():
        setattr(module, name, value)
    module.function = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.function})


def harmless(folder: Path) -> None:
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
    )
    model.export(str(folder / "keras"), verbose=False)
    recurrent = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(3), keras.layers.Dense(2)])
    recurrent.compile("adam", "mse")
    recurrent.fit(tf.zeros((8, 5, 4)), tf.zeros((8, 2)), verbose=0)
    tf.saved_model.save(recurrent, str(folder / "recurrent"))
    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text("a\nb\nc\n")
    words = keras.Input((1,), dtype="string")
    lookup = keras.Model(words, keras.layers.StringLookup(vocabulary=str(vocabulary))(words))
    lookup.export(str(folder / "vocabulary"), verbose=False)
    sentences = keras.Input((1,), dtype="string")
    vectorised = keras.layers.TextVectorization(vocabulary=str(vocabulary), output_sequence_length=4)(sentences)
    keras.Model(sentences, vectorised).export(str(folder / "text-vectorization"), verbose=False)
    values = (tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
    buckets = tf.lookup.StaticVocabularyTable(tf.lookup.TextFileInitializer(str(vocabulary), *values), 2)
    save(folder / "static-vocabulary", lambda text: {"y": buckets.lookup(text)}, TEXT, buckets=buckets)
    label = tf.Variable("a")
    save(folder / "string-variable", lambda text: {"y": buckets.lookup(text), "l": label}, TEXT, all=[buckets, label])
    twins = []
    for side in ("left", "right"):  # two assets of one name
        (folder / side).mkdir()
        (folder / side / "words.txt").write_text(f"{side}\n")
        initializer = tf.lookup.TextFileInitializer(str(folder / side / "words.txt"), *values)
        twins.append(tf.lookup.StaticHashTable(initializer, -1))
    save(folder / "twins", lambda text: {"y": twins[0].lookup(text) + twins[1].lookup(text)}, TEXT, twins=twins)
    save(folder / "plain", lambda x: {"y": x * 2})
    save(folder / "prints", lambda x: (tf.print(x), {"y": x})[1])


def first_generation(folder: Path, leftovers: bool) -> None:
    """As TensorFlow 1 wrote it, with a table from an asset; perhaps with the nodes of a saver that is not used."""
    vocabulary = folder / "vocabulary.txt"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        y = x * tf.compat.v1.Variable(3.0)
        if leftovers:
            tf.compat.v1.train.Saver()
        keys, values = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, keys, tf.int64, values)
        table = tf.lookup.StaticHashTable(initializer, -1)
        words = tf.compat.v1.placeholder(tf.string, [None])
        tables = tf.compat.v1.tables_initializer()
        session.run([tf.compat.v1.global_variables_initializer(), tables])
        name = "first-generation-leftovers" if leftovers else "first-generation"
        tf.compat.v1.saved_model.simple_save(
            session, str(folder / name), {"x": x, "q": words}, {"y": y, "z": table.lookup(words)}, tables
        )


def harmful(folder: Path) -> None:
    @tf.function
    def deepest(x: tf.Tensor) -> tf.Tensor:
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)

    @tf.function
    def deeper(x: tf.Tensor) -> tf.Tensor:
        return deepest(x) * 2

    save(folder / "read-nested", lambda x: {"y": deeper(x)})

    def in_a_loop(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, deepest(v)), [0, x])[1]}

    save(folder / "read-in-a-loop", in_a_loop)

    def in_a_branch(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cond(tf.reduce_sum(x) > 1e6, lambda: deepest(x), lambda: x)}

    save(folder / "read-in-a-branch", in_a_branch)

    def mapped(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.map_fn(lambda v: deepest(v), x)}

    save(folder / "read-in-a-map", mapped)

    def writes(x: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.io.write_file("/tmp/owned", "x")
        return {"y": x}

    save(folder / "write", writes)
    save(folder / "python", lambda x: {"y": tf.numpy_function(lambda v: v, [x], tf.float32)})
    save(folder / "eager-python", lambda x: {"y": tf.py_function(lambda v: v, [x], tf.float32)})
    save(folder / "matching-files", lambda x: {"y": x, "f": tf.io.matching_files("/etc/*")})
    save(folder / "prints-to-a-file", lambda x: (tf.print(x, output_stream="file:///tmp/owned"), {"y": x})[1])

    def saves(x: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.raw_ops.SaveV2(prefix="/tmp/owned", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return {"y": x}

    save(folder / "save", saves)

    def restores(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "y": tf.raw_ops.RestoreV2(prefix=text, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0]
        }

    save(folder / "restore", restores, TEXT)

    def reads_lines(text: tf.Tensor) -> dict[str, tf.Tensor]:
        table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        tf.raw_ops.InitializeTableFromTextFileV2(table_handle=table, filename=text, key_index=-2, value_index=-1)
        return {
            "y": tf.raw_ops.LookupTableFindV2(table_handle=table, keys=text, default_value=tf.constant(0, tf.int64))
        }

    save(folder / "table-from-anywhere", reads_lines, TEXT)

    words = tf.saved_model.Asset(str(folder / "vocabulary.txt"))
    save(
        folder / "table-of-the-asset",
        lambda text: (reads_lines(words.asset_path), {"y": text})[1],
        TEXT,
        words=words,
    )


def node(model: SavedModel, name: str) -> tf.compat.v1.NodeDef:
    return next(n for n in model.meta_graphs[0].graph_def.node if n.name == name)


def answer_with_the_saver(model: SavedModel) -> None:
    graph = model.meta_graphs[0]
    graph.signature_def["serving_default"].outputs["y"].name = graph.saver_def.save_tensor_name


def save_at_load(model: SavedModel) -> None:
    graph = model.meta_graphs[0]
    node(model, "NoOp").input.append(f"^{graph.saver_def.save_tensor_name.split(':')[0]}")


def let_clients_name_the_checkpoint(model: SavedModel) -> None:
    graph = model.meta_graphs[0]
    graph.signature_def["serving_default"].inputs["x"].name = graph.saver_def.filename_tensor_name


def restore_from_elsewhere(model: SavedModel) -> None:
    graph = model.meta_graphs[0]
    elsewhere = graph.graph_def.node.add(name="elsewhere", op="Const")
    node(model, graph.saver_def.restore_op_name).input[0] = elsewhere.name


def let_clients_name_the_asset(model: SavedModel) -> None:
    graph = model.meta_graphs[0]
    graph.signature_def["serving_default"].inputs["x"].name = graph.asset_file_def[0].tensor_info.name


def leave_the_assets_folder(model: SavedModel) -> None:
    model.meta_graphs[0].asset_file_def[0].filename = "../../../../etc/passwd"


def assign_the_assets_path_anew(model: SavedModel) -> None:
    graph = model.meta_graphs[0].graph_def
    variable = next(n for n in graph.node if n.op == "AssignVariableOp").input[0]
    graph.node.add(name="elsewhere", op="Const")
    graph.node.add(name="again", op="AssignVariableOp", input=[variable, "elsewhere"])


def alias_the_assets_variable(model: SavedModel) -> None:
    graph = model.meta_graphs[0].graph_def
    variable = next(n for n in graph.node if n.op == "AssignVariableOp").input[0]
    graph.node.add(name="alias").CopyFrom(node(model, variable))
    graph.node[-1].name = "alias"
    graph.node.add(name="elsewhere", op="Const")
    graph.node.add(name="again", op="AssignVariableOp", input=["alias", "elsewhere"])


def let_clients_run_the_initialiser(model: SavedModel) -> None:
    graph = model.meta_graphs[0]
    graph.graph_def.node.add(name="shown", op="Const", input=["^NoOp"])
    graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "shown:0"


def fill_tables_while_restoring(model: SavedModel) -> None:
    node(model, model.meta_graphs[0].saver_def.restore_op_name).input.append("^NoOp")


def restore_while_initialising(model: SavedModel) -> None:
    node(model, "NoOp").input.append(f"^{model.meta_graphs[0].saver_def.restore_op_name}")


def assign_the_assets_path_in_a_function(model: SavedModel) -> None:
    function = model.meta_graphs[0].graph_def.library.function[0]
    function.node_def.add(name="again", op="AssignVariableOp", input=["handle", "elsewhere:output:0"])
    function.node_def[-1].attr["dtype"].type = tf.string.as_datatype_enum


def forge_the_assets_variable(model: SavedModel) -> None:
    graph = model.meta_graphs[0].graph_def
    graph.node.add(name="forged", op="ParseTensor", input=["bytes"])
    graph.node.add(name="again", op="AssignVariableOp", input=["forged", "elsewhere"])
    graph.node[-1].attr["dtype"].type = tf.string.as_datatype_enum


def answer_with_the_restored(model: SavedModel) -> None:
    model.meta_graphs[0].signature_def["serving_default"].outputs["y"].name = "save/RestoreV2:0"


def default_to_another_checkpoint(model: SavedModel) -> None:
    node(model, "save/filename/input").attr["value"].tensor.string_val[:] = [b"/etc/model"]


def first_generation_asset(model: SavedModel) -> tf.compat.v1.NodeDef:
    asset = meta_graph_pb2.AssetFileDef()
    model.meta_graphs[0].collection_def["saved_model_assets"].any_list.value[0].Unpack(asset)
    return node(model, asset.tensor_info.name.partition(":")[0])


def default_to_another_asset(model: SavedModel) -> None:
    first_generation_asset(model).attr["value"].tensor.string_val[:] = [b"/etc/passwd"]


def default_to_a_hidden_asset(model: SavedModel) -> None:
    first_generation_asset(model).op = "StringJoin"


def twice_by_name(model: SavedModel) -> None:
    graph = model.meta_graphs[0].graph_def
    graph.node.insert(0, tf.compat.v1.NodeDef(name=graph.node[0].name, op="ReadFile"))


def in_a_second_graph(model: SavedModel) -> None:
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("gpu")
    graph.graph_def.node.add(name="read", op="ReadFile")


def in_a_function_that_nothing_calls(model: SavedModel) -> None:
    function = model.meta_graphs[0].graph_def.library.function.add()
    function.signature.name = "unused"
    function.node_def.add(name="save", op="SaveV2")


def stand_in_for_another_function(model: SavedModel) -> None:
    for function in model.meta_graphs[0].graph_def.library.function:
        if any(n.op == "SaveV2" for n in function.node_def):
            function.attr["api_implements"].s = b"same"


# Graphs that no exporter writes: by name, what they are made of and how.
CRAFTED = {
    "answers-with-the-saver": ("keras", answer_with_the_saver),
    "saves-at-load": ("keras", save_at_load),
    "clients-name-the-checkpoint": ("keras", let_clients_name_the_checkpoint),
    "restores-from-elsewhere": ("keras", restore_from_elsewhere),
    "clients-name-the-asset": ("vocabulary", let_clients_name_the_asset),
    "asset-elsewhere": ("vocabulary", leave_the_assets_folder),
    "asset-assigned-anew": ("vocabulary", assign_the_assets_path_anew),
    "asset-aliased": ("vocabulary", alias_the_assets_variable),
    "asset-assigned-in-a-function": ("vocabulary", assign_the_assets_path_in_a_function),
    "asset-forged": ("vocabulary", forge_the_assets_variable),
    "asset-defaults-elsewhere": ("first-generation", default_to_another_asset),
    "asset-default-hidden": ("first-generation", default_to_a_hidden_asset),
    "checkpoint-defaults-elsewhere": ("first-generation", default_to_another_checkpoint),
    "answers-with-the-restored": ("first-generation", answer_with_the_restored),
    "clients-run-the-initialiser": ("vocabulary", let_clients_run_the_initialiser),
    "fills-tables-while-restoring": ("vocabulary", fill_tables_while_restoring),
    "restores-while-initialising": ("keras", restore_while_initialising),
    "twice-by-name": ("plain", twice_by_name),
    "second-graph": ("plain", in_a_second_graph),
    "unused-function": ("plain", in_a_function_that_nothing_calls),
    "stands-in": ("keras", stand_in_for_another_function),
}


def crafted(folder: Path) -> None:
    for name, (source, change) in CRAFTED.items():
        model = SavedModel.FromString((folder / source / "saved_model.pb").read_bytes())
        change(model)
        (folder / name).mkdir()
        (folder / name / "saved_model.pb").write_bytes(model.SerializeToString())


def write_operations(path: Path) -> None:
    """Every operation that this TensorFlow knows, with what each takes as text, and whether it has outputs."""
    known = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    described = {
        op.name: {
            "texts": [
                *(a.name for a in op.input_arg if a.type == tf.string.as_datatype_enum),
                *(a.name for a in op.attr if a.type in ("string", "list(string)")),
            ],
            "outputs": len(op.output_arg),
        }
        for op in known.op
    }
    path.write_text(json.dumps(described))


def main(folder: Path) -> None:
    harmless(folder)
    first_generation(folder, leftovers=False)
    first_generation(folder, leftovers=True)
    harmful(folder)
    crafted(folder)
    write_operations(folder / "operations.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
