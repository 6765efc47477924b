"""Merging requests that arrive together into one run (batching_session.cc, shared_batch_scheduler.h).

Requests are merged along the first dimension, whose entries are called rows. They must feed and fetch the same tensors,
with the same types and, unless they may be padded, the same other dimensions; so no request can spoil another one.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from infra.modelserver.errors import Code, StatusError, as_status, failed_precondition, invalid_argument
from infra.modelserver.metrics import Metrics
from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.blocking import check_may_block
from infra.modelserver.runtime.servable import Runner
from tasks.wire.dtypes import Array


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """How requests are merged: TensorFlow Serving's parameters and defaults (session_bundle_config.proto).

    Sizes count rows, that is, the first dimension of every input. batch_timeout is in seconds. With num_batch_threads 0
    there is a thread for each CPU; with max_execution_batch_size 0 large requests are split at max_batch_size.
    """

    max_batch_size: int = 1000
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 0
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0


@dataclass(slots=True)
class _Task:
    """One request, or a part of one. Its thread owns the input tensors, and waits; the batch's thread sets the outcome.

    deadline and arrived are on the monotonic clock.
    """

    tensors: Sequence[int]
    rows: int
    deadline: float | None
    arrived: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    results: list[int] = field(default_factory=list)
    error: StatusError | None = None

    def outcome(self) -> list[int]:
        """Wait until the task has run; its output tensors.

        Raises:
            StatusError: its batch failed.
        """
        self.done.wait()
        if self.error is not None:
            raise self.error
        return self.results


@dataclass(slots=True)
class _Batch:
    tasks: list[_Task] = field(default_factory=list)
    rows: int = 0


class _Queue:
    """The batches that wait, of requests that may be merged; a task joins the last one if it has room."""

    def __init__(self, batcher: "Batcher", call: c_api.Call, parameters: BatchingParameters) -> None:
        self.batcher, self.call, self._parameters = batcher, call, parameters
        self.batches: list[_Batch] = []

    def add(self, task: _Task) -> None:
        largest = self._parameters.max_batch_size
        if not self.batches or self.batches[-1].rows + task.rows > largest:
            if len(self.batches) >= self._parameters.max_enqueued_batches:
                raise StatusError(
                    Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
                )
            self.batches.append(_Batch())
        self.batches[-1].tasks.append(task)
        self.batches[-1].rows += task.rows

    def due(self) -> float:
        """When the first batch is to run, on the monotonic clock; 0 for at once."""
        first = self.batches[0]
        if len(self.batches) > 1 or first.rows >= self._parameters.max_batch_size:
            return 0.0
        return first.tasks[0].arrived + self._parameters.batch_timeout


class BatchScheduler:
    """The threads that run the batches of one model, of all its versions."""

    def __init__(self, parameters: BatchingParameters, metrics: Metrics) -> None:
        self.parameters, self.metrics = parameters, metrics
        self._changed = threading.Condition()
        self._queues: OrderedDict[Hashable, _Queue] = OrderedDict()
        for number in range(parameters.num_batch_threads or os.cpu_count() or 1):
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True).start()

    def submit(self, key: Hashable, batcher: "Batcher", call: c_api.Call, task: _Task) -> None:
        """Queue a task among those with the same key.

        Raises:
            StatusError: UNAVAILABLE; the queue is full.
        """
        with self._changed:
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = _Queue(batcher, call, self.parameters)
            queue.add(task)
            self._changed.notify()

    def _work(self) -> None:
        while True:
            queue, batch = self._next()
            queue.batcher.run_batch(queue.call, batch.tasks, batch.rows)

    def _next(self) -> tuple[_Queue, _Batch]:
        """Wait for the next batch that is due; the queues take turns."""
        with self._changed:
            while True:
                now, soonest = time.monotonic(), None
                for key, queue in self._queues.items():
                    due = queue.due()
                    if due <= now:
                        batch = queue.batches.pop(0)
                        if queue.batches:
                            self._queues.move_to_end(key)
                        else:
                            del self._queues[key]
                        if self._queues:  # another thread must watch them: this one may be away for long
                            self._changed.notify()
                        return queue, batch
                    soonest = due if soonest is None else min(soonest, due)
                self._changed.wait(None if soonest is None else max(0.0, soonest - now))


class Batcher:
    """A runner in front of a session that merges the runs of one servable."""

    def __init__(self, session: Runner, name: str, scheduler: BatchScheduler) -> None:
        self._session, self._name, self._scheduler = session, name, scheduler

    def run(self, call: c_api.Call, tensors: Sequence[int], timeout: float | None) -> list[int]:
        """Run as part of a batch; as `Runner.run`.

        Raises:
            StatusError: INVALID_ARGUMENT if the inputs have no rows, or not equally many, or too many for a batch;
                UNAVAILABLE if the queue is full; or what the batch failed with.
        """
        check_may_block()
        shapes = [c_api.read_shape(tensor) for tensor in tensors]
        rows = _rows(shapes)
        parameters = self._scheduler.parameters
        limit = parameters.max_batch_size
        if rows <= limit:
            return self._submit(call, tensors, shapes, rows, timeout).outcome()
        if not parameters.enable_large_batch_splitting:
            raise invalid_argument(f"Task size {rows} is larger than maximum input batch size {limit}")
        return self._run_in_parts(call, tensors, shapes, rows, timeout)

    def _run_in_parts(
        self, call: c_api.Call, tensors: Sequence[int], shapes: list[tuple[int, ...]], rows: int,
        timeout: float | None,
    ) -> list[int]:  # fmt: skip
        parameters = self._scheduler.parameters
        step = min(parameters.max_execution_batch_size or parameters.max_batch_size, parameters.max_batch_size)
        parts: list[list[int]] = []
        tasks: list[_Task] = []
        try:
            for begin in range(0, rows, step):
                end = min(begin + step, rows)
                parts.append(_all_of(c_api.slice_rows(tensor, begin, end) for tensor in tensors))
                tasks.append(self._submit(call, parts[-1], shapes, end - begin, timeout))
            results = [task.outcome() for task in tasks]
            return _all_of(c_api.concatenate(pieces) for pieces in zip(*results, strict=True))
        finally:
            for task in tasks:  # after a failure too: a queued task reads its part until it is done
                task.done.wait()
                c_api.delete_all(task.results)
            for part in parts:
                c_api.delete_all(part)

    def _submit(
        self, call: c_api.Call, tensors: Sequence[int], shapes: list[tuple[int, ...]], rows: int,
        timeout: float | None,
    ) -> _Task:  # fmt: skip
        task = _Task(tensors, rows, None if timeout is None else time.monotonic() + timeout)
        padded = self._scheduler.parameters.pad_variable_length_inputs
        kinds = tuple([(c_api.read_type(t), len(s) if padded else s[1:]) for t, s in zip(tensors, shapes, strict=True)])
        self._scheduler.submit((id(self), id(call), kinds), self, call, task)
        return task

    def run_batch(self, call: c_api.Call, tasks: list[_Task], rows: int) -> None:
        """Run these tasks, of `rows` rows in total, and wake those who wait for them."""
        error: StatusError | None = None
        try:
            self._run_together(call, tasks, rows)
        except Exception as failure:  # noqa: BLE001 - those who wait must be told of any error
            error = as_status(failure)
        for task in tasks:
            if error is not None:
                c_api.delete_all(task.results)
                task.error, task.results = error, []
            task.done.set()

    def _run_together(self, call: c_api.Call, tasks: list[_Task], rows: int) -> None:
        now = time.monotonic()
        parameters, metrics = self._scheduler.parameters, self._scheduler.metrics
        deadlines = [task.deadline for task in tasks]
        last = None if None in deadlines else max(d for d in deadlines if d is not None)
        if last is not None and last <= now:
            raise StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
        padding = next((size - rows for size in parameters.allowed_batch_sizes if size >= rows), 0)
        metrics.record_batch(
            self._name, parameters.thread_pool_name, rows + padding, [now - task.arrived for task in tasks]
        )
        timeout = None if last is None else last - now
        if len(tasks) == 1 and not padding:
            tasks[0].results = self._session.run(call, tasks[0].tensors, timeout)
            _check_rows(tasks[0].results, rows)
            return
        with c_api.kept_tensors() as kept:
            for i in range(call.inputs):
                kept.append(_merge([task.tensors[i] for task in tasks], padding))
            outputs = self._session.run(call, tuple(kept), timeout)
            kept.extend(outputs)
            _split(outputs, tasks, rows + padding)


def _rows(shapes: Sequence[tuple[int, ...]]) -> int:
    """The size of the first dimension, which must be the same for all inputs."""
    if not shapes:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if any(not shape for shape in shapes):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    if len({shape[0] for shape in shapes}) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return shapes[0][0]


def _merge(tensors: list[int], padding: int) -> int:
    """One tensor of all rows, and then the first row of the last tensor `padding` times."""
    shapes = [c_api.read_shape(tensor) for tensor in tensors]
    with c_api.kept_tensors() as kept:
        if len({shape[1:] for shape in shapes}) > 1:
            widest = np.max([shape[1:] for shape in shapes], axis=0)
            for tensor, shape in zip(tensors, shapes, strict=True):
                kept.append(_pad(tensor, shape, widest))
            tensors = list(kept)
        if padding:
            row = c_api.slice_rows(tensors[-1], 0, 1)
            kept.append(row)
            tensors = [*tensors, *[row] * padding]
        return c_api.concatenate(tensors)


def _pad(tensor: int, shape: tuple[int, ...], widest: Array) -> int:
    """The tensor, its dimensions after the first widened to `widest`, filled up with its own first element."""
    array = c_api.array_from_tensor(tensor)
    margins = [(0, 0), *((0, int(wide) - size) for wide, size in zip(widest, shape[1:], strict=True))]
    fill = array.flat[0] if array.size else (b"" if array.dtype == object else 0)
    return c_api.tensor_from_array(
        np.pad(array, margins, constant_values=fill).astype(array.dtype), c_api.read_type(tensor)
    )


def _check_rows(outputs: Sequence[int], rows: int) -> None:
    """Check that every output has a row for each of the batch, padding included.

    Raises:
        StatusError: FAILED_PRECONDITION; one has not.
    """
    for tensor in outputs:
        shape = c_api.read_shape(tensor)
        if not shape:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if shape[0] != rows:
            raise failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )


def _split(outputs: list[int], tasks: list[_Task], rows: int) -> None:
    """Give each task its rows of every output; `rows` is the size of the batch, padding included.

    Raises:
        StatusError: FAILED_PRECONDITION; an output does not have as many rows as the inputs.
    """
    _check_rows(outputs, rows)
    begin = 0
    for task in tasks:
        end = begin + task.rows
        task.results = _all_of(c_api.slice_rows(tensor, begin, end) for tensor in outputs)
        begin = end


def _all_of(made: Iterable[int]) -> list[int]:
    """The tensors that an iterable makes one by one. If it fails, those already made are given back."""
    tensors: list[int] = []
    try:
        for tensor in made:
            tensors.append(tensor)
    except BaseException:
        c_api.delete_all(tensors)
        raise
    return tensors
