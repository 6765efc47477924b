"""A graph that touches files or runs code is refused, wherever it hides; what every export holds passes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import ForbiddenOps, InvalidSavedModel
from tasks.graph_ops import FORBIDDEN, HARMLESS_VALUES, forbidden, read_saved_model, require_harmless

# What an operation's input or attribute is called when it names a file, a folder, an address or code.
_TELLING = re.compile(
    r"file|path|(^|_)dir(ectory|s)?$|logdir|url|address|prefix|descriptor_source|graph_def|^call_target"
)
# Operations that have such a name and yet touch nothing.
_HARMLESS = {
    "CTCBeamSearchDecoder": "top_paths counts paths of a beam search",
    "ExperimentalSetStatsAggregatorDataset": "a prefix of counters' names",
    "SetStatsAggregatorDataset": "a prefix of counters' names",
    "ShardedFilename": "puts a name together, and opens nothing",
    "ShardedFilespec": "puts a name together, and opens nothing",
    "TensorSliceDataset": "is_files is a hint to the optimiser",
}
SAVER = {("SaveV2", "__inference__traced_save"), ("MergeV2Checkpoints", "__inference__traced_save")}
RESTORE = {("RestoreV2", "__inference__traced_restore")}
TABLE = {("InitializeTableFromTextFileV2", "__inference__initializer")}
READ = {("ReadFile", "__inference_deepest")}


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real SavedModels, each in a folder of its name."""
    folder = tmp_path_factory.mktemp("graphs")
    subprocess.run([sys.executable, "-m", "tests.unit.make_graphs", folder], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "keras",
        "recurrent",
        "vocabulary",
        "plain",
        "prints",
        "first-generation",
        "first-generation-leftovers",
    ],
)
def test_what_an_ordinary_export_holds_passes(graphs: Path, name: str) -> None:
    require_harmless(graphs / name, allowed=())


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
        ("answers-with-the-saver", SAVER),
        ("saves-at-load", SAVER),
        ("stands-in", SAVER),
        ("clients-name-the-checkpoint", RESTORE),
        ("restores-from-elsewhere", RESTORE),
        ("clients-name-the-asset", TABLE),
        ("asset-elsewhere", TABLE),
        ("asset-assigned-anew", TABLE),
        ("asset-aliased", TABLE),
        ("twice-by-name", {("ReadFile", None)}),
        ("second-graph", {("ReadFile", None)}),
        ("unused-function", {("SaveV2", "unused")}),
    ],
)
def test_what_touches_files_or_runs_code_is_found_with_its_function(
    graphs: Path, name: str, uses: set[tuple[str, str | None]]
) -> None:
    found = forbidden(read_saved_model(graphs / name))
    assert {(use.op, use.function and re.sub(r"_\d+$", "", use.function)) for use in found} == uses


def test_the_error_names_operation_node_and_function_and_the_setting_that_allows_it(graphs: Path) -> None:
    message = r"ReadFile in node 'ReadFile' of function '__inference_deepest_\d+'.*SLIPWAY_ALLOWED_OPS=ReadFile\."
    with pytest.raises(ForbiddenOps, match=message):
        require_harmless(graphs / "read-nested", allowed=["WriteFile"])


def test_an_operation_that_is_allowed_by_name_passes_and_others_do_not(graphs: Path) -> None:
    require_harmless(graphs / "read-nested", allowed=["ReadFile"])
    require_harmless(graphs / "prints-to-a-file", allowed=["PrintV2"])
    with pytest.raises(ForbiddenOps, match="SaveV2"):
        require_harmless(graphs / "saves-at-load", allowed=["MergeV2Checkpoints"])


def test_every_operation_that_could_name_a_file_has_been_judged(graphs: Path) -> None:
    known: dict[str, list[str]] = json.loads((graphs / "operations.json").read_text())
    telling = {op for op, names in known.items() if any(_TELLING.search(name) for name in names)}
    assert telling - FORBIDDEN - HARMLESS_VALUES.keys() - _HARMLESS.keys() == set()
    assert FORBIDDEN | HARMLESS_VALUES.keys() <= known.keys()


def test_a_folder_without_a_graph_or_with_another_form_of_it_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidSavedModel, match=r"holds no saved_model\.pb"):
        require_harmless(tmp_path, allowed=())
    (tmp_path / "saved_model.pb").write_bytes(b"\x0a\xff")
    with pytest.raises(InvalidSavedModel, match="cut off"):
        require_harmless(tmp_path, allowed=())
    (tmp_path / "saved_model.cpb").write_bytes(b"")
    with pytest.raises(InvalidSavedModel, match=r"holds saved_model\.cpb"):
        require_harmless(tmp_path, allowed=())
