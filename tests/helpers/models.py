"""Small models with fixed weights, published with golden examples."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tasks.fleet.config import Fleet
from tasks.records import Training
from tasks.savedmodel.content import GOLDEN
from tasks.savedmodel.golden import GoldenExample, write_golden
from tasks.savedmodel.read import SavedModelFolder
from tests.helpers.versions import publish_version

MAKE_MODELS = Path(__file__).parent.parent / "conformance" / "make_models.py"
X = np.array([1.0, 2.0, 4.0], np.float32)


def make_models(folder: Path) -> Path:
    """Write the models that TensorFlow Serving's recorded answers were taken from."""
    subprocess.run([sys.executable, MAKE_MODELS, folder], check=True, capture_output=True)
    return folder


def prepare_affine(model: Path, directory: Path, promised: int) -> Path:
    """Have `directory` hold a copy of `model` with golden examples, as `affine` version `promised` answers them."""
    shutil.copytree(model, directory)
    (directory / GOLDEN).parent.mkdir(exist_ok=True)
    examples = [GoldenExample("serving_default", {"x": X}, {"y": X / 2 + np.float32(promised)})]
    write_golden(directory / GOLDEN, examples)
    return directory


def publish_affine(
    fleet: Fleet, models: Path, version: int, *, golden: int | None = None, model: str = "affine"
) -> int:
    """Publish `affine` version `version`, which answers 0.5·x + version, as the next version of `model`.

    Its golden examples are those of version `golden`: if that is another one, its live answers are not the trained
    model's.
    """
    promised = version if golden is None else golden
    with tempfile.TemporaryDirectory() as folder:
        directory = prepare_affine(models / "affine" / str(version), Path(folder) / "saved_model", promised)
        return publish_version(
            fleet.store,
            fleet.trust,
            model,
            directory,
            signatures=SavedModelFolder.read(directory).signatures,
            golden=GOLDEN,
            training=Training(),
            run=f"test-{folder}",
        ).version
