"""A client that never stops asking."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tasks.errors import SlipwayError
from tasks.serving import Target
from tests.integration.replica import LocalReplica

_PAUSE = 0.005  # seconds between two questions: more of them would only slow down what they watch


class Client:
    """Asks for `affine` again and again, and keeps which versions answered and what failed."""

    def __init__(self, replica: LocalReplica, label: str | None = None) -> None:
        self.versions: list[int | None] = []
        self.failures: list[str] = []
        self._replica = replica
        self._target = Target("affine", label=label)

    @contextmanager
    def hammering(self) -> Iterator["Client"]:
        stop = threading.Event()
        thread = threading.Thread(target=self._ask, args=(stop,))
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def _ask(self, stop: threading.Event) -> None:
        with self._replica.client() as client:
            while not stop.wait(_PAUSE):
                try:
                    answer = client.predict_grpc(self._target, "serving_default", {"x": np.array([4.0], np.float32)})
                    self.versions.append(answer.version)
                except SlipwayError as error:
                    self.failures.append(str(error))
