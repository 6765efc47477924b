"""A graph that touches files or runs code is refused, wherever it hides; what every export holds passes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ForbiddenOps, InvalidSavedModel
from tasks.savedmodel.read import SavedModelFolder
from tasks.savedmodel.safety import (
    FORBIDDEN,
    HARMLESS_VALUES,
    WITHOUT_OUTPUT,
    forbidden,
    require_harmless,
)

# What operations that touch nothing call the texts that they take, as inputs or attributes.
_TEXTS = """
    a activation_mode align allowed_devices ancestors b bad_indices_policy basename batch batch_padding_policy
    batching_queue bytes c cardinality_options combiner combiners common_config communication_hint
    compilation_status compression_type config config_proto container containers contents context_dense_keys
    context_ragged_keys context_sparse_keys counter_prefix data data_format dct_method debug_name delimiter
    dense_keys density_unit description deterministic device_names device_type devices dimension_numbers direction
    display_name dst_format dynamic_key embedding_config embedding_partitions encoding equation errors event
    executor_type feature_list_dense_keys feature_list_dense_missing_assumed_empty feature_list_ragged_keys
    feature_list_sparse_keys field_delim fill fill_mode filter_format final_op format frame_name fused_ops handle
    hbm_buffers_config host_compute_core id input input_bytes input_encoding input_layout input_mode input_order
    input_quant_mode inputs interpolation json_examples kernel_type key keys labels layout left_pad loss_type
    manual_sharding memory_config memory_configs merge_op mesh message metadata method mini_batch_in_csr
    mini_batch_splits mixed_priority_policy mode mode_override na_value names new_format_key noise op_names op_type
    optimization_configs optimizations optimizations_default optimizations_disabled optimizations_enabled
    output_encoding output_layout output_quant_mode padding padding_map pattern placeholder pooling_type
    precision_config program_key queue_handle ragged_keys reader_handle records recv_device recv_key reduce_op
    reduce_type reduction reduction_type rewrite rewrite_name right_pad rnn_mode round_mode row_partition_types
    sa_name send_device send_key sep separator serialized serialized_options serialized_sparse
    serialized_summary_metadata set_operation sharding shared_name shared_names source sparse_keys split_type
    split_types src_format stack_name state stateful_whitelist step_marker_location string_handle string_list_val
    string_tensor string_val summary_metadata table_handle table_name tag tags template tensor tensor_array_name
    tensor_name topology tpu_compile_options_proto tpu_embedding_config tpu_topology transformations
    tree_ensemble_serialized tuple_mask unit var_name xmp_metadata
