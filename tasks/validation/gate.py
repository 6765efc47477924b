"""The gate before publishing: a model that is worse than the live version does not pass."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks.data.held_out import HeldOut, held_out_examples
from tasks.errors import DeadlineExceeded, NotFound, NotServable, ServingError, ServingUnreachable, SlipwayError
from tasks.evaluation.metrics import class_accuracies
from tasks.evaluation.questions import AccuracyQuestion, accuracy_question, batches, held_out_classes
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, live_version
from tasks.policy import Policy
from tasks.records import Build, Comparison, DatasetRef, Manifest
from tasks.savedmodel import messages, session
from tasks.serving.client import ServingClient, Target
from tasks.serving.identity import require_reporter
from tasks.validation.compatibility import broken, require_reason
from tasks.versions import catalog

log = logging.getLogger(__name__)

ACCURACY, CLASS_ACCURACY = "accuracy", "accuracy_class_"


def compare_with_live(
    fleet: Fleet, build: Build, policy: Policy, forced: str | None = None, held_out: HeldOut | None = None
) -> Comparison:
    """Compare a build with the version that `fleet` serves: what clients may ask of it, and its accuracy.

    Both are asked the held-out examples of the build's own training, or of the live version's if the build was made
    elsewhere. Without any, accuracy is not compared, and the comparison's notes say why.

    Args:
        forced: a person's reason for publishing the model whatever the comparison finds.
        held_out: the examples of the build's own training; None if it was made elsewhere.

    Raises:
        ServingUnreachable, ServingError: no replica answered for the live version.
        NotServable, DeadlineExceeded: the build fails on these examples, or takes too long.
        InvalidInput: `forced` gives no reason.
    """
    require_reason(forced)
    comparison = dataclasses.replace(
        _compared(fleet, build, held_out, policy, forced is not None), forced=forced, policy=policy
    )
    log.info("gate: %s", in_words(build.model, comparison))
    return comparison


def _compared(fleet: Fleet, build: Build, held_out: HeldOut | None, policy: Policy, forced: bool) -> Comparison:
    live = live_version(fleet.newest(), build.model)
    if live is None:
        why = f"Not compared: fleet {fleet.name!r} serves no version of {build.model}."
        return Comparison({}, {}, None, notes=(why,))
    manifest = catalog.manifest(fleet.store, build.model, live)
    try:
        found = _accuracy_compared(fleet, build, held_out, manifest, policy)
    except (ServingError, NotServable, DeadlineExceeded) as error:
        if not forced:
            raise
        found = Comparison({}, {}, live, notes=(f"Not compared: {error}",))
    return dataclasses.replace(found, worse=(*broken(build.signatures, manifest.signatures), *found.worse))


def _accuracy_compared(
    fleet: Fleet, build: Build, held_out: HeldOut | None, live: Manifest, policy: Policy
) -> Comparison:
    trained_here, dataset = held_out is not None, build.training.dataset
    if held_out is None:
        dataset, held_out = _borrowed_examples(fleet, live)
    if dataset is None or held_out is None:
        why = f"neither it nor version {live.version} came with held-out examples"
        return Comparison({}, {}, live.version, notes=(f"Accuracy not compared: {why}.",))
    shape = held_out.x.shape[1:]
    question, live_question = accuracy_question(build.signatures, shape), accuracy_question(live.signatures, shape)
    if question is None or live_question is None:
        which = "it" if question is None else f"version {live.version}"
        why = f"{which} has no signature that gives a class for one example of {list(shape)}"
        return Comparison({}, {}, live.version, notes=(f"Accuracy not compared: {why}.",))
    target = Target(build.model, live.version)
    accuracies = _ask_live(fleet, target, live_question, held_out, policy.call_deadline)
    if trained_here:
        metrics, notes = build.training.metrics, _seen_before(build, live)
    else:
        metrics, notes = _ask_build(build, question, held_out), _borrowed(live)
    compared = compare_metrics(metrics, accuracies, live.version, policy)
    return dataclasses.replace(compared, notes=notes, dataset=dataset)


def _borrowed_examples(fleet: Fleet, live: Manifest) -> tuple[DatasetRef | None, HeldOut | None]:
    """The examples that the live version was asked."""
    borrowed = live.training.dataset or (live.gate.dataset if live.gate is not None else None)
    try:
        return borrowed, held_out_examples(fleet.store, borrowed)
    except NotFound:
        return None, None


def compare_metrics(
    trained: Mapping[str, float], live: Mapping[str, float], live_version: int, policy: Policy
) -> Comparison:
    """Compare two models by the metrics that the policy has a rule for and that both were measured by."""
    rules = {name: rule for name in sorted(trained.keys() & live.keys()) if (rule := policy.rule(name)) is not None}
    worse = [
        f"{metric_in_words(name)} {trained[name]:.4f}, that of the live version is {live[name]:.4f}"
        for name, rule in rules.items()
        if rule.worse(trained[name], live[name])
    ]
    return Comparison(
        {name: trained[name] for name in rules}, {name: live[name] for name in rules}, live_version, tuple(worse)
    )


def metric_in_words(name: str) -> str:
    """A metric's name as a sentence needs it."""
    return "accuracy" if name == ACCURACY else f"accuracy of class {name.removeprefix(CLASS_ACCURACY)}"


