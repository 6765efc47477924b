"""Bringing one replica to a fleet's desired state, without losing an answer."""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from google.protobuf import text_format

from tasks import names
from tasks.errors import DeadlineExceeded, LoadFailed, ServingRefused, SlipwayError, StoreUnreachable
from tasks.files import write_atomically
from tasks.fleet import memory
from tasks.fleet.config import FleetConfig, parse, with_entries
from tasks.records import ReplicaReport, VersionState
from tasks.serving.client import ServingClient
from tasks.settings import ServerAddress
from tasks.store.base import Store
from tasks.store.keys import models_prefix
from tasks.versions import fetch
from tasks.versions.signing import Trust
from tasks.wire.protos import ModelConfig, ModelServerConfig

log = logging.getLogger(__name__)

States = Mapping[str, tuple[VersionState, ...]]  # by model, as the server reports them

_POLL = 0.1  # seconds between two looks at a version's state
# After a reload the server looks at its folders once a second; until then a version may still show an old END.
_STALE = 3.0  # seconds
_FORGOTTEN = 2.0  # seconds, in which it has done so


class Replica:
    """A model server, its name in the fleet, the folder it reads and the config file it starts from."""

    def __init__(
        self,
        store: Store,
        trust: Trust,
        name: str,
        server: ServingClient,
        models_dir: Path,
        config_file: Path,
        other_folders: Sequence[Path] | None = None,
        advertised: ServerAddress | None = None,
        agent_url: str | None = None,
    ) -> None:
        """A replica; nothing is read or asked yet.

        Args:
            trust: what must hold of a version before the server hears of it.
            other_folders: where models that are not from the store may lie; None: anywhere.
            advertised: where flows reach the server; None: where it is reached from here.
            agent_url: where flows reach its agent; None if it has none, or they cannot.
        """
        self.store = store
        self.trust = trust
        self.name = name
        self.server = server
        self.models_dir = models_dir
        self.config_file = config_file
        self.other_folders = other_folders
        self._rest_url = advertised.rest_url if advertised is not None else server.rest_url
        self._agent_url = agent_url
        self._grpc_address = advertised.grpc_address if advertised is not None else server.grpc_address

    @property
    def place(self) -> str:
        """Its machine, and the folder of its models there: what no other replica shares."""
        return f"{socket.gethostname()}:{self.models_dir.absolute()}"

    def converge(self, config: FleetConfig, deadline: float) -> States:
        """Serve what `config` says, and return the states of its models.

        Idempotent. Every wanted version is on the disk, verified, before the server is asked for it. A label moves only
        once its version is AVAILABLE; the version that it pointed at stays loaded until then.

        Raises:
            LoadFailed: a version could not be fetched, does not fit into memory, or ended in END, with the server's own
                message.
            DeadlineExceeded: a version was not AVAILABLE within `deadline` seconds.
            StoreUnreachable: the store gave no answer.
            ServingError: the server could not be asked, or refused the config.
        """
        end = time.monotonic() + deadline
        for model, version in wanted_from_store(config.models, self.store):
            self._fetch(model, version)
        wanted = localised(config.models, self.store, self.models_dir)
        running = self.running()
        before = self.states(running, wanted)
        memory.require_memory(unloaded(wanted, before, self.models_dir), self.server.grpc_address)
        self._forget_failed(running, wanted, before, end)
        first = transition(running, wanted, before)
        self._reload(first, wanted, end)
        self._await(lambda states: missing(wanted, states), wanted, before, end)
        if first != wanted:
            self._reload(wanted, wanted, end)
        write_config(self.config_file, wanted)
        self._await(lambda states: surplus(wanted, states), running, before, end)
        return self.states(wanted)

    def _forget_failed(self, running: ModelServerConfig, wanted: ModelServerConfig, states: States, end: float) -> None:
        """Have the server forget the versions that failed to load: it tries none again that stays wanted all the time.

        That is TensorFlow Serving's rule (aspired_versions_manager.cc); what made it fail may have passed since.
        """
        if any(failed_versions(entry, states) for entry in wanted.model_config_list.config):
            without = without_failed(running, wanted, states)
            self._reload(transition(running, without, states), without, end)
            time.sleep(_FORGOTTEN)

    def _fetch(self, model: str, version: int) -> None:
        try:
            fetch.fetch_version(self.store, self.trust, model, version, self.models_dir)
        except StoreUnreachable:  # which no model is to blame for
            raise
        except SlipwayError as error:
            raise LoadFailed(str(error), model) from error

    def believed(self, config: FleetConfig) -> tuple[FleetConfig, list[str]]:
        """`config` without what this replica must not serve, and why each such entry was left out, in words.

        Anyone who can write to the bucket can write a config. So an entry is served only if its base path is that of
        the model in the store that its name says, or lies in a folder that the replica's own settings name. In the
        place of any other, the replica goes on with what it serves under that name.
        """
        doubts = {
            entry.name: doubt
            for entry in config.models.model_config_list.config
            if (doubt := doubt_about(entry, self.store, self.other_folders)) is not None
        }
        if not doubts:
            return config, []
        now = {entry.name: entry for entry in self.running().model_config_list.config}
        models = with_entries(config.models, {name: now.get(name) for name in doubts})
        return replace(config, models=models), list(doubts.values())

    def running(self) -> ModelServerConfig:
        """The config that this replica reached last, from which its server starts."""
        try:
            return parse(self.config_file.read_text(), str(self.config_file))
        except FileNotFoundError:
            return ModelServerConfig()

    def states(self, *configs: ModelServerConfig) -> States:
        """What the server reports of each model in `configs`."""
        names = {entry.name: None for config in configs for entry in config.model_config_list.config}
        return {name: self.server.statuses(name) for name in names}

    def reached(self, config: FleetConfig) -> bool:
        """Whether the server serves what `config` wants: false after it was restarted or reloaded by others."""
        wanted = localised(config.models, self.store, self.models_dir)
        states = self.states(wanted)
        return not missing(wanted, states) and not surplus(wanted, states)

    def report(
        self,
        config: int,
        models: States,
        error: str | None = None,
        error_config: int | None = None,
        error_model: str | None = None,
        kept: str | None = None,
        error_by_version: bool = False,
    ) -> ReplicaReport:
        """What this replica reports now; the arguments are the report's fields."""
        return ReplicaReport(
            replica=self.name,
            rest_url=self._rest_url,
            grpc_address=self._grpc_address,
            place=self.place,
            agent_url=self._agent_url,
            config=config,
            models=models,
            error=error,
            error_config=error_config,
            error_model=error_model,
            kept=kept,
            error_by_version=error_by_version,
        )

    def _reload(self, config: ModelServerConfig, wanted: ModelServerConfig, end: float) -> None:
        try:
            self.server.reload(config, max(0.1, end - time.monotonic()))
        except ServingRefused:
            # If a new model failed to load, its state says why better than the reload's answer does.
            raise_failed(wanted, self.states(wanted), {})
            raise

    def _await(
        self, waiting: Callable[[States], list[str]], config: ModelServerConfig, before: States, end: float
    ) -> None:
        """Ask for the states of `config`'s models until `waiting` returns nothing."""
        began = time.monotonic()
        while True:
            states = self.states(config)
            lacking = waiting(states)
            if not lacking:
                return
            raise_failed(config, states, before if time.monotonic() - began < _STALE else {})
            if time.monotonic() > end:
                raise DeadlineExceeded(
                    f"The model server at {self.server.grpc_address} did not come to {', '.join(lacking)} in time; it "
                    f"reports: {_states_text(states)}."
                )
            time.sleep(_POLL)


