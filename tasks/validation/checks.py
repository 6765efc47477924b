"""What one replica is asked, and how its answers are judged."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.data.held_out import HeldOut
from tasks.errors import ServingUnreachable, SlipwayError
from tasks.evaluation.metrics import class_counts
from tasks.evaluation.questions import AccuracyQuestion, held_out_classes
from tasks.policy import Policy
from tasks.records import Manifest, Record, SignatureSpec
from tasks.savedmodel import golden
from tasks.savedmodel.golden import GoldenExample
from tasks.serving.client import Answer, ServingClient, Target
from tasks.wire.dtypes import Array

Ask = Callable[[Mapping[str, Array]], Answer]  # an example's inputs, answered
Protocol = Literal["REST", "gRPC"]
PROTOCOLS: tuple[Protocol, ...] = ("REST", "gRPC")


@dataclass(frozen=True)
class Check(Record):
    """One thing that was asked of one replica."""

    replica: str
    protocol: Protocol
    signature: str
    examples: int
    wrong: str | None  # what differs, None if nothing does
    seconds: float  # median time of an answer
    live_seconds: float | None = None  # that of the live version, for the same examples; None if it was not asked


@dataclass(frozen=True)
class Accuracy(Record):
    """Share of held-out examples that one replica answers right."""

    replica: str
    signature: str
    examples: int
    served: float
    trained: float | None  # what the manifest says, None if it says nothing
    classes: tuple[tuple[int, int, int], ...] = ()  # number of the true class, examples answered right, examples
    error: str | None = None  # why the examples could not all be asked
    tolerance: float = 0.005  # how much lower than when trained it may be

    @property
    def wrong(self) -> str | None:
        """Why this is not good enough, None if it is."""
        if self.error is not None:
            return f"held-out examples: {self.error}"
        if self.trained is None or self.served >= self.trained - self.tolerance:
            return None
        return f"held-out accuracy {self.served:.4f} when served, {self.trained:.4f} when trained"


def asker(server: ServingClient, protocol: Protocol, target: Target, signature: str, spec: SignatureSpec) -> Ask:
    if protocol == "REST":
        return lambda inputs: server.predict_rest(target, signature, inputs, spec)
    return lambda inputs: server.predict_grpc(target, signature, inputs)


def asker_of_live(server: ServingClient, protocol: Protocol, live: Manifest | None, signature: str) -> Ask | None:
    """How to ask the live version; None if there is none, or none with this signature."""
    if live is None or signature not in live.signatures:
        return None
    return asker(server, protocol, Target(live.model, live.version), signature, live.signatures[signature])


def check_answers(
    replica: str,
    protocol: Protocol,
    signature: str,
    examples: Sequence[GoldenExample],
    ask: Ask,
    version: int,
    policy: Policy,
    ask_live: Ask | None = None,
) -> Check:
    """Ask the examples of one signature; a version that seems too slow is asked again, since the machine may be busy.

    Args:
        ask: gives the answer to an example's inputs.
        ask_live: gives the live version's answer.
    """
    asked = sum(_rows(example) for example in examples)
    seconds, wrong = ask_examples(examples, ask, version, policy.answer_tolerance)
    live = median_seconds(examples, ask_live)
    for _ in range(policy.speed_tries - 1):
        if wrong is None and too_slow(seconds, live, policy):
            again, wrong = ask_examples(examples, ask, version, policy.answer_tolerance)
            seconds, live = min(seconds, again), min(live, median_seconds(examples, ask_live))
    wrong = wrong or too_slow(seconds, live, policy)
    return Check(replica, protocol, signature, asked, wrong, seconds, live if math.isfinite(live) else None)


def too_slow(seconds: float, live: float, policy: Policy) -> str | None:
    """Why `seconds` are too long for an answer that takes the live version `live` seconds, None if they are not."""
    if seconds > policy.answer_budget:
        allowed = f"the policy's answer_budget allows {policy.answer_budget:g} s"
        return f"its answers are right, but take {seconds:.2g} s; {allowed}"
    if seconds > max(policy.always_fast, policy.slowdown * live):
        return (
            f"its answers are right, but take {1000 * seconds:.3g} ms, while the live version takes "
            f"{1000 * live:.3g} ms; the policy's slowdown allows {policy.slowdown:g} times as long"
        )
    return None


def median_seconds(examples: Sequence[GoldenExample], ask: Ask | None) -> float:
    """Median time of the answers in seconds, right or wrong; infinity if there are none."""
    if ask is None:
        return math.inf
    try:
        return statistics.median(ask(example.inputs).seconds for example in examples)
    except SlipwayError:
        return math.inf


def _rows(example: GoldenExample) -> int:
    first = next(iter(example.inputs.values()), None)
    return len(first) if first is not None and first.ndim else 1


def ask_examples(
    examples: Sequence[GoldenExample], ask: Ask, version: int, tolerance: float
) -> tuple[float, str | None]:
    """Median time of the answers in seconds, and what is wrong with the first wrong one, or None."""
    times: list[float] = []
    wrong = None
    for example in examples:
        try:
            answer = ask(example.inputs)
        except ServingUnreachable:
            raise
        except SlipwayError as error:
            wrong = " ".join(str(error).split())
            break
        times.append(answer.seconds)
        if answer.version not in (None, version):
            wrong = f"version {answer.version} answered, not {version}"
            break
        wrong = next(iter(golden.compare(example.outputs, answer.outputs, tolerance)), None)
        wrong = wrong or golden.without_answer(example.inputs, answer.outputs)
        if wrong is not None:
            break
    return statistics.median(times) if times else 0.0, wrong


def held_out_accuracy(
    server: ServingClient,
    target: Target,
    replica: str,
    question: AccuracyQuestion,
    held_out: HeldOut,
    manifest: Manifest,
    policy: Policy,
) -> Accuracy:
    trained = manifest.training.metrics.get("accuracy")
    tolerance = policy.served_accuracy_tolerance
    try:
        found = held_out_classes(server, target, question, held_out.x)
    except ServingUnreachable:
        raise
    except SlipwayError as error:
        return Accuracy(
            replica, question.signature, len(held_out.y), 0.0, trained, error=str(error), tolerance=tolerance
        )
    share, counts = float((found == held_out.y).mean()), class_counts(found, held_out.y)
    return Accuracy(replica, question.signature, len(held_out.y), share, trained, counts, tolerance=tolerance)
