"""Deleting old versions: never one that may still be needed, and never half of one."""

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks import names
from tasks.errors import InvalidInput, SignatureInvalid, SlipwayError
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, FleetConfig, fleet_names
from tasks.fleet.converge import model_in_store
from tasks.records import Record, Verdict
from tasks.settings import Settings
from tasks.store.base import Store, in_parallel
from tasks.tracking.registry import Registry
from tasks.versions import catalog
from tasks.versions.catalog import Version
from tasks.versions.signing import Trust
from tasks.wire.protos import ModelConfig

log = logging.getLogger(__name__)

_WITHOUT_WAITING = 0.0  # seconds that a fleet may take where nothing is asked of it

Reasons = Mapping[int | None, Sequence[str]]  # why a version stays, by its number; under None, why all stay


@dataclass(frozen=True)
class Fate(Record):
    """What pruning does with one version."""

    version: int
    state: str
    size: int  # bytes
    kept: tuple[str, ...]  # why it stays; empty if it goes


@dataclass(frozen=True)
class Pruning(Record):
    """Which versions of a model stay, and which go."""

    model: str
    fates: tuple[Fate, ...]  # by number
    deleted: tuple[int, ...] = ()  # those that are gone by now

    @property
    def going(self) -> tuple[Fate, ...]:
        """The versions that go."""
        return tuple(fate for fate in self.fates if not fate.kept)


def choose_versions(store: Store, settings: Settings, model: str, keep: int) -> Pruning:
    """Which versions of `model` may go, with MLflow's champion among those that stay. Nothing is changed.

    Raises:
        InvalidInput: `keep` is less than 1.
        TrackingUnreachable: MLflow did not answer which version is the champion.
    """
    champion = Registry.connect(settings).champion(names.model_name(model))
    return plan_pruning(store, Trust.of(settings), model, keep, champion)


def plan_pruning(store: Store, trust: Trust, model: str, keep: int, champion: int | None) -> Pruning:
    """Which versions of `model` may go: all but the newest `keep`, the champion, and those that are still needed.

    Raises:
        InvalidInput: `keep` is less than 1.
    """
    if keep < 1:
        raise InvalidInput(f"--keep {keep} would leave nothing to go back to: keep at least 1.")
    found = catalog.versions(store, model)
    reasons = {number: list(why) for number, why in still_needed(store, trust, model).items()}
    if champion is not None:
        reasons.setdefault(champion, []).append("champion in MLflow")
    return decide_pruning(model, found, keep, reasons)


def decide_pruning(model: str, found: Iterable[Version], keep: int, reasons: Reasons) -> Pruning:
    """The fate of each version: a rejected one does not count among the newest `keep`, since no rollback serves it."""
    ordered = sorted(found, key=lambda v: v.manifest.version)
    newest = [v.manifest.version for v in ordered if v.state != "rejected"][-keep:]
    fates = []
    for version in ordered:
        number = version.manifest.version
        kept = [*reasons.get(None, ()), *reasons.get(number, ())]
        if number in newest:
            kept.append(f"one of the newest {keep}")
        fates.append(Fate(number, version.state, version.manifest.size, tuple(kept)))
    return Pruning(model, tuple(fates))


def still_needed(store: Store, trust: Trust, model: str) -> Reasons:
    """Which versions of `model` a fleet serves, or may have to serve again, each with the reasons.

    What a config that is not signed names stays too: it may be signed by the key of another team's fleet.
    """
    found: dict[int | None, dict[str, None]] = {}
    for name in fleet_names(store):
        for believed in dict.fromkeys((trust, Trust(None))):
            with contextlib.suppress(SignatureInvalid):
                for version, why in _needed_by(Fleet(store, believed, name, _WITHOUT_WAITING), model):
                    found.setdefault(version, {})[why] = None
    return {version: list(reasons) for version, reasons in found.items()}


def delete_version(store: Store, trust: Trust, model: str, version: int, run: str) -> Verdict | None:
    """Delete a version, unless something needs it now; its verdict, None if it stays. Idempotent.

    It ceases to exist in one step, before any of its files is deleted; its number stays taken. A rollout of it that
    begins at this moment finds no version, and fails before clients meet it.
    """
    needed = still_needed(store, trust, model)
    if None in needed or version in needed:
        log.warning("%s version %d stays: something needs it now", model, version)
        return None
    verdict = Verdict(model=model, version=version, state="retired", reason="pruned", run=run)
    if version in catalog.published(store, model):
        catalog.withdraw(store, model, version)
        catalog.decide(store, verdict)
    return verdict


def record_retirement(store: Store, settings: Settings, model: str, version: int) -> None:
    """Record in MLflow's registry that a version was pruned. If MLflow is away, a warning: nothing depends on it."""
    verdict = catalog.verdict(store, model, version)
    try:
        if verdict is not None:
            Registry.connect(settings).record_verdict(verdict)
    except SlipwayError as error:
        log.warning("MLflow does not know that %s version %d was pruned: %s", model, version, error)


def finish_pruning(store: Store, settings: Settings, model: str) -> list[int]:
    """Delete the files of numbers that a pruning or a publisher left when it died."""
    return catalog.discard_abandoned(store, model, settings.claim_grace)


def discard_abandoned(store: Store, settings: Settings) -> list[str]:
    """Finish prunings and close the numbers of dead publishers, for every model; what was done, in sentences."""
    models = catalog.models(store)
    found = in_parallel(lambda model: finish_pruning(store, settings, model), models)
    return [
        f"{model}: {_numbers(closed)} came to nothing, and what was left is deleted."
        for model, closed in zip(models, found, strict=True)
        if closed
    ]


def _numbers(closed: list[int]) -> str:
    return f"number{'s' * (len(closed) > 1)} {', '.join(map(str, closed))}"


def _needed_by(fleet: Fleet, model: str) -> list[tuple[int | None, str]]:
    """The versions that one fleet needs, each with why. A rollout writes its config before it deletes its record."""
    current = fleet.newest()
    while True:
        needed = _named_by(fleet, current, model, f"served by fleet {fleet.name}")
        for report in replicas.reporting(fleet):
            what = f"served by replica {report.replica} of fleet {fleet.name}"
            states = [s for name in _names_of(model) for s in report.models.get(name, ())]
            needed += [(s.version, what) for s in states if s.state == "AVAILABLE"]
        record = fleet.rollout_under_way(model)
        if record is not None:
            needed.append((record.version, f"being rolled out to fleet {fleet.name}"))
            before = fleet.read(record.previous_config or 0)
            needed += _named_by(fleet, before, model, f"what an abort in fleet {fleet.name} would restore")
        newer = fleet.newer(current)
        if newer is None:
            return list(dict.fromkeys(needed))
        current = newer  # a rollout went on in the meantime: look again


def _named_by(fleet: Fleet, config: FleetConfig, model: str, why: str) -> list[tuple[int | None, str]]:
    return [
        (version, why)
        for entry in config.models.model_config_list.config
        if entry.name in _names_of(model) or model_in_store(entry, fleet.store) == model
        for version in _versions(entry)
    ]


def _versions(entry: ModelConfig) -> list[int | None]:
    """The versions that an entry names; None if its server chooses among those that it finds."""
    return [*(entry.model_version_policy.specific.versions or [None]), *entry.version_labels.values()]


def _names_of(model: str) -> tuple[str, str]:
    return model, names.candidate_name(model)
