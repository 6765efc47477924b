"""Asking live servers whether they answer as trained: every replica, every signature, over REST and gRPC."""

import logging
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks import artifacts, golden, layout, reports, versions
from tasks.data import HeldOut
from tasks.errors import Corrupt, ServingUnreachable, SlipwayError, ValidationFailed
from tasks.evaluation import class_counts
from tasks.fleet import Fleet
from tasks.golden import GoldenExample
from tasks.held_out import AccuracyQuestion, accuracy_question, held_out_classes, held_out_examples
from tasks.plan import Endpoint
from tasks.records import Manifest, Record, ReplicaReport, SignatureSpec
from tasks.serving import Answer, ModelServer, Target
from tasks.settings import settings
from tasks.step import step, with_fleet
from tasks.store import Store

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
Ask = Callable[[Mapping[str, Array]], Answer]  # an example's inputs, answered
Protocol = Literal["REST", "gRPC"]
PROTOCOLS: tuple[Protocol, ...] = ("REST", "gRPC")

TOLERANCE = 1e-5  # of values, absolute and relative
# A digit on the edge between two classes may fall to the other side through a rounding error of another machine.
ACCURACY_TOLERANCE = 0.005
_LOOKS = 3  # at the speed of a version that seems too slow
NEVER_SLOW = 0.02  # seconds; below that a busy machine makes more of a difference than a model


@dataclass(frozen=True)
class Check(Record):
    """One thing that was asked of one replica."""

    replica: str
    protocol: Protocol
    signature: str
    examples: int
    wrong: str | None  # what differs, None where nothing does
    seconds: float  # median time of an answer
    live_seconds: float | None = None  # that of the version that serves, to the same questions; None where not asked


@dataclass(frozen=True)
class Accuracy(Record):
    """Share of held-out examples that one replica answers right."""

    replica: str
    signature: str
    examples: int
    live: float
    trained: float | None  # what the manifest says, None where it says nothing
    classes: tuple[tuple[int, int, int], ...] = ()  # number of the true class, examples answered right, examples
    error: str | None = None  # why the examples could not all be asked

    @property
    def wrong(self) -> str | None:
        """Why this is not good enough, None where it is."""
        if self.error is not None:
            return f"held-out examples: {self.error}"
        if self.trained is None or self.live >= self.trained - ACCURACY_TOLERANCE:
            return None
        return f"held-out accuracy {self.live:.4f} through the live server, {self.trained:.4f} when trained"


@dataclass(frozen=True)
class ValidationReport(Record):
    """What live servers answered for one version."""

    model: str
    version: int
    endpoint: Endpoint
    checks: tuple[Check, ...]
    accuracies: tuple[Accuracy, ...]

    @property
    def failures(self) -> list[str]:
        """Everything that was wrong, in words."""
        answers = [
            f"replica {c.replica}, {c.protocol}, signature {c.signature!r}: {c.wrong}" for c in self.checks if c.wrong
        ]
        return answers + [f"replica {a.replica}: {a.wrong}" for a in self.accuracies if a.wrong]

    @property
    def passed(self) -> bool:
        """Whether something was asked and every answer was right."""
        return bool(self.checks) and not self.failures

    def summary(self) -> str:
        """One line for a terminal."""
        replicas = len({c.replica for c in self.checks})
        accuracy = f", held-out accuracy {min(a.live for a in self.accuracies):.4f}" if self.accuracies else ""
        verdict = "all right" if self.passed else f"{len(self.failures)} wrong"
        return f"{len(self.checks)} checks on {replicas} replica{'s' * (replicas != 1)}: {verdict}{accuracy}"

    def require_passed(self) -> None:
        """Do nothing where all was right.

        Raises:
            ValidationFailed: says the first thing that was wrong, and how many more there are.
        """
        if self.passed:
            return
        wrong = self.failures or ["nothing was asked: the fleet has no replica, or the version has no golden examples"]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValidationFailed(f"{self.model} version {self.version}, served as {self.endpoint}: {wrong[0]}{more}")


