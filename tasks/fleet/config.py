"""A fleet's desired state: numbered TensorFlow Serving configs in the store, each created once and never changed.

Each is signed, with its number and its fleet's name, by whoever may publish. One that is not is passed over: its number
is taken, and what it asks for is not served.
"""

import copy
import functools
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from google.protobuf import text_format

from tasks import names
from tasks.errors import Corrupt, SignatureInvalid
from tasks.policy import Policy
from tasks.records import Record, ReplicaReport, RolloutRecord, now
from tasks.settings import ServerAddress, Settings
from tasks.store.base import Store
from tasks.store.connect import connect
from tasks.store.keys import (
    config_key,
    configs_prefix,
    fleets_prefix,
    number_in,
    replica_key,
    rollout_key,
    versions_prefix,
)
from tasks.versions import signing
from tasks.versions.signing import Trust
from tasks.wire.protos import ModelConfig, ModelServerConfig

log = logging.getLogger(__name__)

PLATFORM = "tensorflow"
_HELD = "# held back: "  # a comment, which model servers and older agents skip
_SIGNATURE = b"# signature: "  # the last line, over all lines before it
_PASSED_OVER = 20  # configs without a valid signature that are looked behind for one that has it


@dataclass(frozen=True)
class Held(Record):
    """A name whose entry in a config is for some replicas alone; the others are held back, and serve it as before."""

    name: str
    only: tuple[str, ...]  # the replicas that the entry is for
    before: int  # number of the config whose entry of that name holds for the others


@dataclass(frozen=True)
class FleetConfig:
    """Desired state `number` of a fleet; number 0 is a fleet that has never served."""

    number: int
    models: ModelServerConfig
    held: tuple[Held, ...] = ()
    last: int = field(
        default=0, compare=False
    )  # the highest number that is taken, if those behind this one were passed over

    @property
    def taken(self) -> int:
        """The highest number that is taken."""
        return max(self.number, self.last)

    def entry(self, name: str) -> ModelConfig | None:
        """What this config says of the model `name`."""
        return next((c for c in self.models.model_config_list.config if c.name == name), None)

    def versions(self, name: str) -> list[int]:
        """The versions of `name` that are asked for by number."""
        found = self.entry(name)
        return list(found.model_version_policy.specific.versions) if found else []


@dataclass(frozen=True)
class WithoutAgents:
    """Model servers that flows converge themselves, and the folder that all of them read."""

    servers: tuple[ServerAddress, ...]
    models_dir: Path  # the same path on the servers' machines
    deadline: float  # longest time for one call, seconds


