"""A client that never stops asking."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import requests

from tasks.errors import SlipwayError
from tasks.serving.client import ServingClient, Target
from tests.helpers.local import until
from tests.helpers.replica import LocalReplica

_PAUSE = 0.02  # seconds between two questions: more of them would only slow down what they watch
_X = 4.0


class Client:
    """Asks replicas for `affine` in turn, over gRPC and over REST, and keeps what answered and what failed.

    It names no version, as most clients do, and asks for each of `labels` too.
    """

    def __init__(self, *replicas: LocalReplica, labels: Sequence[str] = ()) -> None:
        # The version that answered (REST does not tell: None), and b in its 0.5·x + b: of `affine` version v this is v.
        self.answers: list[tuple[int | None, int]] = []
        self.failures: list[str] = []
        self._targets = (Target("affine"), *(Target("affine", label=label) for label in labels))
        # Which `affine` answered at each place, in the order of the answers.
        self.variants_at: dict[str, list[int]] = {target.path: [] for target in self._targets}
        self._replicas = replicas

    @property
    def versions(self) -> list[int]:
        """The versions that answered over gRPC, in the order of the answers."""
        return [version for version, _ in self.answers if version is not None]

    @property
    def variants(self) -> set[int]:
        """Which `affine` answered at any place, over gRPC and REST."""
        return {variant for _, variant in self.answers}

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

    def await_answers(self, rounds: int = 2) -> None:
        """Wait until each place was asked anew, on each replica and over both protocols."""
        enough = len(self.answers) + len(self.failures) + rounds * 2 * len(self._replicas) * len(self._targets)
        until(lambda: len(self.answers) + len(self.failures) >= enough, "the client has asked again")

    def _ask_on(self, stop: threading.Event) -> None:
        with ExitStack() as clients:
            session = clients.enter_context(requests.Session())
            ways: list[tuple[str, Callable[[], tuple[int | None, float]]]] = []
            for replica in self._replicas:
                server = clients.enter_context(replica.client())
                for target in self._targets:
                    ways.append((target.path, partial(_over_grpc, server, target)))
                    ways.append((target.path, partial(_over_rest, session, replica, target)))
            for place, ask in itertools.cycle(ways):
                if stop.wait(_PAUSE):
                    break
                try:
                    version, y = ask()
                    variant = round(y - _X / 2)
                    self.answers.append((version, variant))
                    self.variants_at[place].append(variant)
                except (SlipwayError, requests.RequestException) as error:
                    self.failures.append(str(error))


def _over_grpc(server: ServingClient, target: Target) -> tuple[int | None, float]:
    answer = server.predict_grpc(target, "serving_default", {"x": np.array([_X], np.float32)})
    return answer.version, float(answer.outputs["y"][0])


def _over_rest(session: requests.Session, replica: LocalReplica, target: Target) -> tuple[int | None, float]:
    mine = replica.settings
    url = f"http://{mine.host}:{mine.rest_port}{target.path}:predict"
    answer = session.post(url, json={"instances": [_X]}, timeout=mine.call_deadline)
    answer.raise_for_status()
    return None, float(answer.json()["predictions"][0])
