"""A client that never stops asking."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import requests

from tasks.errors import SlipwayError
from tasks.serving import ModelServer, Target
from tests.integration.replica import LocalReplica

_PAUSE = 0.02  # seconds between two questions: more of them would only slow down what they watch
_X = 4.0


class Client:
    """Asks replicas for `affine` in turn, over gRPC and over REST, and keeps what answered and what failed."""

    def __init__(self, *replicas: LocalReplica, label: str | None = None) -> None:
        # The version that answered (REST does not tell: None), and b in its 0.5·x + b: of `affine` version v this is v.
        self.answers: list[tuple[int | None, int]] = []
        self.failures: list[str] = []
        self._replicas = replicas
        self._label = label

    @property
    def versions(self) -> list[int]:
        """The versions that answered over gRPC, in the order of the answers."""
        return [version for version, _ in self.answers if version is not None]

    @property
    def variants(self) -> list[int]:
        """Which `affine` answered, over gRPC and REST, in the order of the answers."""
        return [variant for _, variant in self.answers]

    @contextmanager
    def hammering(self) -> Iterator["Client"]:
        stop = threading.Event()
        thread = threading.Thread(target=self._ask_on, args=(stop,))
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def _ask_on(self, stop: threading.Event) -> None:
        with ExitStack() as clients:
            session = clients.enter_context(requests.Session())
            ways: list[Callable[[], tuple[int | None, float]]] = []
            for replica in self._replicas:
                server = clients.enter_context(replica.client())
                ways.append(lambda server=server: self._over_grpc(server))
                ways.append(lambda replica=replica: self._over_rest(session, replica))
            for ask in itertools.cycle(ways):
                if stop.wait(_PAUSE):
                    break
                try:
                    version, y = ask()
                    self.answers.append((version, round(y - _X / 2)))
                except (SlipwayError, requests.RequestException) as error:
                    self.failures.append(str(error))

    def _over_grpc(self, server: ModelServer) -> tuple[int | None, float]:
        inputs = {"x": np.array([_X], np.float32)}
        answer = server.predict_grpc(Target("affine", label=self._label), "serving_default", inputs)
        return answer.version, float(answer.outputs["y"][0])

    def _over_rest(self, session: requests.Session, replica: LocalReplica) -> tuple[int | None, float]:
        asked = f"affine/labels/{self._label}" if self._label else "affine"
        mine = replica.settings
        url = f"http://{mine.host}:{mine.rest_port}/v1/models/{asked}:predict"
        answer = session.post(url, json={"instances": [_X]}, timeout=mine.call_deadline)
        answer.raise_for_status()
        return None, float(answer.json()["predictions"][0])
