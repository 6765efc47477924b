"""What several tests of the steps need and is costly to make: real digits, and one model trained and exported."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stores import fake_s3, in_memory, store  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from tasks.data.dataset import Dataset
    from tasks.training.export import ExportedModel
    from tasks.training.train import TrainedModel

EPOCHS = 5  # a release trains longer
SEED = 1


@pytest.fixture(scope="session")
def digits() -> "Dataset":
    """5,000 real digits, as clients of the example models send them."""
    from tasks.data.dataset import split
    from tasks.data.digits import load

    return split("digits", load("mnist-5k"), split_seed=0)


@pytest.fixture(scope="session")
def few_digits(digits: "Dataset") -> "Dataset":
    """200 real digits: too few to learn from, enough to train on."""
    from tasks.data.dataset import split
    from tasks.data.examples import Loaded

    few = digits.train.rows(slice(None, None, len(digits.train) // 200))  # of all classes, which lie in order
    return split("few", Loaded(few.features, few.labels), split_seed=1)  # by 0, all would be of the training part


@pytest.fixture(scope="session")
def trained(digits: "Dataset") -> "TrainedModel":
    """The custom model, trained on all digits."""
    from tasks.training.train import train

    return train("tasks.models:mlp", digits, seed=SEED, epochs=EPOCHS)


@pytest.fixture(scope="session")
def exported(trained: "TrainedModel", tmp_path_factory: pytest.TempPathFactory) -> "ExportedModel":
    """The custom model, exported. Tests that harm it take a copy."""
    from tasks.training.export import export_saved_model

    return export_saved_model(trained, tmp_path_factory.mktemp("exported") / "1")


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a user's own module into the working folder; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return name

    return write
