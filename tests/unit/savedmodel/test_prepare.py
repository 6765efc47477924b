"""What is taken from a folder that somebody else filled."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import InvalidSavedModel
from tasks.records import Build, Training
from tasks.savedmodel.prepare import build_directory, clear_leftovers, discard_build, prepare_saved_model
from tasks.settings import Settings
from tasks.wire.protos import SavedModel
from tests.helpers.saved_models import write_saved_model


def test_a_saved_model_with_a_link_is_refused_before_its_target_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = tmp_path / "signing.pem"
    key.write_text("a secret")
    folder = write_saved_model(tmp_path / "handed over")
    model = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    model.meta_graphs[0].signature_def["serving_default"].outputs["y"].name = "y:0"
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    (folder / "assets").mkdir()
    (folder / "assets" / "words.txt").symlink_to(key)
    with pytest.raises(InvalidSavedModel, match=r"words\.txt is a link"):
        prepare_saved_model(Settings(), "M", str(folder), None, "run")
    holders = {path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == key.read_bytes()}
    assert holders == {key, folder / "assets" / "words.txt"}


DIE = """
import sys
from pathlib import Path
from tasks.savedmodel.prepare import build_directory, keep_build
from tasks.records import Build, Training
home, kept = Path(sys.argv[1]), sys.argv[2] == "kept"
directory = build_directory(home, "MLP", sys.argv[2])
directory.mkdir()
(directory / "saved_model.pb").write_text("x")
(directory.parent / f".{directory.name}-staging").mkdir()
if kept:
    keep_build(Build("MLP", str(directory), {}, None, Training()))
"""


def test_builds_of_processes_that_died_are_cleared_and_those_that_were_kept_or_are_being_made_are_not(
    tmp_path: Path,
) -> None:
    for run in ("died", "kept"):
        subprocess.run([sys.executable, "-c", DIE, tmp_path, run], check=True)
    mine = build_directory(tmp_path, "MLP", "mine")
    mine.mkdir()
    (mine.parent / ".MLP-cut.owner").write_text("{")
    clear_leftovers(Settings(home=tmp_path))
    assert sorted(path.name for path in mine.parent.iterdir()) == [
        ".MLP-cut.owner", ".MLP-kept-staging", ".MLP-mine.owner", "MLP-kept", "MLP-mine"
    ]  # fmt: skip
    discard_build(Build("MLP", str(mine), {}, None, Training()))
    assert sorted(path.name for path in mine.parent.glob("*mine*")) == []
