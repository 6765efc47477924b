"""What is taken from a folder that somebody else filled."""

from pathlib import Path

import pytest

from tasks.errors import InvalidSavedModel
from tasks.savedmodel.prepare import prepare_saved_model
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