def prune(models_dir: Path, config: FleetConfig, store: Store, servers: Sequence[ServingClient]) -> None:
    """Delete local versions that `config` does not name, once no server that reads `models_dir` has them loaded.

    Raises:
        ServingError: a server could not be asked.
    """
    named: dict[str, set[int]] = {}
    for entry in localised(config.models, store, models_dir).model_config_list.config:
        named.setdefault(entry.base_path, set()).update(entry.model_version_policy.specific.versions)
    for folder in models_dir.glob("*"):  # before the first version is fetched it does not exist
        there = set(fetch.local_versions(models_dir, folder.name)) - named.get(str(folder), set())
        if there:
            loaded = {s.version for server in servers for s in server.statuses(folder.name) if s.state != "END"}
            for version in sorted(there - loaded):
                fetch.remove_version(models_dir, folder.name, version)


def model_in_store(entry: ModelConfig, store: Store) -> str | None:
    """The model whose versions in `store` this entry serves; None if Slipway did not write the entry."""
    prefix = store.uri(models_prefix())
    return entry.base_path.removeprefix(prefix) if entry.base_path.startswith(prefix) else None


def doubt_about(entry: ModelConfig, store: Store, folders: Sequence[Path] | None) -> str | None:
    """Why a replica must not serve this entry, None if it may.

    Args:
        folders: where models that are not from the store may lie; None: anywhere.
    """
    model = model_in_store(entry, store)
    if model is not None:
        fits = names.is_name(model) and entry.name in (model, names.candidate_name(model))
        return (
            None if fits else f"{entry.name} is not served from {entry.base_path!r}, which is not its own in the store"
        )
    path = Path(os.path.normpath(entry.base_path))
    if folders is None or any(path.is_relative_to(folder.absolute()) for folder in folders):
        return None
    return f"{entry.name} is not served from {entry.base_path!r}: SLIPWAY_OTHER_MODELS names no such folder"


def wanted_from_store(config: ModelServerConfig, store: Store) -> list[tuple[str, int]]:
    """Each version that must be fetched from `store` before `config` can be served, once."""
    wanted: dict[tuple[str, int], None] = {}
    for entry in config.model_config_list.config:
        model = model_in_store(entry, store)
        if model is not None:
            wanted.update(((model, v), None) for v in entry.model_version_policy.specific.versions)
    return list(wanted)


def localised(config: ModelServerConfig, store: Store, models_dir: Path) -> ModelServerConfig:
    """`config` with the store's base paths turned into this replica's own; other entries unchanged."""
    local = ModelServerConfig()
    local.CopyFrom(config)
    for entry in local.model_config_list.config:
        model = model_in_store(entry, store)
        if model is not None:
            entry.base_path = str(models_dir / model)
    local.model_config_list.SetInParent()
    return local


