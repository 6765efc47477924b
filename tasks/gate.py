"""The gate before publishing: a model that is worse than the one that serves does not pass."""

import logging
from collections.abc import Mapping, Sequence

from tasks import artifacts, replicas, reports, versions
from tasks.build import Build
from tasks.data import HeldOut
from tasks.errors import InvalidInput, ServingError, ServingUnreachable, SlipwayError
from tasks.evaluation import class_accuracies
from tasks.fleet import Fleet
from tasks.plan import live_version
from tasks.records import Comparison, Manifest, ReplicaReport, SignatureSpec
from tasks.serving import ModelServer, Target
from tasks.settings import settings
from tasks.step import step, with_fleet
from tasks.validate import AccuracyQuestion, accuracy_question, held_out_classes, held_out_examples

log = logging.getLogger(__name__)

ACCURACY, CLASS_ACCURACY = "accuracy", "accuracy_class_"


def compare_with_live(fleet: Fleet, build: Build, forced: str | None = None) -> Comparison:
    """Compare a trained model with the version that `fleet` serves, on the held-out examples of its own training.

    Where there is nothing to compare with, it passes, and the comparison's notes say why.

    Args:
        forced: a person's reason for publishing the model whatever comes of this.

    Raises:
        ServingUnreachable, ServingError: a version serves, and no replica answered for it.
        InvalidInput: `forced` gives no reason.
    """
    if forced is not None and not forced.strip():
        raise InvalidInput("--force needs a reason, which is kept with the version: --force 'why it must go out'.")
    try:
        comparison = _compared(fleet, build, forced)
    except ServingError as error:
        if forced is None:
            raise
        live = live_version(fleet.newest(), build.model)
        comparison = Comparison({}, {}, live, notes=(f"Not compared: {error}",), forced=forced)
    log.info("gate: %s", in_words(build.model, comparison))
    artifacts.show(reports.comparison(build.model, comparison), f"Gate of {build.model}", "gate", build.model)
    return comparison


def _compared(fleet: Fleet, build: Build, forced: str | None) -> Comparison:
    live = live_version(fleet.newest(), build.model)
    if live is None:
        why = f"Not compared: fleet {fleet.name!r} serves no version of {build.model}."
        return Comparison({}, {}, None, notes=(why,), forced=forced)
    manifest = versions.manifest(fleet.store, build.model, live)
    notes = lost_signatures(build.signatures, manifest)
    held_out = held_out_examples(fleet.store, build.training.dataset)
    if held_out is None:
        why = "Not compared: it was made elsewhere, and came without held-out examples."
        return Comparison({}, {}, live, notes=(why, *notes), forced=forced)
    question = accuracy_question(manifest.signatures, held_out.x.shape[1:])
    if question is None:
        shape = list(held_out.x.shape[1:])
        why = f"Not compared: version {live} has no signature that gives a class for one example of {shape}."
        return Comparison({}, {}, live, notes=(why, *notes), forced=forced)
    accuracies = _ask_live(fleet, build.model, live, question, held_out)
    return compare_metrics(
        build.training.metrics,
        accuracies,
        live,
        tolerance=settings().gate_tolerance,
        class_tolerance=settings().gate_class_tolerance,
        notes=(*notes, *_seen_before(build, manifest)),
        forced=forced,
    )


def compare_metrics(
    trained: Mapping[str, float],
    live: Mapping[str, float],
    live_version: int,
    *,
    tolerance: float,
    class_tolerance: float,
    notes: Sequence[str] = (),
    forced: str | None = None,
) -> Comparison:
    """Compare two models by their accuracy, overall and of each class that both have met; other metrics are left out.

    Args:
        tolerance: how much lower the overall accuracy may be, 0..1.
        class_tolerance: how much lower that of one class may be, 0..1.
        forced: a person's reason for publishing a worse model.
    """
    allowed = {
        name: tolerance if name == ACCURACY else class_tolerance
        for name in sorted(trained.keys() & live.keys())
        if name == ACCURACY or name.startswith(CLASS_ACCURACY)
    }
    worse = [
        f"{metric_in_words(name)} {trained[name]:.4f}, that of the live version is {live[name]:.4f}"
        for name, tolerated in allowed.items()
        if trained[name] < live[name] - tolerated
    ]
    return Comparison(
        {name: trained[name] for name in allowed},
        {name: live[name] for name in allowed},
        live_version,
        tuple(worse),
        tuple(notes),
        forced,
    )


def lost_signatures(signatures: Mapping[str, SignatureSpec], live: Manifest) -> tuple[str, ...]:
    """A note on what clients may ask of the live version and of the new one no more, if there is such."""
    lost = sorted(live.signatures.keys() - signatures.keys())
    changed = sorted(
        name for name in live.signatures.keys() & signatures.keys() if live.signatures[name] != signatures[name]
    )
    notes = []
    if lost:
        notes.append(f"Clients of version {live.version} may ask for signatures that it lacks: {', '.join(lost)}.")
    if changed:
        notes.append(f"It takes or gives other tensors than version {live.version} in: {', '.join(changed)}.")
    return tuple(notes)


def metric_in_words(name: str) -> str:
    """A metric as a sentence has it."""
    return "accuracy" if name == ACCURACY else f"accuracy of class {name.removeprefix(CLASS_ACCURACY)}"


def in_words(model: str, comparison: Comparison) -> str:
    """A comparison in one line, with all that was noted."""
    parts = []
    if comparison.live:
        trained, live = comparison.trained.get(ACCURACY, 0.0), comparison.live.get(ACCURACY, 0.0)
        worse = f"worse: {'; '.join(comparison.worse)}" if comparison.worse else "not worse"
        parts.append(f"accuracy {trained:.4f}, version {comparison.live_version} has {live:.4f}: {worse}.")
    parts += comparison.notes
    if comparison.forced is not None:
        parts.append(f"Forced: {comparison.forced}")
    return f"{model}: {' '.join(parts)}"


def _seen_before(build: Build, live: Manifest) -> tuple[str, ...]:
    mine, theirs = build.training.dataset, live.training.dataset
    if mine is None or (theirs is not None and (theirs.sha256, theirs.split_seed) == (mine.sha256, mine.split_seed)):
        return ()
    return (f"Version {live.version} was trained on other data or another split: it may have learnt these examples.",)


def _ask_live(
    fleet: Fleet, model: str, version: int, question: AccuracyQuestion, held_out: HeldOut
) -> dict[str, float]:
    """Accuracies of the version that serves, from the first replica that answers."""
    failure: SlipwayError | None = None
    for replica in replicas.live(fleet):
        try:
            return _accuracies(replica, Target(model, version), question, held_out)
        except SlipwayError as error:
            failure = error
    told = str(failure) if failure else f"none has reported in the last {replicas.LEASE.seconds} s."
    message = (
        f"No replica of fleet {fleet.name!r} answered for {model} {version}, which serves and which a new version is "
        f"compared with: {told} Mend that (`slipway replicas`), or release without the comparison: --force REASON."
    )
    if failure is None or isinstance(failure, ServingUnreachable):
        raise ServingUnreachable(message) from failure
    raise ServingError(message) from failure


def _accuracies(
    replica: ReplicaReport, target: Target, question: AccuracyQuestion, held_out: HeldOut
) -> dict[str, float]:
    with ModelServer(replica.grpc_address, replica.rest_url, settings().call_deadline) as server:
        return class_accuracies(held_out_classes(server, target, question, held_out.x), held_out.y)


compare = step("gate", with_fleet(compare_with_live), "compare {build.model} with what serves")
