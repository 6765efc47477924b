"""The gate before publishing: a model that is worse than the live version does not pass."""

import dataclasses
import logging
from pathlib import Path

from tasks.data.examples import Examples
from tasks.data.held_out import held_out_examples
from tasks.errors import (
    DeadlineExceeded,
    InvalidData,
    InvalidModel,
    NotFound,
    NotServable,
    ServingError,
    ServingUnreachable,
    SlipwayError,
)
from tasks.evaluation import questions
from tasks.evaluation.metrics import Answers, Score, metric_in_words, value_in_words
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, live_version
from tasks.policy import Policy
from tasks.records import Build, Comparison, DatasetRef, Manifest, Scored
from tasks.serving.client import ServingClient, Target
from tasks.serving.identity import require_reporter
from tasks.validation.comparison import (
    compare_figures,
    figures,
    floor_in_words,
    in_words,
)
from tasks.validation.compatibility import broken, require_reason
from tasks.versions import catalog

log = logging.getLogger(__name__)


def compare_with_live(
    fleet: Fleet,
    build: Build,
    policy: Policy,
    forced: str | None = None,
    held_out: Examples | None = None,
    ungated: str | None = None,
    score: Score | None = None,
) -> Comparison:
    """Compare a build with the version that `fleet` serves: what clients may ask of it, and how good its answers are.

    Both are asked the held-out examples of the build's own training, or of the live version's if the build has none.

    Args:
        forced: a person's reason for publishing the model whatever the comparison finds.
        held_out: the examples of the build's own training; None if it was made elsewhere.
        ungated: a person's reason for publishing it although nothing can be compared.
        score: the recipe's own, in place of the figures by the kind of each label.

    Raises:
        ServingUnreachable, ServingError: no replica answered for the live version.
        NotServable, DeadlineExceeded: the build, or the live version, fails on these examples, or takes too long.
        InvalidModel: `score` gives no number for the build.
        InvalidInput: `forced` or `ungated` gives no reason.
    """
    require_reason(forced)
    require_reason(ungated, "--ungated")
    number = live_version(fleet.newest(), build.model)
    live = catalog.manifest(fleet.store, build.model, number) if number is not None else None
    try:
        found = _compared(fleet, build, live, policy, held_out, score)
    except (ServingError, NotServable, DeadlineExceeded, InvalidModel) as error:
        if forced is None:
            raise
        found = Comparison({}, {}, number, uncompared=str(error).removesuffix("."))
    breaks = broken(build.signatures, live.signatures) if live is not None else ()
    found = dataclasses.replace(
        found,
        worse=(*breaks, *found.worse),
        forced=forced,
        ungated=ungated if found.uncompared else None,
        policy=policy,
    )
    log.info("gate: %s", in_words(build.model, found))
    return found


def _compared(
    fleet: Fleet, build: Build, live: Manifest | None, policy: Policy, held_out: Examples | None, score: Score | None
) -> Comparison:
    if live is None:
        return _held_against_floors(fleet, build, policy, held_out, score)
    dataset, notes = build.training.dataset, _seen_before(build, live)
    if held_out is None:
        dataset, held_out = _borrowed_examples(fleet, live)
        notes = (f"It was made elsewhere, perhaps with the held-out examples of version {live.version}.",)
    if held_out is None:
        why = f"neither it nor version {live.version} came with held-out examples"
        return Comparison({}, {}, live.version, uncompared=why)
    scored = _scored(build, live, held_out)
    if isinstance(scored, str):
        return Comparison({}, {}, live.version, uncompared=f"it cannot be scored: {scored}")
    answers, asked = [_answers(build, scored, held_out)], [scored]
    live_scored, why_not = _scored_live(live, scored, held_out, score)
    if live_scored is not None:
        try:
            answers.append(_ask_live(fleet, live, live_scored, held_out, policy.call_deadline))
            asked.append(live_scored)
        except InvalidData as error:
            why_not = f"version {live.version} cannot be asked these examples: {error}".removesuffix(".")
    found = compare_figures(figures(held_out, answers, asked, score), live.version, policy)
    return dataclasses.replace(
        found,
        notes=notes,
        dataset=dataset,
        scored=None if build.training.scored is not None else scored,
        uncompared=why_not or found.uncompared,
    )


