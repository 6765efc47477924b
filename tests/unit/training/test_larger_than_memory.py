import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS, COLUMNS, PIECES = 20_000, 1000, 50
MEMORY = 1500 << 20

SUMS = """
import keras

def make(data):
    model = keras.Sequential([keras.Input((1000,), name="x"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.001), "mse", jit_compile=False)
    return model
"""

# All that a release does with the data, but for MLflow and a store that keeps the held-out part in memory.
TRAIN = """
import json, sys
from pathlib import Path
import numpy as np
from tasks.evaluation.metrics import evaluate
from tasks.evaluation.questions import answers_of_folder
from tasks.processes import temporary_folder
from tasks.savedmodel.read import SavedModelFolder
from tasks.settings import Settings
from tasks.training import process
from tasks.training.parameters import TrainingParameters
from tasks.training.process import Request, Trained
from tasks.training.run import read_data
from tests.helpers.stores import MemoryStore

class Forgetful(MemoryStore):
    def upload_all(self, files): pass

source, project, directory = sys.argv[1:]
settings = Settings(project=Path(project))
snapshot = read_data(Forgetful(), settings, TrainingParameters("sums", data=source, label="y"))
print("read", flush=True)
with temporary_folder("train") as exchange:
    process.write_dataset(snapshot.dataset, exchange)
    process.run("train", Request("sums", project, seed=1, directory=directory, name="large"), exchange)
    trained = Trained.from_json((exchange / process.RESULT).read_bytes(), process.RESULT)
    answers = process.read_arrays(exchange / process.ANSWERS)["answers"]
print("trained", flush=True)
test = snapshot.dataset.test
signatures = SavedModelFolder.read(Path(directory)).signatures
asked = answers_of_folder(Path(directory), trained.scored, signatures, test.features)
np.testing.assert_allclose(asked["y"], answers["y"], rtol=1e-4, atol=1e-4)
print(json.dumps([len(test), evaluate(test.labels, answers, trained.outputs).metrics()]))
"""


def write_parquet(path: Path) -> None:
    random = np.random.default_rng(0)
    schema = pa.schema({"x": pa.list_(pa.float32(), COLUMNS), "y": pa.float32()})
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(PIECES):
            x = random.random((ROWS, COLUMNS), np.float32)
            lists = pa.FixedSizeListArray.from_arrays(x.ravel(), COLUMNS)
            writer.write_table(pa.table([lists, x[:, :100].sum(axis=1)], schema=schema))


def anonymous(process: psutil.Process) -> Iterator[tuple[str, int]]:
    """Memory of a process and of those that it started that no file is mapped to, in bytes."""
    for one in [process, *process.children(recursive=True)]:
        try:
            status = Path(f"/proc/{one.pid}/status").read_text()
            command = " ".join(one.cmdline())
        except (OSError, psutil.Error):
            continue
        kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
        work = next((name for name in ("training.child", "savedmodel.session") if name in command), "parent")
        yield work, 1024 * int(kilobytes[0]) if kilobytes else 0


@pytest.mark.soak
def test_4_gb_are_trained_on_within_1500_mb_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted is what no file is mapped to, of all processes together: pages of files are given back when needed."""
    source, temporary = tmp_path / "large.parquet", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    (tmp_path / "sums.py").write_text(SUMS)
    write_parquet(source)
    assert source.stat().st_size > 4 * 10**9
    command = [sys.executable, "-c", TRAIN, str(source), str(tmp_path), str(tmp_path / "model")]
    most: dict[str, int] = {}
    began = time.monotonic()
    with (
        (tmp_path / "told").open("w+") as told,
        subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, text=True) as run,
    ):
        try:
            while run.poll() is None:
                found = list(anonymous(psutil.Process(run.pid)))
                for work, size in [*found, ("all", sum(size for _, size in found))]:
                    most[work] = max(most.get(work, 0), size)
                time.sleep(0.05)
                assert time.monotonic() - began < 1500
        finally:
            run.kill()
        told.seek(0)
        lines = told.read().splitlines()
    assert run.returncode == 0, "\n".join(lines[-20:])
    rows, metrics = json.loads(lines[-1])
    assert rows == pytest.approx(0.2 * ROWS * PIECES, rel=0.02)
    assert metrics["r2"] > 0.9
    assert most.keys() == {"parent", "training.child", "savedmodel.session", "all"}
    assert most["all"] < MEMORY, most
    assert list(temporary.iterdir()) == [], "nothing is left of them"