"""
_HARMLESS_TEXTS = frozenset(_TEXTS.split())
SAVER = {("SaveV2", "__inference__traced_save"), ("MergeV2Checkpoints", "__inference__traced_save")}
RESTORE = {("RestoreV2", "__inference__traced_restore")}
TABLE = {("InitializeTableFromTextFileV2", "__inference__initializer")}
TABLE_1 = {("InitializeTableFromTextFileV2", None)}
READ = {("ReadFile", "__inference_deepest")}


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real SavedModels, each in a folder of its name."""
    folder = tmp_path_factory.mktemp("graphs")
    subprocess.run([sys.executable, "-m", "tests.helpers.make_graphs", folder], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "keras",
        "recurrent",
        "vocabulary",
        "text-vectorization",
        "static-vocabulary",
        "twins",
        "string-variable",
        "plain",
        "prints",
        "first-generation",
        "first-generation-leftovers",
    ],
)
def test_what_an_ordinary_export_holds_passes(graphs: Path, name: str) -> None:
    require_harmless(SavedModelFolder.read(graphs / name), allowed=())


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("read-nested", READ),
        ("read-in-a-loop", READ),
        ("read-in-a-branch", READ),
        ("read-in-a-map", READ),
        ("write", {("WriteFile", "__inference_writes")}),
        ("python", {("PyFunc", "__inference_<lambda>")}),
        ("eager-python", {("EagerPyFunc", "__inference_<lambda>")}),
        ("matching-files", {("MatchingFiles", "__inference_<lambda>")}),
        ("prints-to-a-file", {("PrintV2", "__inference_<lambda>")}),
        ("save", {("SaveV2", "__inference_saves")}),
        ("restore", {("RestoreV2", "__inference_restores")}),
        ("table-from-anywhere", {("InitializeTableFromTextFileV2", "__inference_reads_lines")}),
        ("table-of-the-asset", {("InitializeTableFromTextFileV2", "__inference_<lambda>")}),
        ("answers-with-the-saver", SAVER),
        ("saves-at-load", SAVER),
        ("stands-in", SAVER),
        ("clients-name-the-checkpoint", RESTORE),
        ("restores-from-elsewhere", RESTORE),
        ("clients-name-the-asset", TABLE),
        ("asset-elsewhere", TABLE),
        ("asset-assigned-anew", TABLE),
        ("asset-aliased", TABLE),
        ("asset-assigned-in-a-function", TABLE),
        ("asset-forged", TABLE),
        ("asset-defaults-elsewhere", TABLE_1),
        ("asset-default-hidden", TABLE_1),
        ("checkpoint-defaults-elsewhere", {("RestoreV2", None)}),
        ("answers-with-the-restored", {("RestoreV2", None)}),
        ("clients-run-the-initialiser", TABLE),
        ("fills-tables-while-restoring", TABLE),
        ("restores-while-initialising", RESTORE),
        ("twice-by-name", {("ReadFile", None)} | SAVER | RESTORE),  # where names mislead, nothing is followed
        ("second-graph", {("ReadFile", None)}),
        ("unused-function", {("SaveV2", "unused")}),
    ],
)
def test_what_touches_files_or_runs_code_is_found_with_its_function(
    graphs: Path, name: str, uses: set[tuple[str, str | None]]
) -> None:
    found = forbidden(SavedModelFolder.read(graphs / name).content)
    assert {(use.op, use.function and re.sub(r"_\d+$", "", use.function)) for use in found} == uses


def test_the_error_names_operation_node_and_function_and_the_setting_that_allows_it(graphs: Path) -> None:
    message = r"ReadFile in node 'ReadFile' of function '__inference_deepest_\d+'.*SLIPWAY_ALLOWED_OPS=ReadFile\."
    with pytest.raises(ForbiddenOps, match=message):
        require_harmless(SavedModelFolder.read(graphs / "read-nested"), allowed=["WriteFile"])


def test_an_operation_that_is_allowed_by_name_passes_and_others_do_not(graphs: Path) -> None:
    require_harmless(SavedModelFolder.read(graphs / "read-nested"), allowed=["ReadFile"])
    require_harmless(SavedModelFolder.read(graphs / "prints-to-a-file"), allowed=["PrintV2"])
    with pytest.raises(ForbiddenOps, match="SaveV2"):
        require_harmless(SavedModelFolder.read(graphs / "saves-at-load"), allowed=["MergeV2Checkpoints"])


def test_every_operation_that_takes_a_text_has_been_judged(graphs: Path) -> None:
    known: dict[str, dict[str, Any]] = json.loads((graphs / "operations.json").read_text())
    unjudged = {
        op: sorted(set(described["texts"]) - _HARMLESS_TEXTS)
        for op, described in known.items()
        if op not in FORBIDDEN | HARMLESS_VALUES.keys() and not _HARMLESS_TEXTS.issuperset(described["texts"])
    }
    assert unjudged == {}
    assert FORBIDDEN | HARMLESS_VALUES.keys() <= known.keys()
    assert {known[op]["outputs"] for op in WITHOUT_OUTPUT} == {0}


def test_a_folder_without_a_graph_or_with_another_form_of_it_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidSavedModel, match=r"holds no saved_model\.pb"):
        require_harmless(SavedModelFolder.read(tmp_path), allowed=())
    (tmp_path / "saved_model.pb").write_bytes(b"\x0a\xff")
    with pytest.raises(InvalidSavedModel, match="cut off"):
        require_harmless(SavedModelFolder.read(tmp_path), allowed=())
    (tmp_path / "saved_model.cpb").write_bytes(b"")
    with pytest.raises(InvalidSavedModel, match=r"holds saved_model\.cpb"):
        require_harmless(SavedModelFolder.read(tmp_path), allowed=())