def _held_against_floors(
    fleet: Fleet, build: Build, policy: Policy, held_out: Examples | None, score: Score | None
) -> Comparison:
    """A first version: there is no other, so only its policy's floors count."""
    first = f"Not compared: fleet {fleet.name!r} serves no version of {build.model}"
    floors = [name for name, rule in policy.metrics.items() if rule.floor is not None]
    if not floors:
        return Comparison({}, {}, None, notes=(f"{first}, and its policy sets no floor.",))
    scored = "it has no held-out examples" if held_out is None else _scored(build, None, held_out)
    if held_out is None or isinstance(scored, str):
        return Comparison({}, {}, None, notes=(f"{first}. Its policy's floor was not checked: {scored}.",))
    answers = [_answers(build, scored, held_out)]
    found = compare_figures(figures(held_out, answers, [scored], score), None, policy)
    rules = {name: policy.rule(name) for name in found.trained}
    held = [
        f"{metric_in_words(name)} {value_in_words(name, found.trained[name])} ({floor_in_words(rule)})"
        for name, rule in rules.items()
        if rule is not None and rule.floor is not None
    ]
    told = f"Held against its policy's floor: {', '.join(held)}." if held else f"It has no {' or '.join(floors)}."
    return dataclasses.replace(found, notes=(f"{first}. {told}",))


def _scored(build: Build, live: Manifest | None, held_out: Examples) -> Scored | str:
    """What a build is scored by, or why that is not known."""
    if build.training.scored is not None:
        found: Scored | str | None = build.training.scored
    else:
        like = questions.scored_of(live, held_out.features) if live is not None else None
        found = questions.scored_of_digits(build.signatures, held_out.features)
        if like is not None and (found is None or build.training.dataset is None):
            found = questions.scored_like(like, build.signatures, held_out.features)
    if found is None:
        return "it does not say which signature and output that is done by"
    if isinstance(found, Scored) and not found.outputs.keys() <= held_out.labels.keys():
        missing = ", ".join(map(repr, sorted(found.outputs.keys() - held_out.labels.keys())))
        return f"the held-out examples have no label {missing}"
    return found


def _scored_live(
    live: Manifest, new: Scored, held_out: Examples, score: Score | None
) -> tuple[Scored | None, str | None]:
    """What the live version is scored by beside the new one, or why it cannot be: the labels that both answer for."""
    found = questions.scored_of(live, held_out.features)
    if found is None:
        return None, f"version {live.version} does not say which signature and output it is scored by"
    common = {label: output for label, output in found.outputs.items() if label in new.outputs}
    if not common or (score is not None and common.keys() != new.outputs.keys()):
        return None, (
            f"it answers for {', '.join(sorted(new.outputs))}, and version {live.version} for "
            f"{', '.join(sorted(found.outputs))}"
        )
    return dataclasses.replace(found, outputs=common), None


def _borrowed_examples(fleet: Fleet, live: Manifest) -> tuple[DatasetRef | None, Examples | None]:
    """The examples that the live version was asked."""
    borrowed = live.training.dataset or (live.gate.dataset if live.gate is not None else None)
    try:
        return borrowed, held_out_examples(fleet.store, borrowed)
    except NotFound:
        return None, None


def _seen_before(build: Build, live: Manifest) -> tuple[str, ...]:
    """Whether the live version may have learnt what both are asked: by one split a row is always on one side."""
    used, live_used = build.training.dataset, live.training.dataset
    if used is None or live_used is None:
        return ()
    by_content = live.training.scored is not None  # earlier releases split by chance
    if used.split_seed == live_used.split_seed and (by_content or used.sha256 == live_used.sha256):
        return ()
    return (f"Version {live.version} was trained on other data or another split, perhaps on these examples.",)


def _answers(build: Build, scored: Scored, held_out: Examples) -> Answers:
    """What a build that is not served yet answers."""
    try:
        return questions.answers_of_folder(Path(build.directory), scored, build.signatures, held_out.features)
    except InvalidData as error:
        raise NotServable(f"{build.model} cannot be asked the held-out examples: {error}") from None


def _ask_live(fleet: Fleet, live: Manifest, scored: Scored, held_out: Examples, deadline: float) -> Answers:
    """What the live version answers, on the first replica that does."""
    target = Target(live.model, live.version)
    failure: SlipwayError | None = None
    for replica in replicas.reporting(fleet):
        try:
            require_reporter(fleet.name, replica, fleet.hosts, deadline)
            with ServingClient(replica.grpc_address, replica.rest_url, deadline) as server:
                return questions.answers(server, target, scored, live.signatures, held_out.features)
        except InvalidData:
            raise
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
