"""Asking a SavedModel as TensorFlow Serving does: through the session loader, in a separate process.

`tf.saved_model.load` would say less: it runs models whose variables TensorFlow Serving cannot restore.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import DeadlineExceeded, InvalidInput, NotServable
from tasks.files import write_atomically
from tasks.isolation import PYTHON, isolated
from tasks.processes import temporary_folder
from tasks.savedmodel.golden import json_size, records_of
from tasks.savedmodel.messages import Failure, reason
from tasks.wire import raised_as
from tasks.wire.dtypes import REF, Array, DataType
from tasks.wire.protos import ModelSpec, PredictRequest, PredictResponse
from tasks.wire.tensors import from_proto, to_proto
from tasks.wire.tfrecord import framed, to_bytes

_QUESTIONS, _ANSWERS, _FAILURES = "questions.tfrecord", "answers.tfrecord", "failures.json"
_ROWS, _ROWS_ASKED = "rows.json", "rows-asked.json"  # how many, by number of the question
BYTES = 4 << 20  # about the longest REST body of a golden example, unless one row is longer
_SECONDS = 0.25  # about the longest time of its answer, unless one row takes longer


@dataclass(frozen=True)
class Question:
    """Inputs for one signature: arrays by name, of the dtypes and shapes that it takes."""

    signature: str
    inputs: Mapping[str, Array]


@dataclass(frozen=True)
class RowsAnswered:
    """The answer to the first rows of a question."""

    rows: int
    outputs: Mapping[str, Array]


def ask(directory: Path, questions: Iterable[Question], deadline: float = 120.0) -> list[Mapping[str, Array] | Failure]:
    """What the SavedModel in `directory` answers to each question: outputs by name, or a Failure.

    Args:
        questions: taken one at a time.
        deadline: longest time for loading and answering, seconds.

    Raises:
        NotServable: it cannot be loaded.
        DeadlineExceeded: it took too long.
    """
    answers = _ask(directory, questions, {}, deadline)
    return [answer if isinstance(answer, Failure) else answer.outputs for answer in answers]


def ask_what_fits(
    directory: Path, questions: Sequence[Question], rows: Mapping[int, int], deadline: float = 120.0
) -> list[RowsAnswered | Failure]:
    """What the SavedModel answers to as many rows of each question as it answers quickly and briefly, at least one.

    Args:
        rows: how many rows each question has, by its number; one that has no rows is asked as it is.

    Raises:
        NotServable, DeadlineExceeded: as `ask` does.
    """
    return _ask(directory, questions, rows, deadline)


def _ask(
    directory: Path, questions: Iterable[Question], rows: Mapping[int, int], deadline: float
) -> list[RowsAnswered | Failure]:
    with temporary_folder("session") as exchange:
        with (exchange / _QUESTIONS).open("wb") as file:
            file.writelines(framed(_request(question).SerializeToString() for question in questions))
        (exchange / _ROWS).write_text(json.dumps(list(rows.items())))
        command = isolated(
            (PYTHON, "-P", "-m", "slipway_entry", "tasks.savedmodel.session", str(directory.absolute()), str(exchange)),
            read=[directory],
            write=[exchange],
            end_with=os.getpid(),
        )
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=deadline, check=False)
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(
                f"{directory} was not loaded and asked within {deadline:g} s: the model is too slow for this machine, "
                "or the machine too busy."
            ) from None
        failures = {n: Failure(*f) for n, f in _read_failures(exchange / _FAILURES).items()}
        if None in failures:
            raise NotServable(f"{directory} cannot be loaded: {failures[None].message}. Copy or export it again.")
        if done.returncode != 0:
            raise NotServable(f"{directory} cannot be loaded: {_last_line(done)}.")
        answers = [PredictResponse.FromString(record) for record in records_of(exchange / _ANSWERS)]
        asked = dict(json.loads((exchange / _ROWS_ASKED).read_text()))
        return [failures.get(n) or RowsAnswered(asked.get(n, 0), _outputs(a)) for n, a in enumerate(answers)]


@raised_as(InvalidInput)
def _request(question: Question) -> PredictRequest:
    inputs = {name: to_proto(array) for name, array in question.inputs.items()}
    return PredictRequest(model_spec=ModelSpec(signature_name=question.signature), inputs=inputs)


@raised_as(InvalidInput)
def _outputs(answer: PredictResponse) -> dict[str, Array]:
    return {name: from_proto(tensor) for name, tensor in answer.outputs.items()}


def _read_failures(path: Path) -> dict[int | None, tuple[str, str]]:
    """Kind and message by number of the question; under None, that of loading."""
    if not path.exists():
        return {}
    return {number: (kind, message) for number, kind, message in json.loads(path.read_text())}


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode < 0:
        return f"its process was ended by signal {-done.returncode}; if that is 9, memory ran out"
    lines = done.stderr.strip().splitlines()
    return (
        lines[-1].strip().removesuffix(".")
        if lines
        else f"its process ended with code {done.returncode} and printed nothing"
    )


def _leave_out_api() -> None:
    """Let TensorFlow's modules be imported one by one: its whole API takes four times as long, and is not needed.

    Only for a process that does nothing else, since the module `tensorflow` stays empty.
    """
    tensorflow = importlib.util.find_spec("tensorflow")
    assert tensorflow is not None  # tasks.wire.protos found it
    sys.modules["tensorflow"] = importlib.util.module_from_spec(tensorflow)


def main(directory: str, exchange: str) -> None:
    """The process that asks: reads the questions in `exchange` and writes answers and failures beside them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _leave_out_api()
    from tensorflow.python.client.session import Session
    from tensorflow.python.framework.ops import Graph
    from tensorflow.python.saved_model import loader_impl

    folder = Path(exchange)
    requests = (PredictRequest.FromString(record) for record in records_of(folder / _QUESTIONS))
    rows: dict[int, int] = dict(json.loads((folder / _ROWS).read_text()))
    failures: list[tuple[int | None, str, str]] = []
    answers = []
    with Graph().as_default(), Session() as session:
        try:
            graph = loader_impl.load(session, ["serve"], directory)  # it is tf.compat.v1.saved_model.loader.load
        except Exception as error:  # noqa: BLE001 - any error is the reason
            (folder / _FAILURES).write_text(json.dumps([(None, type(error).__name__, reason(error))]))
            return
        for number, request in enumerate(requests):
            answer = PredictResponse()
            try:
                signature = graph.signature_def[request.model_spec.signature_name]
                inputs = {name: from_proto(tensor) for name, tensor in request.inputs.items()}
                if number in rows:
                    rows[number] = _rows_that_fit(session, signature, inputs, rows[number])
                    inputs = _first(inputs, rows[number])
                outputs = _run(session, signature, inputs)
                answer = PredictResponse(outputs={name: to_proto(value) for name, value in outputs.items()})
            except Exception as error:  # noqa: BLE001 - as above
                failures.append((number, type(error).__name__, reason(error)))
            answers.append(answer.SerializeToString())
    write_atomically(folder / _ANSWERS, to_bytes(answers))
    (folder / _FAILURES).write_text(json.dumps(failures))
    (folder / _ROWS_ASKED).write_text(json.dumps(list(rows.items())))


def _rows_that_fit(session: Any, signature: Any, inputs: Mapping[str, Array], rows: int) -> int:
    """How many of the rows are answered within the budget, by what the first one takes; at least one."""
    one = _first(inputs, 1)
    try:
        _run(session, signature, one)  # the first run prepares the graph
        began = time.monotonic()
        outputs = _run(session, signature, one)
        seconds = time.monotonic() - began
    except Exception:  # noqa: BLE001 - a model that does not take one row alone is asked all, and may fail there
        return rows
    size = sum(map(json_size, outputs.values()))
    return max(1, min(rows, BYTES // max(1, size), int(_SECONDS / max(1e-9, seconds))))


def _first(inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
    return {name: array[:rows] for name, array in inputs.items()}


def _run(session: Any, signature: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    fetches = {name: info.name for name, info in signature.outputs.items() if DataType(info.dtype % REF).is_array}
    feeds = {signature.inputs[name].name: array for name, array in inputs.items()}
    outputs: dict[str, Array] = session.run(fetches, feeds)
    return outputs


if __name__ == "__main__":
    main(*sys.argv[1:])
