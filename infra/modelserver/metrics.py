"""Counters and latencies under TensorFlow Serving's names, as a Prometheus page.

The names begin with a colon, the page has no HELP lines and counters no `_total`, as TensorFlow Serving prints them
(prometheus_exporter.cc); the Prometheus client library can print none of these.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence

_LATENCY_BUCKETS = tuple(10 * 1.8**i for i in range(33))
_EXAMPLE_BUCKETS = tuple(float(2**i) for i in range(15))
_QUEUE_BUCKETS = tuple(100 * 1.2**i for i in range(52))
_MICROS = 1e6


def _label_value(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return f"{value:.6g}"


class _Counter:
    def __init__(self, name: str, *labels: str) -> None:
        self.name, self._labels = name, labels
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], int] = {}

    def add(self, values: tuple[str, ...], amount: int = 1) -> None:
        with self._lock:
            self._cells[values] = self._cells.get(values, 0) + amount

    def lines(self) -> list[str]:
        with self._lock:
            cells = sorted(self._cells.items())
        return [f"# TYPE {self.name} counter"] + [
            f"{self.name}{{{_pairs(self._labels, values)}}} {count}" for values, count in cells
        ]


class _Histogram:
    def __init__(self, name: str, buckets: Sequence[float], *labels: str) -> None:
        self.name, self._buckets, self._labels = name, buckets, labels
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def add(self, values: tuple[str, ...], value: float) -> None:
        bucket = bisect_left(self._buckets, value)
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = self._cells[values] = ([0] * (len(self._buckets) + 1), [0.0])
            cell[0][bucket] += 1
            cell[1][0] += value

    def lines(self) -> list[str]:
        with self._lock:
            cells = sorted((values, list(counts), total[0]) for values, (counts, total) in self._cells.items())
        lines = [f"# TYPE {self.name} histogram"]
        limits = [*map(_number, self._buckets), "+Inf"]
        for values, counts, total in cells:
            labels, cumulative = _pairs(self._labels, values), 0
            for limit, count in zip(limits, counts, strict=True):
                cumulative += count
                lines.append(f'{self.name}_bucket{{{labels},le="{limit}"}} {cumulative}')
            lines.append(f"{self.name}_sum{{{labels}}} {_number(total)}")
            lines.append(f"{self.name}_count{{{labels}}} {cumulative}")
        return lines


def _pairs(labels: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{label}="{_label_value(value)}"' for label, value in zip(labels, values, strict=True))


class Metrics:
    """What the server counts and measures. Thread-safe."""

    def __init__(self) -> None:
        self._requests = _Counter(":tensorflow:serving:request_count", "model_name", "status")
        self._latency = _Histogram(
            ":tensorflow:serving:request_latency", _LATENCY_BUCKETS, "model_name", "API", "entrypoint"
        )
        self._runtime = _Histogram(
            ":tensorflow:serving:runtime_latency", _LATENCY_BUCKETS, "model_name", "API", "runtime"
        )
        self._graph_runs = _Counter(":tensorflow:core:graph_runs")
        self._graph_micros = _Counter(":tensorflow:core:graph_run_time_usecs")
        self._examples = _Histogram(":tensorflow:serving:request_example_counts", _EXAMPLE_BUCKETS, "model")
        self._example_total = _Counter(":tensorflow:serving:request_example_count_total", "model")
        self._warmup = _Histogram(":tensorflow:serving:model_warmup_latency", _LATENCY_BUCKETS, "model_path", "status")
        self._load_latency = _Counter(":tensorflow:cc:saved_model:load_latency", "model_path")
        self._load_attempts = _Counter(":tensorflow:cc:saved_model:load_attempt_count", "model_path", "status")
        self._queuing = _Histogram(
            ":tensorflow:serving:batching_session:queuing_latency", _QUEUE_BUCKETS, "thread_pool_name"
        )
        self._batch_size = _Histogram(
            ":tensorflow:serving:batching_session:processed_batch_size", _EXAMPLE_BUCKETS, "model_name"
        )

    def record_request(self, model_name: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """One request ended.

        model_name is empty if no such model is served. api is "Predict", "Classify", "Regress" or "MultiInference", and
        over REST "predict", "classify", "regress" or empty, as the URL has it; entrypoint "REST" or "GRPC"; status a
        Code's name.
        """
        self._requests.add((model_name, status))
        if status == "OK":
            self._latency.add((model_name, api, entrypoint), seconds * _MICROS)

    def record_graph_run(self, seconds: float) -> None:
        """One session run, of one request or a batch, succeeded."""
        self._graph_runs.add(())
        self._graph_micros.add((), int(seconds * _MICROS))

    def record_run(self, model_name: str, api: str, seconds: float) -> None:
        """One request's run succeeded."""
        self._runtime.add((model_name, api, "TF1"), seconds * _MICROS)

    def record_examples(self, model_name: str, count: int) -> None:
        """A request held this many tf.Examples."""
        self._examples.add((model_name,), count)
        self._example_total.add((model_name,), count)

    def record_load(self, path: str, seconds: float, *, failed: bool) -> None:
        """A SavedModel was loaded, or loading it failed."""
        self._load_attempts.add((path, "fail" if failed else "success"))
        if not failed:
            self._load_latency.add((path,), int(seconds * _MICROS))

    def record_warmup(self, path: str, seconds: float, status: str) -> None:
        """A model's warm-up requests were replayed."""
        self._warmup.add((path, status), seconds * _MICROS)

    def record_batch(self, model_name: str, pool: str, size: int, waits: Sequence[float]) -> None:
        """A batch of `size` rows was run; its requests had waited for `waits`, in seconds."""
        self._batch_size.add((model_name,), size)
        for seconds in waits:
            self._queuing.add((pool,), seconds * _MICROS)

    def page(self) -> str:
        """The text of the Prometheus page, content type text/plain."""
        every = [value for value in vars(self).values() if isinstance(value, _Counter | _Histogram)]
        return "\n".join(line for metric in sorted(every, key=lambda m: m.name) for line in metric.lines()) + "\n"
