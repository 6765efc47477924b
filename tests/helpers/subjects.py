"""A version as a replica serves it, for tests of checks: without a server."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.data.examples import Examples
from tasks.errors import ServingRefused
from tasks.policy import Policy
from tasks.records import DatasetRef, Manifest, Scored, ScoredOutput, SignatureSpec, TensorSpec, Training
from tasks.savedmodel.golden import GoldenExample
from tasks.serving.client import Answer, Target
from tasks.validation.checks.base import Expected, Subject
from tests.helpers.policies import POLICY

X, Y = np.array([1.0, 2.0], np.float32), np.array([2.0, 4.0], np.float32)
EXAMPLES = [GoldenExample("call", {"x": X}, {"y": Y}), GoldenExample("call", {"x": X}, {"y": Y})]
CALL = SignatureSpec({"x": TensorSpec("float32", (None,))}, {"y": TensorSpec("float32", (None,))})
CLASSIFY = SignatureSpec({"x": TensorSpec("float32", (None, 1))}, {"class": TensorSpec("int64", (None,))})

Answering = Callable[[Mapping[str, Any]], Answer]


class FakeServer:
    """Answers over both protocols, each as it is told, for each version."""

    def __init__(self, rest: Answering, grpc: Answering, live: Answering | None = None) -> None:
        self._rest, self._grpc, self._live = rest, grpc, live

    def predict_rest(self, target: Target, signature: str, inputs: Mapping[str, Any], spec: SignatureSpec) -> Answer:
        return self._of(target, self._rest)(inputs)

    def predict_grpc(
        self, target: Target, signature: str, inputs: Mapping[str, Any], outputs: Collection[str] = ()
    ) -> Answer:
        return self._of(target, self._grpc)(inputs)

    def _of(self, target: Target, answering: Answering) -> Answering:
        return self._live or refuse if target.version == LIVE.version else answering


def manifest(version: int, signature: str = "call", spec: SignatureSpec = CALL, **trained: float) -> Manifest:
    data = DatasetRef("digits", "ab" * 32, 0, "k") if trained else None
    return Manifest("MLP", version, "", (), {signature: spec}, None, Training(dataset=data, metrics=trained))


LIVE = manifest(6)


def refuse(_: Mapping[str, Any]) -> Answer:
    """As a server that does not know what it is asked for."""
    raise ServingRefused("it answered NOT_FOUND")


def answering(
    seconds: Iterable[float] = (), outputs: Mapping[str, Any] = {"y": Y}, version: int | None = 7
) -> Answering:
    """Answers with these outputs, in these times one after the other, and at once when they are used up."""
    times = iter(seconds)
    return lambda inputs: Answer(outputs, version, next(times, 0.001))


def served(
    answer: Answering,
    *,
    rest: Answering | None = None,
    live: Answering | None = None,
    examples: Sequence[GoldenExample] = EXAMPLES,
    policy: Policy = POLICY,
) -> Subject:
    """Version 7 of `MLP`, which answers so over gRPC; and over REST, rightly and at once unless told otherwise."""
    expected = Expected(manifest(7), policy, LIVE if live is not None else None, examples)
    server = FakeServer(rest or answering(outputs=examples[0].outputs if examples else {}), answer, live)
    return Subject(server, "r1", Target("MLP-candidate"), expected)


def classifying(true: Sequence[int], answered: Sequence[int] | None, trained: float = 0.0) -> Subject:
    """Version 7 of a classifier, with held-out examples of these classes, which it answers so; None: it refuses.

    Its golden example is all of them, with these answers.
    """
    x, y = np.zeros((len(true), 1), np.float32), np.array(true if answered is None else answered, np.int64)
    examples = [GoldenExample("classify", {"x": x}, {"class": y})]
    held_out = Examples({"x": x}, {"y": np.array(true, np.int64)})
    classes = {f"accuracy_class_{number}": trained for number in true}
    version = manifest(7, "classify", CLASSIFY, accuracy=trained, **classes)
    scored = Scored("classify", {"x": "x"}, {"y": ScoredOutput("class", "classes")})
    version = replace(version, training=replace(version.training, scored=scored))
    expected = Expected(version, POLICY, None, examples, held_out)
    answer = refuse if answered is None else answering(outputs={"class": y})
    return Subject(FakeServer(answer, answer), "r1", Target("MLP-candidate"), expected)


def pricing(true: Sequence[float], answered: Sequence[float], **trained: float) -> Subject:
    """Version 7 of a regression, with held-out examples of these prices, which it answers so."""
    x, prices = np.zeros((len(true), 1), np.float32), np.array(answered, np.float32)
    spec = SignatureSpec({"x": TensorSpec("float32", (None, 1))}, {"price": TensorSpec("float32", (None,))})
    data = DatasetRef("flats", "ab" * 32, 0, "k")
    scored = Scored("call", {"x": "x"}, {"price": ScoredOutput("price", "numbers")})
    training = Training(dataset=data, scored=scored, metrics=trained)
    version = Manifest("Flats", 7, "", (), {"call": spec}, None, training)
    examples = [GoldenExample("call", {"x": x}, {"price": prices})]
    expected = Expected(version, POLICY, None, examples, Examples({"x": x}, {"price": np.array(true)}))
    answer = answering(outputs={"price": prices})
    return Subject(FakeServer(answer, answer), "r1", Target("Flats-candidate"), expected)