class Fleet:
    """A fleet of replicas: its state in the store, whose versions they may serve, and how soon they must follow."""

    def __init__(
        self,
        store: Store,
        trust: Trust,
        name: str,
        deadline: float,
        quorum: float = 1.0,
        without_agents: WithoutAgents | None = None,
        hosts: Collection[str] = (),
    ) -> None:
        """A fleet; nothing is read or written yet.

        Args:
            trust: what must hold of a version before a replica without an agent serves it.
            deadline: longest time for the replicas to reach a config, seconds.
            quorum: share of the reporting replicas that must reach it, 0..1.
            without_agents: its replicas, if they have no agents.
            hosts: the machines whose replicas may be asked; none: any whose agent says that it is the replica.

        Raises:
            InvalidName: the name cannot be part of a key.
        """
        self.store = store
        self.trust = trust
        self.name = names.fleet_name(name)
        self.deadline = deadline
        self.quorum = quorum
        self.without_agents = without_agents
        self.hosts = hosts

    @classmethod
    def connect(cls, settings: Settings, name: str | None = None) -> "Fleet":
        """The fleet `name`, or the settings' own."""
        name, servers = name or settings.fleet, settings.servers_without_agents
        direct = WithoutAgents(servers, settings.replica_models, settings.call_deadline) if servers else None
        direct = direct if name == settings.fleet else None
        return cls(
            connect(settings),
            Trust.of(settings),
            name,
            settings.load_deadline,
            settings.quorum,
            direct,
            {server.host.lower() for server in direct.servers} if direct else settings.hosts_to_ask,
        )

    def under(self, policy: Policy | None) -> "Fleet":
        """This fleet with the deadline and quorum of a rollout's policy; None: of an earlier release, without one."""
        if policy is None:
            return self
        fleet = copy.copy(self)
        fleet.deadline, fleet.quorum = policy.load_deadline, policy.quorum
        return fleet

    def newest(self) -> FleetConfig:
        """The newest desired state. Two requests, as long as there are not thousands.

        Raises:
            SignatureInvalid: none of the newest configs is signed by whom this fleet trusts.
        """
        numbers, passed = self.numbers(), list[int]()
        for number in reversed(numbers[-_PASSED_OVER:]):
            data = self.store.get(config_key(self.name, number))
            if self.is_signed(number, data):
                for other in passed:
                    self._pass_over(other)
                return replace(self._parsed(number, data), last=numbers[-1])
            passed.append(number)
        if numbers:
            raise SignatureInvalid(
                f"The newest configs of fleet {self.name!r}, up to {numbers[-1]}, are not signed with the key of "
                f"{self.trust.public_key}: an earlier release wrote them, or the key is another one. What is served "
                f"stays as it is. If `slipway history {self.name}` shows what it should, `slipway fleet sign "
                f"{self.name}` signs the newest one."
            )
        return self.read(0)

    def newer(self, known: FleetConfig) -> FleetConfig | None:
        """`known` or what follows on it, if configs were written since. One request if none was."""
        current, number = known, known.taken
        # Each is created behind the one before, so the next number is the only one that can be new. It is asked for by
        # its key, which costs a tenth of a listing.
        while (data := self.store.find(config_key(self.name, number + 1))) is not None:
            number += 1
            if self.is_signed(number, data):
                current = self._parsed(number, data)
            else:
                self._pass_over(number)
                current = replace(current, last=number)
        return current if number > known.taken else None

    def numbers(self) -> list[int]:
        """The numbers of all desired states, ascending. What lies behind a gap is none: no writer leaves one."""
        prefix = configs_prefix(self.name)
        found = sorted(n for n in (number_in(prefix, key) for key in self.store.keys(prefix)) if n is not None)
        followed = [n for place, n in enumerate(found) if n == found[0] + place]
        if followed != found:
            stray = self.store.uri(config_key(self.name, found[len(followed)]))
            _warn_once(f"{stray} follows on no config of fleet {self.name}: it is passed over. Remove it.")
        return followed

    def read(self, number: int) -> FleetConfig:
        """Desired state `number`.

        Raises:
            NotFound: it was never written.
            Corrupt: it is not a ModelServerConfig.
            SignatureInvalid: it is not signed by whom this fleet trusts.
        """
        if number == 0:
            return FleetConfig(0, with_entries(ModelServerConfig(), {}))
        data = self.store.get(config_key(self.name, number))
        if not self.is_signed(number, data):
            raise SignatureInvalid(self._not_signed(number))
        return self._parsed(number, data)

    def is_signed(self, number: int, data: bytes) -> bool:
        """Whether this fleet's config `number` may have these bytes, by their signature; always if nothing is signed.

        Raises:
            InvalidSettings: there is no key to verify with.
        """
        key = self.trust.verifying_key()
        if key is None:
            return True
        text, mark, signature = data.rpartition(_SIGNATURE)
        place = text.split(b"\n")[1:2] == [_place(self.name, number).encode()]  # not that of another, put here
        return bool(mark) and place and signing.is_signed(text, signature.rstrip(b"\n"), key)

    def write(self, number: int, models: ModelServerConfig, note: str, held: tuple[Held, ...] = ()) -> bool:
        """Write config `number`, signed; False if the number is taken.

        Args:
            note: who writes, and why; one line, kept in the config.

        Raises:
            InvalidSettings: there is no key to sign with.
        """
        text = render(models, f"{now().isoformat()} {note}", held, _place(self.name, number))
        if self.trust.private_key is not None:
            text += _SIGNATURE + signing.sign_bytes(text, self.trust.private_key) + b"\n"
        return self.store.create(config_key(self.name, number), text)

    def _pass_over(self, number: int) -> None:
        _warn_once(f"{self._not_signed(number)} It is passed over; leave it, since the next one follows on it.")

    def _not_signed(self, number: int) -> str:
        source, key = self.store.uri(config_key(self.name, number)), self.trust.public_key
        return f"{source} is not signed, as config {number} of fleet {self.name}, with the key of {key}."

    def _parsed(self, number: int, data: bytes) -> FleetConfig:
        text, source = data.decode("utf-8", "replace"), self.store.uri(config_key(self.name, number))
        return FleetConfig(number, parse(text, source), held_in(text, source))

    def seen_by(self, replica: str, config: FleetConfig) -> FleetConfig:
        """`config` as one replica has to serve it: what it is held back from stays as it was. Mostly no request."""
        held = [held for held in config.held if replica not in held.only]
        if not held:
            return config
        before = {number: self.read(number) for number in {h.before for h in held}}
        entries = {h.name: before[h.before].entry(h.name) for h in held}
        return replace(config, models=with_entries(config.models, entries))

    def change(
        self,
        entries: Mapping[str, ModelConfig | None],
        note: str,
        *,
        require_turn: Callable[[], None] = lambda: None,
        always: bool = False,
        only: Sequence[str] = (),
    ) -> FleetConfig:
        """Write the next desired state: the newest one with these entries put in place (None: left out).

        Another writer may be first; then its state is read and merged into, as often as it takes. If the newest state
        has these entries already, nothing is written, unless `always`.

        Args:
            note: who writes, and why; one line, kept in the config.
            only: the replicas that these entries are for, if not all; the others serve these names as before.
            require_turn: raises if the writer has lost its right to write. It is called after the newest state was
                read: a run that took over and then wrote is either seen by it, or wins the number.

        Raises:
            InvalidSettings: there is no key to sign with.
            SignatureInvalid: as `newest`.
        """
        current = self.newest()
        while True:
            require_turn()
            merged, held = with_entries(current.models, entries), _held(current, entries, only)
            if (merged, held) == (current.models, current.held) and not always:
                return current
            number = current.taken + 1
            if self.write(number, merged, note, held):
                log.info("fleet %s: config %d written: %s", self.name, number, note)
                return FleetConfig(number, merged, held)
            current = self.newer(current) or current

    def rollout_under_way(self, model: str) -> RolloutRecord | None:
        """The rollout of `model` that has not ended, or None."""
        return self.store.find_record(rollout_key(self.name, model), RolloutRecord)

    def last_report(self, replica: str) -> ReplicaReport | None:
        """The latest report of a replica, None if it has never reported."""
        return self.store.find_record(replica_key(self.name, replica), ReplicaReport)

    def put_report(self, report: ReplicaReport) -> None:
        """Keep a replica's report, in place of the one before."""
        self.store.put(replica_key(self.name, report.replica), report.to_json())

    def base_path(self, model: str) -> str:
        """Where the versions of `model` lie, as a config names it; a replica replaces it by a local folder."""
        return self.store.uri(versions_prefix(model)).rstrip("/")


