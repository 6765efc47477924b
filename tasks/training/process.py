"""Running a user's recipe in a process of its own: the caller's seeds, Keras and memory stay as they are.

Parent and child exchange files in a folder, and lines of JSON over a pipe. The child ends with its parent.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from tasks import errors
from tasks.data import mapped
from tasks.data.dataset import Dataset
from tasks.data.examples import Examples
from tasks.errors import DeadlineExceeded, InvalidModel, SlipwayError
from tasks.files import write_atomically
from tasks.policy import MetricRule
from tasks.records import Record, Scored, ScoredOutput
from tasks.wire.dtypes import Array

log = logging.getLogger(__name__)

Work = Literal["load", "train", "score"]
OnEpoch = Callable[[int, Mapping[str, float]], None]  # number of the epoch, from 1; its metrics by name
E = TypeVar("E", bound=Examples)

REQUEST, RESULT, ERROR = "request.json", "result.json", "error.json"
ROWS, ANSWERS, FIGURES = "rows", "answers", "figures"  # folders of arrays
_INDEX = "index.json"
_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3"}  # TensorFlow's C++ parts are silent, unless the user wants to hear them
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Request(Record):
    """What a child does, and with what."""

    spec: str  # of the recipe, or of a factory
    project: str  # folder in which modules are looked for last
    source: str = ""
    label: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    signatures: Mapping[str, str] | None = None
    seed: int = 0
    split_seed: int = 0
    epochs: int = 1
    name: str = ""  # of the dataset
    sha256: str = ""  # of the dataset
    directory: str = ""  # where to export to


@dataclass(frozen=True)
class Trained(Record):
    """What became of a training, but for the SavedModel, and the answers to the held-out examples."""

    outputs: Mapping[str, ScoredOutput]  # by label
    scored: Scored | None
    unused: tuple[str, ...]
    figures: Mapping[str, float] | None  # by the recipe's own score
    gate: Mapping[str, MetricRule] | None  # the recipe's own
    scaled: bool  # the data are digits that were scaled for it


@dataclass(frozen=True)
class Measure(Record):
    """How a recipe measures models."""

    gate: Mapping[str, MetricRule] | None  # its own rules
    own_score: bool  # whether it has a score of its own


def run(work: Work, request: Request, exchange: Path, on_epoch: OnEpoch | None = None, deadline: float = 0) -> None:
    """Have a child do this, with the files in `exchange`; return once it is done.

    Args:
        on_epoch: called after each epoch of a training with its number, from 1, and its metrics.
        deadline: longest time for it, seconds; 0: none, as a training takes what it takes.

    Raises:
        SlipwayError: whatever the child raised, of the same type.
        InvalidModel: the child died.
        DeadlineExceeded: it took too long.
    """
    write_atomically(exchange / REQUEST, request.to_json())
    reader, writer = os.pipe()
    module = (sys.executable, "-P", "-m", "slipway_entry", "tasks.training.child")
    command = [*module, work, str(exchange), str(writer), str(os.getpid())]
    with os.fdopen(reader, encoding="utf-8") as lines:
        try:
            env = _ENVIRONMENT | os.environ
            child = subprocess.Popen(command, pass_fds=[writer], stdin=subprocess.DEVNULL, env=env)
        finally:
            os.close(writer)
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(deadline or threading.TIMEOUT_MAX, end)
        timer.daemon = True
        timer.start()
        try:
            for line in lines:
                _heard(json.loads(line), on_epoch)
            code = child.wait()
        finally:
            timer.cancel()
            child.kill()
            child.wait()
    if late.is_set():
        raise DeadlineExceeded(f"{request.spec} took longer than {deadline:g} s to {work}.")
    if (exchange / ERROR).exists():
        kind, message = json.loads((exchange / ERROR).read_bytes())
        raise getattr(errors, kind, SlipwayError)(message)
    if code:
        ended = f"was ended by signal {-code}; if that is 9, memory ran out" if code < 0 else f"ended with code {code}"
        raise InvalidModel(f"The process that should {work} {request.spec} {ended}. What it printed says more.")


def _heard(told: Mapping[str, Any], on_epoch: OnEpoch | None) -> None:
    if "log" in told:
        logging.getLogger(told["logger"]).log(told["level"], "%s", told["log"])
    elif on_epoch:
        on_epoch(told["epoch"], told["metrics"])


def write_dataset(dataset: Dataset, exchange: Path) -> None:
    """Put the parts of a dataset into the folder."""
    for name in PARTS:
        write_examples(getattr(dataset, name), exchange / name)


def read_dataset(exchange: Path, request: Request) -> Dataset:
    """What `write_dataset` put there."""
    parts = {name: read_examples(exchange / name, Examples) for name in PARTS}
    return Dataset(name=request.name, sha256=request.sha256, split_seed=request.split_seed, **parts)


def write_examples(rows: Examples, folder: Path) -> None:
    """Write rows to a new folder."""
    write_arrays({"features": rows.features, "labels": rows.labels, "others": rows.others()}, folder)


def read_examples(folder: Path, kind: type[E]) -> E:
    """What `write_examples` wrote."""
    groups = read_arrays(folder)
    others: dict[str, Any] = {**groups.get("others", {})}
    return kind(groups["features"], groups["labels"], **others)


def write_arrays(groups: Mapping[str, Mapping[str, Array]], folder: Path) -> None:
    """Write arrays by group and name to a new folder, each as an `.npy`: a link, if it is mapped from one."""
    folder.mkdir()
    index: list[tuple[str, str, int, int]] = []  # group, name, first row, rows
    for group, arrays in groups.items():
        for name, array in arrays.items():
            first = _put(array, folder / f"{len(index)}.npy")
            index.append((group, name, first, len(array)))
    (folder / _INDEX).write_text(json.dumps(index))


def _put(array: Array, path: Path) -> int:
    """Write an array; the row of the file that it begins with."""
    origin = mapped.file_of(array)
    if origin is not None:
        with contextlib.suppress(OSError):  # it is on another file system, or removed since
            path.hardlink_to(origin[0])
            return origin[1]
    np.save(path, _plain(array), allow_pickle=False)
    return 0


def read_arrays(folder: Path) -> dict[str, dict[str, Array]]:
    """What `write_arrays` wrote; mapped from there, read-only, if it is large."""
    groups: dict[str, dict[str, Array]] = {}
    large = sum(path.stat().st_size for path in folder.iterdir()) > mapped.LARGE
    for number, (group, name, first, count) in enumerate(json.loads((folder / _INDEX).read_bytes())):
        array = np.load(folder / f"{number}.npy", mmap_mode="r" if large else None, allow_pickle=False)
        groups.setdefault(group, {})[name] = array[first : first + count]
    return groups


def _plain(array: Array) -> Array:
    """Texts as NumPy keeps them without running code: `U` or `S`."""
    return np.array(array.tolist()) if array.dtype.kind == "O" else array


class PipeHandler(logging.Handler):
    """Sends log lines and epochs to the parent."""

    def __init__(self, pipe: int) -> None:
        super().__init__(logging.INFO)
        self._pipe = os.fdopen(pipe, "w", encoding="utf-8", buffering=1)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line."""
        self.tell({"log": record.getMessage(), "logger": record.name, "level": record.levelno})

    def tell(self, what: Mapping[str, Any]) -> None:
        """Send anything; a parent that is gone ends this process by itself."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(json.dumps(what) + "\n")