def in_words(model: str, comparison: Comparison) -> str:
    """A comparison in one line, with all its notes."""
    parts = []
    if comparison.live:
        trained, live = comparison.trained.get(ACCURACY, 0.0), comparison.live.get(ACCURACY, 0.0)
        parts.append(f"accuracy {trained:.4f}, version {comparison.live_version} has {live:.4f}.")
    if comparison.live_version is not None:
        finding = comparison.finding.removeprefix("is ").capitalize()
        passes = f"Not worse than version {comparison.live_version}."
        parts.append(f"{finding}: {'; '.join(comparison.worse)}." if comparison.worse else passes)
    parts += comparison.notes
    if comparison.forced is not None:
        parts.append(f"Forced: {comparison.forced}")
    return f"{model}: {' '.join(parts)}"


def _seen_before(build: Build, live: Manifest) -> tuple[str, ...]:
    used, live_used = build.training.dataset, live.training.dataset
    if used is None:
        return ()
    if live_used is not None and (live_used.sha256, live_used.split_seed) == (used.sha256, used.split_seed):
        return ()
    return (f"Version {live.version} was trained on other data or another split, perhaps on these examples.",)


def _borrowed(live: Manifest) -> tuple[str, ...]:
    return (f"It was made elsewhere, and may have been trained on the held-out examples of version {live.version}.",)


def _ask_build(build: Build, question: AccuracyQuestion, held_out: HeldOut) -> dict[str, float]:
    """Accuracies of a build that is not served yet."""
    questions = [session.Question(question.signature, {question.input: part}) for part in batches(held_out.x)]
    answers = session.ask(Path(build.directory), questions)
    failed = next((answer for answer in answers if isinstance(answer, messages.Failure)), None)
    if failed is not None:
        raise NotServable(
            f"{build.model}: signature {question.signature!r} fails on held-out examples: {failed.message}. "
            "Nothing was published."
        )
    found = [question.classes(answer) for answer in answers if not isinstance(answer, messages.Failure)]
    return class_accuracies(np.concatenate(found), held_out.y)


def _ask_live(
    fleet: Fleet, target: Target, question: AccuracyQuestion, held_out: HeldOut, deadline: float
) -> dict[str, float]:
    """Accuracies of the live version, which is at `target`, from the first replica that answers."""
    failure: SlipwayError | None = None
    for replica in replicas.reporting(fleet):
        try:
            require_reporter(fleet.name, replica, fleet.hosts, deadline)
            with ServingClient(replica.grpc_address, replica.rest_url, deadline) as server:
                return class_accuracies(held_out_classes(server, target, question, held_out.x), held_out.y)
        except SlipwayError as error:
            failure = error
    why = str(failure) if failure else f"none has reported in the last {replicas.LEASE.seconds} s."
    message = (
        f"No replica of fleet {fleet.name!r} answered for {target.model} {target.version}, the live version, which a "
        f"new one is compared with: {why} Repair that (`slipway replicas`), or release without the comparison: "
        "--force REASON."
    )
    if failure is None or isinstance(failure, ServingUnreachable):
        raise ServingUnreachable(message) from failure
    raise ServingError(message) from failure