def transition(running: ModelServerConfig, wanted: ModelServerConfig, states: States) -> ModelServerConfig:
    """The config on the way from `running` to `wanted`: no label moves to what is not AVAILABLE yet.

    A label whose new version must still load stays where it is, and that version stays loaded; a label that is new is
    left out for now. Equal to `wanted` if every labelled version is AVAILABLE.
    """
    old = {c.name: c for c in running.model_config_list.config}
    first = ModelServerConfig()
    first.CopyFrom(wanted)
    for entry in first.model_config_list.config:
        available = {s.version for s in states.get(entry.name, ()) if s.state == "AVAILABLE"}
        policy = entry.model_version_policy.specific.versions
        for label, version in dict(entry.version_labels).items():
            if version in available:
                continue
            del entry.version_labels[label]
            before = old[entry.name].version_labels.get(label) if entry.name in old else None
            if before in available and before is not None:
                entry.version_labels[label] = before
                if policy and before not in policy:
                    policy.append(before)
    return first


def without_failed(running: ModelServerConfig, wanted: ModelServerConfig, states: States) -> ModelServerConfig:
    """`wanted` without the versions that failed to load; a model that has no other stays as it is in `running`."""
    old = {c.name: c for c in running.model_config_list.config}
    kept = ModelServerConfig()
    for entry in wanted.model_config_list.config:
        failed = {state.version for state in failed_versions(entry, states)}
        for choice in (entry, old.get(entry.name, ModelConfig())):
            numbers = choice.model_version_policy.specific.versions
            left = [v for v in numbers if v not in failed]
            if left or (choice is entry and not numbers):
                made = kept.model_config_list.config.add()
                made.CopyFrom(choice)
                if left:  # else the server itself chooses its versions
                    made.model_version_policy.specific.versions[:] = left
                for label in [label for label, version in choice.version_labels.items() if version in failed]:
                    del made.version_labels[label]
                break
    kept.model_config_list.SetInParent()
    return kept


def missing(wanted: ModelServerConfig, states: States) -> list[str]:
    """What `wanted` asks for that is not AVAILABLE yet, each in words."""
    lacking = []
    for entry in wanted.model_config_list.config:
        available = {s.version for s in states.get(entry.name, ()) if s.state == "AVAILABLE"}
        numbers = entry.model_version_policy.specific.versions
        lacking += [f"{entry.name} version {v} being AVAILABLE" for v in numbers if v not in available]
        if not numbers and not available:
            lacking.append(f"{entry.name} having a version AVAILABLE")
    return lacking


def unloaded(wanted: ModelServerConfig, states: States, models_dir: Path) -> list[Path]:
    """Folders below `models_dir` of the versions that `wanted` asks for by number and that are not loaded."""
    found = []
    for entry in wanted.model_config_list.config:
        held = {s.version for s in states.get(entry.name, ()) if s.state != "END"}
        if Path(entry.base_path).parent == models_dir:
            numbers = entry.model_version_policy.specific.versions
            found += [Path(entry.base_path) / str(v) for v in numbers if v not in held]
    return found


def surplus(wanted: ModelServerConfig, states: States) -> list[str]:
    """What is still loaded though `wanted` does not ask for it, each in words."""
    asked = {c.name: c.model_version_policy for c in wanted.model_config_list.config}
    left = []
    for model, versions in states.items():
        policy = asked.get(model)
        if policy is not None and not policy.specific.versions:
            continue  # the server itself decides which versions such a policy keeps
        keep = set(policy.specific.versions) if policy else set()
        left += [
            f"{model} version {s.version} being unloaded"
            for s in versions
            if s.state != "END" and s.version not in keep
        ]
    return left


def raise_failed(wanted: ModelServerConfig, states: States, stale: States) -> None:
    """Raise for a wanted version that ended in END with an error; a state that is in `stale` too is an old one.

    Raises:
        LoadFailed: with the server's own message.
    """
    for entry in wanted.model_config_list.config:
        for state in failed_versions(entry, states):
            if state not in stale.get(entry.name, ()):
                raise LoadFailed(
                    f"{entry.name} version {state.version} did not load (state END: {state.code}: {state.message})",
                    entry.name,
                    by_version=True,
                )


def failed_versions(entry: ModelConfig, states: States) -> list[VersionState]:
    """The states of the versions that an entry asks for by number and that ended in END with an error."""
    asked = entry.model_version_policy.specific.versions
    return [s for s in states.get(entry.name, ()) if s.version in asked and s.state == "END" and s.code != "OK"]


def write_config(path: Path, config: ModelServerConfig) -> None:
    """Write the config file that a model server starts from, by an atomic rename."""
    data = text_format.MessageToString(config) or "model_config_list {}\n"
    write_atomically(path, data.encode())


def _states_text(states: States) -> str:
    texts = [f"{model} {s.version} {s.state}" for model, versions in states.items() for s in versions]
    return ", ".join(texts) or "nothing of these models"
