"""What becomes of the tensors of requests that are merged or split, above all when something fails on the way."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.metrics import Metrics
from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.batching import Batcher, BatchingParameters, BatchScheduler
from tasks.wire.dtypes import DataType

Run = Callable[[list[int]], list[int]]


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """The tensors that have been made and not yet been given back."""
    c_api.load()
    tensors: set[int] = set()
    new_tensor, delete = c_api.new_tensor, c_api.delete

    def make(*args: Any) -> int:
        tensor = new_tensor(*args)
        tensors.add(tensor)
        return tensor

    def give_back(tensor: int) -> None:
        tensors.remove(tensor)
        delete(tensor)

    monkeypatch.setattr(c_api, "new_tensor", make)
    monkeypatch.setattr(c_api, "delete", give_back)
    yield tensors
    for tensor in tensors:
        delete(tensor)


class _RunWhenWaitedFor(threading.Event):
    def __init__(self, run: Callable[[], None]) -> None:
        super().__init__()
        self._run_batch = run

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._run_batch()
        return super().wait(timeout)


class LazyScheduler:
    """Takes `room` tasks, and runs each alone and as late as possible: when it is waited for."""

    def __init__(self, room: int = 100) -> None:
        self.parameters = BatchingParameters(max_batch_size=2, enable_large_batch_splitting=True)
        self.metrics, self._room = Metrics(), room

    def submit(self, key: Any, batcher: Batcher, call: c_api.Call, task: Any) -> None:
        if not self._room:
            raise StatusError(Code.UNAVAILABLE, "full")
        self._room -= 1
        task.done = _RunWhenWaitedFor(lambda: batcher.run_batch(call, [task], task.rows))


class FakeSession:
    """Answers as `answer` does, and remembers which rows it was given."""

    def __init__(self, answer: Run) -> None:
        self._answer = answer
        self.seen: list[list[float]] = []

    def run(self, call: c_api.Call, tensors: Sequence[int], timeout: float | None) -> list[int]:
        self.seen.append(c_api.array_from_tensor(tensors[0]).tolist())
        return self._answer(list(tensors))


def floats(*values: float) -> int:
    return c_api.tensor_from_array(np.array(values, np.float32), DataType.FLOAT)


def resources(rows: int) -> int:
    """A tensor that can be neither sliced nor merged."""
    return c_api.new_tensor(DataType.RESOURCE, [rows, 0], None, 0)


def same(tensors: list[int]) -> list[int]:
    return [c_api.slice_rows(tensor, 0, c_api.read_shape(tensor)[0]) for tensor in tensors]


def splitting(session: FakeSession, room: int = 100) -> Batcher:
    """A batcher that splits what has more than two rows."""
    return Batcher(session, "model", LazyScheduler(room))  # type: ignore[arg-type]


def call(inputs: int, outputs: int) -> c_api.Call:
    return c_api.Call([(0, 0)] * inputs, [(0, 0)] * outputs)


def test_a_large_request_is_run_in_parts_and_its_answer_is_one(alive: set[int]) -> None:
    session = FakeSession(same)
    request = floats(1, 2, 3)
    (answer,) = splitting(session).run(call(1, 1), [request], None)
    assert session.seen == [[1, 2], [3]]
    assert c_api.array_from_tensor(answer).tolist() == [1, 2, 3]
    assert alive == {request, answer}


def test_queued_parts_keep_their_tensors_when_the_queue_has_no_room_for_the_rest(alive: set[int]) -> None:
    session = FakeSession(same)
    request = floats(1, 2, 3, 4, 5)
    with pytest.raises(StatusError, match="UNAVAILABLE: full"):
        splitting(session, room=2).run(call(1, 1), [request], None)
    assert session.seen == [[1, 2], [3, 4]]
    assert alive == {request}


def test_no_tensor_is_lost_when_an_input_cannot_be_split(alive: set[int]) -> None:
    request = [floats(1, 2, 3), resources(3)]
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: Tensors of DataType 20 cannot be sliced"):
        splitting(FakeSession(same)).run(call(2, 2), request, None)
    assert alive == set(request)


def test_no_tensor_is_lost_when_one_part_fails(alive: set[int]) -> None:
    def fail_on_three(tensors: list[int]) -> list[int]:
        if c_api.array_from_tensor(tensors[0])[0] == 3:
            raise StatusError(Code.INTERNAL, "broken")
        return same(tensors)

    request = floats(1, 2, 3, 4, 5)
    with pytest.raises(StatusError, match="INTERNAL: broken"):
        splitting(FakeSession(fail_on_three)).run(call(1, 1), [request], None)
    assert alive == {request}


def test_no_tensor_is_lost_when_the_answers_of_parts_cannot_be_joined(alive: set[int]) -> None:
    def answer(tensors: list[int]) -> list[int]:
        return [*same(tensors), resources(2)]

    request = floats(1, 2, 3, 4)
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: Tensors of DataType 20 cannot be"):
        splitting(FakeSession(answer)).run(call(1, 2), [request], None)
    assert alive == {request}


def ask_together(session: FakeSession, kind: c_api.Call, requests: Sequence[Sequence[int]]) -> list[str]:
    """Send requests of one row each that are run as one batch; the errors that they get."""
    parameters = BatchingParameters(max_batch_size=len(requests), batch_timeout=60, num_batch_threads=1)
    merging = Batcher(session, "model", BatchScheduler(parameters, Metrics()))

    def ask(request: Sequence[int]) -> str:
        with pytest.raises(StatusError) as caught:
            merging.run(kind, request, None)
        return str(caught.value)

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(ask, requests))


def test_no_tensor_is_lost_when_an_input_cannot_be_merged(alive: set[int]) -> None:
    requests = [[floats(1), resources(1)], [floats(2), resources(1)]]
    errors = ask_together(FakeSession(same), call(2, 2), requests)
    assert errors == ["INVALID_ARGUMENT: Tensors of DataType 20 cannot be sliced or concatenated."] * 2
    assert alive == {tensor for request in requests for tensor in request}


def test_no_tensor_is_lost_when_an_output_cannot_be_given_to_those_who_were_merged(alive: set[int]) -> None:
    session = FakeSession(lambda tensors: [*same(tensors), resources(2)])
    requests = [[floats(1)], [floats(2)]]
    errors = ask_together(session, call(1, 2), requests)
    assert errors == ["INVALID_ARGUMENT: Tensors of DataType 20 cannot be sliced or concatenated."] * 2
    assert session.seen in ([[1, 2]], [[2, 1]])
    assert alive == {tensor for request in requests for tensor in request}


def test_an_output_whose_rows_are_not_the_batchs_fails_a_request_that_is_alone_in_it_too(alive: set[int]) -> None:
    sent = floats(1, 2)
    batcher = Batcher(FakeSession(lambda _: [floats(1)]), "model", BatchScheduler(BatchingParameters(), Metrics()))
    with pytest.raises(StatusError, match="0th dimension does not equal the sum") as problem:
        batcher.run(call(1, 1), [sent], None)
    assert problem.value.code is Code.FAILED_PRECONDITION
    assert alive == {sent}


def test_an_array_of_resources_has_their_shape_and_no_values(alive: set[int]) -> None:
    array = c_api.array_from_tensor(resources(2))
    assert (array.shape, array.dtype) == ((2, 0), object)
