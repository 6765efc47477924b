"""Swap a model's two versions again and again, under load: `python swap_memory.py BASE_PATH SWAPS`.

Prints the resident bytes after the first tenth of the swaps and after the last, and the requests that were answered
and that failed. No request may fail, and the memory of what is unloaded must come back.
"""

import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from infra.modelserver.errors import StatusError
from infra.modelserver.inference.predict import predict
from infra.modelserver.lifecycle.manager import Manager, ManagerOptions
from infra.modelserver.lifecycle.states import State, StateMonitor
from infra.modelserver.metrics import Metrics
from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.servable import LoadOptions, Servable

DEADLINE = 60.0


def swap(base: Path, swaps: int) -> tuple[int, int, int, int]:
    """Bytes early, bytes late, answered requests, failed requests."""
    metrics, monitor = Metrics(), StateMonitor()
    manager = Manager(
        lambda name, version, path: Servable(name, version, path, LoadOptions(), metrics), monitor, ManagerOptions(0)
    )
    process = psutil.Process()
    answered, failed, done, early = [0], [0], threading.Event(), 0

    def ask() -> None:
        while not done.wait(0.001):
            try:
                with manager.acquire("m", None, None) as servable:
                    signature = servable.signatures["serving_default"]
                    (alias, info), *_ = signature.inputs.items()
                    ones = np.ones([max(size, 1) for size in info.shape or ()], info.dtype)
                    with predict(servable, signature, {alias: partial(c_api.tensor_from_array, ones, info.data_type)}):
                        pass
                answered[0] += 1
            except StatusError:
                failed[0] += 1

    def serve(version: int) -> None:
        manager.set_wanted("m", {version: str(base / str(version))})
        deadline = time.monotonic() + DEADLINE
        while {s.version for s in monitor.statuses("m", None) if s.state != State.END} != {version}:
            assert time.monotonic() < deadline, monitor.statuses("m", None)
            time.sleep(0.001)

    serve(1)
    while monitor.available("m") != {1}:
        time.sleep(0.001)
    client = threading.Thread(target=ask)
    client.start()
    for number in range(swaps):
        serve(2 - number % 2)
        if number == swaps // 10:
            early = process.memory_info().rss
    done.set()
    client.join()
    return early, process.memory_info().rss, answered[0], failed[0]


if __name__ == "__main__":
    print(*swap(Path(sys.argv[1]), int(sys.argv[2])))  # noqa: T201
