"""Rates and latencies of the embedded model server, beside the bare session and TensorFlow Serving itself.

    python tests/benchmarks/bench_modelserver.py [--seconds 3] [--clients 8]

One run measures everything, on loopback: REST and gRPC predict of one 28x28 digit and of 32, by one client and by
many; the same session called in a bare loop (the floor); and `tensorflow_model_server`, when it is on the PATH, asked
by the same clients. Ratios are of rates in this run; a busy machine moves the rates more than the ratios.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO))
MAKE_MODELS = REPO / "tests" / "integration" / "modelserver" / "rest_models.py"
DIGITS = (1, 32)
ASK = "POST /v1/models/digits:predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests a second, and percentiles of their latency in milliseconds."""

    rate: float
    p50: float
    p99: float


def measure(calls: list[Callable[[], None]], seconds: float) -> Measured:
    """Run each call in a thread of its own, again and again for so many seconds."""
    latencies: list[list[float]] = [[] for _ in calls]
    barrier = threading.Barrier(len(calls) + 1)

    def work(call: Callable[[], None], times: list[float]) -> None:
        try:
            for _ in range(20):
                call()
        except BaseException:
            barrier.abort()
            raise
        barrier.wait()
        end = time.perf_counter() + seconds
        before = time.perf_counter()
        while before < end:
            call()
            after = time.perf_counter()
            times.append(after - before)
            before = after

    threads = [threading.Thread(target=work, args=pair) for pair in zip(calls, latencies, strict=True)]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    every = sorted(time for times in latencies for time in times)
    return Measured(
        len(every) / elapsed, statistics.median(every) * 1000, every[min(len(every) - 1, int(len(every) * 0.99))] * 1000
    )


def pictures(count: int) -> np.ndarray:
    """Digits of a kind: four pixels in five are blank, as in MNIST."""
    random = np.random.default_rng(7)
    shape = (count, 28, 28, 1)
    return np.where(random.random(shape) < 0.8, 0, random.random(shape)).astype(np.float32)


def rest_call(port: int, count: int) -> Callable[[], None]:
    """A REST predict over one kept connection, written by hand: a client that costs as little as can be."""
    body = json.dumps({"instances": pictures(count).tolist()}).encode()
    request = ASK.format(len(body)).encode() + body
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call() -> None:
        connection.sendall(request)
        reply = connection.recv(1 << 16)
        while b"\r\n\r\n" not in reply:
            reply += connection.recv(1 << 16)
        head, _, content = reply.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not a prediction: {reply[:500]!r}")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(content) < length:
            content += connection.recv(1 << 16)

    return call


def grpc_call(port: int, count: int) -> Callable[[], None]:
    """A gRPC predict over a channel of its own."""
    import grpc

    from tasks.wire.protos import PredictionServiceStub, PredictRequest

    array = pictures(count)
    request = PredictRequest()
    request.model_spec.name = "digits"
    tensor = request.inputs["inputs"]
    tensor.dtype = 1
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = array.tobytes()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    stub = PredictionServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}", options))
    return lambda: stub.Predict(request, timeout=30)


CALLS = {"REST": rest_call, "gRPC": grpc_call}


def ask(kind: str, port: int, count: int, clients: int, seconds: float) -> Measured:
    """Measure from a process of its own, so that client and server share no interpreter."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_ask_here, (kind, port, count, clients, seconds))


def _ask_here(kind: str, port: int, count: int, clients: int, seconds: float) -> Measured:
    return measure([CALLS[kind](port, count) for _ in range(clients)], seconds)


def floor(models: Path, count: int, seconds: float) -> Measured:
    """The session by itself, in a bare loop: no server can be faster."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_floor_here, (models, count, seconds))


