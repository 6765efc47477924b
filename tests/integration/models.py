"""Small models with fixed weights, published with golden examples."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tasks.golden import GOLDEN, GoldenExample, write_golden
from tasks.publish import publish_version
from tasks.records import Training
from tasks.savedmodel import read_signatures
from tasks.store import Store

MAKE_MODELS = Path(__file__).parent.parent / "conformance" / "make_models.py"
X = np.array([1.0, 2.0, 4.0], np.float32)


def make_models(folder: Path) -> Path:
    """Write the models that TensorFlow Serving's recorded answers were taken from."""
    subprocess.run([sys.executable, MAKE_MODELS, folder], check=True, capture_output=True)
    return folder


def publish_affine(
    store: Store, models: Path, version: int, *, golden: int | None = None, model: str = "affine"
) -> int:
    """Publish `affine` version `version`, which answers 0.5·x + version, as the next version of `model`.

    Its golden examples are those of version `golden`: if that is another one, its live answers are not the trained
    model's.
    """
    promised = version if golden is None else golden
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "saved_model"
        shutil.copytree(models / "affine" / str(version), directory)
        (directory / GOLDEN).parent.mkdir(exist_ok=True)
        write_golden(
            directory / GOLDEN, [GoldenExample("serving_default", {"x": X}, {"y": X / 2 + np.float32(promised)})]
        )
        return publish_version(
            store,
            model,
            directory,
            signatures=read_signatures(directory),
            golden=GOLDEN,
            training=Training(),
            run=f"test-{folder}",
        ).version