def validate_version(
    manifest: Manifest,
    examples: Sequence[GoldenExample],
    held_out: HeldOut | None,
    asked: Sequence[ReplicaReport],
    endpoint: Endpoint,
    *,
    deadline: float,
    budget: float,
    live: Manifest | None = None,
    slowdown: float = math.inf,
) -> ValidationReport:
    """Ask each replica for `endpoint` and compare with what `manifest`'s version answered when it was trained.

    An answer that is wrong, or late, or an error in its place, is a finding in the report and not an exception.

    Args:
        held_out: x `[N, …]` and y `[N]` that training never saw, or None.
        deadline: longest time for one answer, seconds.
        budget: longest median time of the answers to one signature's golden examples, seconds.
        live: the version that serves under the model's own name, and is asked the same on the same replica.
        slowdown: how many times as long as those of that one these answers may take.

    Raises:
        ServingUnreachable: a replica gave no answer, which says nothing of the version.
    """
    checks: list[Check] = []
    accuracies: list[Accuracy] = []
    question = accuracy_question(manifest.signatures, held_out.x.shape[1:]) if held_out else None
    for replica in asked:
        with ModelServer(replica.grpc_address, replica.rest_url, deadline) as server:
            target = Target(endpoint.model, endpoint.version, endpoint.label)
            for name, spec in sorted(manifest.signatures.items()):
                mine = [e for e in examples if e.signature == name]
                if not mine:
                    continue
                checks += [
                    check_answers(
                        replica.replica,
                        protocol,
                        name,
                        mine,
                        _asker(server, protocol, target, name, spec),
                        manifest.version,
                        budget,
                        ask_live=_live_asker(server, protocol, live, name),
                        slowdown=slowdown,
                    )
                    for protocol in PROTOCOLS
                ]
            if question is not None and held_out is not None:
                accuracies.append(_accuracy(server, target, replica.replica, question, held_out, manifest))
    return ValidationReport(manifest.model, manifest.version, endpoint, tuple(checks), tuple(accuracies))


def validate_fleet(
    fleet: Fleet,
    model: str,
    version: int,
    endpoint: Endpoint,
    asked: Sequence[ReplicaReport],
    against: int | None = None,
) -> ValidationReport:
    """Ask each of these replicas for `endpoint`, which must answer as this version did when it was trained.

    Args:
        against: the version that serves, if this one may not be much slower.

    Raises:
        NotFound, Corrupt: the version, or what it was trained to say, is not in the store.
        ServingUnreachable: a replica gave no answer, which says nothing of the version.
    """
    manifest = versions.manifest(fleet.store, model, version)
    report = validate_version(
        manifest,
        golden_examples(fleet.store, manifest),
        held_out_examples(fleet.store, manifest.training.dataset),
        asked,
        endpoint,
        deadline=settings().call_deadline,
        budget=settings().answer_budget,
        live=versions.manifest(fleet.store, model, against) if against is not None else None,
        slowdown=settings().slowdown,
    )
    log.info("%s version %d as %s: %s", model, version, endpoint, report.summary())
    artifacts.show(reports.validation(report), f"{model} version {version} as {endpoint}", "validation", str(endpoint))
    return report


def golden_examples(store: Store, manifest: Manifest) -> list[GoldenExample]:
    """The golden examples that were stored with the version, verified; none where it was published without.

    Raises:
        Corrupt: they are not what was published.
    """
    entry = next((f for f in manifest.files if f.path == manifest.golden), None)
    if entry is None:
        return []
    with tempfile.TemporaryDirectory(prefix="slipway-golden-") as folder:
        path = Path(folder) / "golden"
        key = layout.version_prefix(manifest.model, manifest.version) + entry.path
        if store.download(key, path) != (entry.size, entry.sha256):
            raise Corrupt(f"{store.uri(key)} is not what was published: the version cannot be validated with it.")
        return golden.read_golden(path)