def _floor_here(models: Path, count: int, seconds: float) -> Measured:
    from infra.modelserver.runtime import c_api
    from tasks.wire.dtypes import DataType
    from tasks.wire.protos import MetaGraphDef

    session = c_api.Session(str(models / "digits" / "1"), ("serve",), b"")
    signature = MetaGraphDef.FromString(session.meta_graph).signature_def["serving_default"]
    (feed,), (fetch,) = signature.inputs.values(), signature.outputs.values()
    ends = session.endpoint(feed.name), session.endpoint(fetch.name)
    assert ends[0] is not None
    assert ends[1] is not None
    run = c_api.Call([ends[0]], [ends[1]])
    tensor = c_api.tensor_from_array(pictures(count), DataType.FLOAT)

    def call() -> None:
        for result in session.run(run, [tensor], None):
            c_api.delete(result)

    return measure([call], seconds)


@contextlib.contextmanager
def server(command: list[str], models: Path) -> Iterator[tuple[int, int]]:
    """A server with the model `digits`; its REST and gRPC ports."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        rest_port, grpc_port = one.getsockname()[1], other.getsockname()[1]
    process = subprocess.Popen(
        [
            *command, f"--rest_api_port={rest_port}", f"--port={grpc_port}", "--model_name=digits",
            f"--model_base_path={models / 'digits'}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", rest_port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not open its ports")
            time.sleep(0.1)
        yield rest_port, grpc_port
    finally:
        process.kill()
        process.wait()


def servers() -> dict[str, list[str]]:
    """The servers to measure, by name."""
    found = {"embedded": [sys.executable, "-m", "infra.modelserver"]}
    real = shutil.which("tensorflow_model_server")
    return found | ({"TF Serving": [real]} if real else {})


def main() -> None:
    """Measure, and print a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=8)
    args = parser.parse_args()
    os.chdir(REPO)
    models = Path(tempfile.mkdtemp(prefix="bench-models-"))
    try:
        subprocess.run([sys.executable, MAKE_MODELS, models], check=True, capture_output=True)
        report(models, args.seconds, args.clients)
    finally:
        shutil.rmtree(models, ignore_errors=True)


def report(models: Path, seconds: float, clients: int) -> None:
    """Print each measurement as it is made, then the ratios."""
    sys.stdout.write(f"{'':36}{'rate /s':>10}{'p50 ms':>10}{'p99 ms':>10}{'p99/p50':>9}\n")
    rates: dict[tuple[str, str, int], float] = {}
    for count in DIGITS:
        result = floor(models, count, seconds)
        rates["floor", "", count] = result.rate
        show(f"bare session, {digits(count)}", result)
    for name, command in servers().items():
        with server(command, models) as (rest_port, grpc_port):
            for kind, port in (("REST", rest_port), ("gRPC", grpc_port)):
                for count in DIGITS:
                    for asking in (1, clients):
                        result = ask(kind, port, count, asking, seconds)
                        show(f"{name} {kind}, {digits(count)}, {asking} client{'s' * (asking > 1)}", result)
                        if asking == 1:
                            rates[name, kind, count] = result.rate
    sys.stdout.write("\n")
    for (name, kind, count), rate in rates.items():
        if name == "floor":
            continue
        ratios = f"{rate / rates['floor', '', count]:.2f} of the floor"
        real = rates.get(("TF Serving", kind, count))
        if real and name == "embedded":
            ratios += f", {rate / real:.2f} of TF Serving"
        sys.stdout.write(f"{name} {kind}, {digits(count)}: {ratios}\n")
    if ("TF Serving", "REST", 1) not in rates:
        sys.stdout.write("tensorflow_model_server is not on the PATH: not compared with it\n")


def digits(count: int) -> str:
    """ "1 digit", "32 digits"."""
    return f"{count} digit{'s' * (count > 1)}"


def show(what: str, result: Measured) -> None:
    """Print one line of the table."""
    percentiles = f"{result.p50:>10.2f}{result.p99:>10.2f}{result.p99 / result.p50:>9.1f}"
    sys.stdout.write(f"{what:36}{result.rate:>10.0f}{percentiles}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