@functools.lru_cache(maxsize=1000)  # a rollout looks for the newest config ten times
def _warn_once(text: str) -> None:
    log.warning("%s", text)


def fleet_names(store: Store) -> list[str]:
    """The fleets that the store has anything of, sorted."""
    return [name for name in store.children(fleets_prefix()) if names.is_name(name)]


def serving_entry(name: str, base_path: str, versions: Sequence[int], labels: Mapping[str, int]) -> ModelConfig:
    """An entry that serves these versions under `name`."""
    made = ModelConfig(name=name, base_path=base_path, model_platform=PLATFORM)
    made.model_version_policy.specific.versions.extend(versions)
    for label, version in labels.items():
        made.version_labels[label] = version
    return made


def with_entries(config: ModelServerConfig, entries: Mapping[str, ModelConfig | None]) -> ModelServerConfig:
    """`config` with these models' entries put in place, or left out if None; every other entry unchanged."""
    merged, waiting = ModelServerConfig(), dict(entries)
    for old in config.model_config_list.config:
        new = waiting.pop(old.name) if old.name in waiting else old
        if new is not None:
            merged.model_config_list.config.append(new)
    merged.model_config_list.config.extend(new for new in waiting.values() if new is not None)
    merged.model_config_list.SetInParent()
    return merged


def _held(current: FleetConfig, names: Collection[str], only: Sequence[str]) -> tuple[Held, ...]:
    """Who is held back from what, once the entries of `names` in `current` are replaced by others for `only`."""
    before = {held.name: held.before for held in current.held}
    others = tuple(held for held in current.held if held.name not in names)
    return others + tuple(Held(name, tuple(only), before.get(name, current.number)) for name in names if only)


def held_in(text: str, source: str) -> tuple[Held, ...]:
    """Who is held back from what, as the comments of a config's text form say it.

    Raises:
        Corrupt: one of them does not say it.
    """
    lines = (line for line in text.splitlines() if line.startswith(_HELD))
    return tuple(Held.from_json(line.removeprefix(_HELD).encode(), source) for line in lines)


def parse(text: str, source: str) -> ModelServerConfig:
    """A ModelServerConfig from its text form.

    Raises:
        Corrupt: it is not one, or has no list of models.
    """
    try:
        config = text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise Corrupt(f"{source} is not a TensorFlow Serving config: {error}. Write a newer one that is.") from None
    if config.HasField("custom_model_config"):
        raise Corrupt(f"{source} holds a custom_model_config; Slipway can merge only a model_config_list.")
    return config


def render(config: ModelServerConfig, note: str, held: Sequence[Held] = (), place: str = "") -> bytes:
    """`config` in its text form, under comments: who wrote it and why, its place, which replicas are held back."""
    lines = [f"# {' '.join(note.split())}", *filter(None, [place]), *(f"{_HELD}{json.dumps(asdict(h))}" for h in held)]
    return "\n".join([*lines, text_format.MessageToString(config)]).encode()


def _place(fleet: str, number: int) -> str:
    return f"# config {number} of fleet {fleet}"


STABLE = "stable"  # the label of the version that clients meet, where they ask for one


@dataclass(frozen=True)
class Serving(Record):
    """What a config asks a model server to serve under one name."""

    name: str
    versions: tuple[int, ...]
    labels: Mapping[str, int]


def servings(config: FleetConfig) -> dict[str, Serving]:
    """What a config asks for, by name."""
    return {
        c.name: Serving(c.name, tuple(c.model_version_policy.specific.versions), dict(c.version_labels))
        for c in config.models.model_config_list.config
    }


def labels_of(labels: Mapping[str, int], version: int) -> list[str]:
    """The labels that point at a version, sorted."""
    return sorted(label for label, labelled in labels.items() if labelled == version)


def live_version(config: FleetConfig, model: str) -> int | None:
    """The version that clients of `model` meet: the one labelled `stable`, else the highest; None if none serves."""
    return live_in(servings(config).get(model))


def live_in(serving: Serving | None) -> int | None:
    return serving.labels.get(STABLE, max(serving.versions, default=None)) if serving is not None else None
