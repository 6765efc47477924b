"""A fleet's desired state: numbered TensorFlow Serving configs in the store, each created once and never changed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf import text_format

from tasks import layout
from tasks.errors import Corrupt
from tasks.protos import ModelConfig, ModelServerConfig
from tasks.records import ReplicaReport, now
from tasks.store import Store

log = logging.getLogger(__name__)

PLATFORM = "tensorflow"


@dataclass(frozen=True)
class FleetConfig:
    """Desired state `number` of a fleet; number 0 is a fleet that has never served."""

    number: int
    models: ModelServerConfig

    def entry(self, name: str) -> ModelConfig | None:
        """What this config says of the model `name`."""
        return next((c for c in self.models.model_config_list.config if c.name == name), None)

    def versions(self, name: str) -> list[int]:
        """The versions of `name` that are asked for by number."""
        found = self.entry(name)
        return list(found.model_version_policy.specific.versions) if found else []


def serving_entry(
    store: Store, model: str, versions: list[int], *, name: str | None = None, labels: Mapping[str, int] | None = None
) -> ModelConfig:
    """The entry that serves these versions of `model`, under `name` if given."""
    found = ModelConfig(
        name=name or model, base_path=store.uri(layout.versions_prefix(model)).rstrip("/"), model_platform=PLATFORM
    )
    found.model_version_policy.specific.versions.extend(versions)
    for label, number in (labels or {}).items():
        found.version_labels[label] = number
    return found


def with_entries(config: ModelServerConfig, entries: Mapping[str, ModelConfig | None]) -> ModelServerConfig:
    """`config` with these models' entries put in place, or left out where None; every other entry stays as it stood."""
    merged, waiting = ModelServerConfig(), dict(entries)
    for old in config.model_config_list.config:
        new = waiting.pop(old.name) if old.name in waiting else old
        if new is not None:
            merged.model_config_list.config.append(new)
    merged.model_config_list.config.extend(new for new in waiting.values() if new is not None)
    merged.model_config_list.SetInParent()
    return merged


def newest(store: Store, fleet: str, known: int = 0) -> FleetConfig:
    """The newest desired state of `fleet`. One request where nothing is newer than `known`."""
    return _newest_after(store, fleet, known) or read(store, fleet, known)


def newer(store: Store, fleet: str, known: int) -> FleetConfig | None:
    """The newest desired state, if it is newer than number `known`. One request where it is not."""
    return _newest_after(store, fleet, known)


def read(store: Store, fleet: str, number: int) -> FleetConfig:
    """Desired state `number` of `fleet`.

    Raises:
        NotFound: it was never written.
        Corrupt: it is no ModelServerConfig.
    """
    if number == 0:
        return FleetConfig(0, with_entries(ModelServerConfig(), {}))
    key = layout.config_key(fleet, number)
    return FleetConfig(number, parse(store.get(key).decode("utf-8", "replace"), store.uri(key)))


def parse(text: str, source: str) -> ModelServerConfig:
    """A ModelServerConfig from its text form.

    Raises:
        Corrupt: it is none, or has no list of models.
    """
    try:
        config = text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise Corrupt(f"{source} is no TensorFlow Serving config: {error}. Write a newer one that is.") from None
    if config.HasField("custom_model_config"):
        raise Corrupt(f"{source} holds a custom_model_config; Slipway can merge only a model_config_list.")
    return config


def render(config: ModelServerConfig, note: str) -> bytes:
    """`config` in its text form, under a comment that says who wrote it and why."""
    return f"# {' '.join(note.split())}\n{text_format.MessageToString(config)}".encode()


def change(store: Store, fleet: str, entries: Mapping[str, ModelConfig | None], note: str) -> FleetConfig:
    """Write the next desired state: the newest one with these entries put in place (None: left out).

    Another writer may be first; then its state is read and merged into, as often as it takes. Where the newest state
    says all this already, nothing is written.
    """
    current = newest(store, layout.fleet_name(fleet))
    while True:
        merged = with_entries(current.models, entries)
        if merged == current.models:
            return current
        number = current.number + 1
        if store.create(layout.config_key(fleet, number), render(merged, f"{now().isoformat()} {note}")):
            log.info("fleet %s: config %d written: %s", fleet, number, note)
            return FleetConfig(number, merged)
        current = newest(store, fleet, current.number)


def replicas(store: Store, fleet: str) -> list[ReplicaReport]:
    """The last words of the fleet's replicas, sorted by name."""
    reports = []
    for key in store.keys(layout.replicas_prefix(fleet)):
        data = store.find(key)
        if data is not None:
            reports.append(ReplicaReport.from_json(data, store.uri(key)))
    return reports


def _newest_after(store: Store, fleet: str, known: int) -> FleetConfig | None:
    keys = store.keys(layout.configs_prefix(fleet), after=layout.config_key(fleet, known))
    numbers = [n for n in map(layout.number_in, keys) if n is not None]
    return read(store, fleet, max(numbers)) if numbers else None