def _asker(server: ModelServer, protocol: Protocol, target: Target, signature: str, spec: SignatureSpec) -> Ask:
    if protocol == "REST":
        return lambda inputs: server.predict_rest(target, signature, inputs, spec)
    return lambda inputs: server.predict_grpc(target, signature, inputs)


def _live_asker(server: ModelServer, protocol: Protocol, live: Manifest | None, signature: str) -> Ask | None:
    """How to ask the version that serves; None where there is none with such a signature."""
    if live is None or signature not in live.signatures:
        return None
    return _asker(server, protocol, Target(live.model, live.version), signature, live.signatures[signature])


def check_answers(
    replica: str,
    protocol: Protocol,
    signature: str,
    examples: Sequence[GoldenExample],
    ask: Ask,
    version: int,
    budget: float,
    *,
    ask_live: Ask | None = None,
    slowdown: float = math.inf,
) -> Check:
    """Ask the examples of one signature; a version that seems too slow is asked again, for the machine may be busy.

    Args:
        ask: gives the answer to an example's inputs.
        budget: longest median time of an answer, seconds.
        ask_live: gives the answer of the version that serves.
        slowdown: how many times as long as that one's the answers may take.
    """
    asked = sum(_rows(example) for example in examples)
    seconds, wrong = _asked(examples, ask, version)
    live = _pace(examples, ask_live)
    for _ in range(_LOOKS - 1):
        if wrong is None and _slow(seconds, live, budget, slowdown):
            again, wrong = _asked(examples, ask, version)
            seconds, live = min(seconds, again), min(live, _pace(examples, ask_live))
    wrong = wrong or _slow(seconds, live, budget, slowdown)
    return Check(replica, protocol, signature, asked, wrong, seconds, live if math.isfinite(live) else None)


def _slow(seconds: float, live: float, budget: float, slowdown: float) -> str | None:
    """Why `seconds` are too long for an answer that takes the live version `live` seconds, None where they are not."""
    if seconds > budget:
        return f"its answers are right, but take {seconds:.2g} s; SLIPWAY_ANSWER_BUDGET allows {budget:g} s"
    if seconds > max(NEVER_SLOW, slowdown * live):
        return (
            f"its answers are right, but take {1000 * seconds:.3g} ms, where the version that serves takes "
            f"{1000 * live:.3g} ms; SLIPWAY_SLOWDOWN allows {slowdown:g} times as long"
        )
    return None


def _pace(examples: Sequence[GoldenExample], ask: Ask | None) -> float:
    """Median time of the answers in seconds, whatever they say; infinity where there are none."""
    if ask is None:
        return math.inf
    try:
        return statistics.median(ask(example.inputs).seconds for example in examples)
    except SlipwayError:
        return math.inf


def _rows(example: GoldenExample) -> int:
    first = next(iter(example.inputs.values()), None)
    return len(first) if first is not None and first.ndim else 1


def _asked(examples: Sequence[GoldenExample], ask: Ask, version: int) -> tuple[float, str | None]:
    """Median time of the answers in seconds, and what is wrong with the first that is."""
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
        wrong = next(iter(golden.compare(example.outputs, answer.outputs, TOLERANCE)), None)
        wrong = wrong or golden.without_answer(example.inputs, answer.outputs)
        if wrong is not None:
            break
    return statistics.median(times) if times else 0.0, wrong


def _accuracy(
    server: ModelServer,
    target: Target,
    replica: str,
    question: AccuracyQuestion,
    held_out: HeldOut,
    manifest: Manifest,
) -> Accuracy:
    trained = manifest.training.metrics.get("accuracy")
    try:
        found = held_out_classes(server, target, question, held_out.x)
    except ServingUnreachable:
        raise
    except SlipwayError as error:
        return Accuracy(replica, question.signature, len(held_out.y), 0.0, trained, error=str(error))
    share = float((found == held_out.y).mean())
    return Accuracy(replica, question.signature, len(held_out.y), share, trained, class_counts(found, held_out.y))


validate = step("validate", with_fleet(validate_fleet), "validate {endpoint}")
