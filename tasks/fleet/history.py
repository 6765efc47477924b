"""What a fleet was asked to serve, config by config: when, by which run, and what each changed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tasks.errors import Corrupt, InvalidInput
from tasks.fleet.config import Fleet, Held, held_in, parse
from tasks.records import Record
from tasks.store.keys import config_key
from tasks.wire.protos import ModelConfig, ModelServerConfig

_RUN = re.compile(r"run (?P<run>.+?): (?P<what>.*)")


@dataclass(frozen=True)
class ConfigChange(Record):
    """One of a fleet's configs, compared with the one before."""

    number: int
    time: datetime | None  # None if its writer did not say, as in a config written by hand
    run: str | None
    note: str
    changes: tuple[str, ...]


def fleet_history(fleet: Fleet, last: int = 20) -> list[ConfigChange]:
    """The newest `last` configs of the fleet, newest first; those that are not signed as such.

    Raises:
        InvalidInput: `last` is less than 1.
        Corrupt: one of them is not a config.
    """
    if last < 1:
        raise InvalidInput(f"--last {last} asks for no config: ask for at least 1.")
    numbers = fleet.numbers()
    texts = {n: _text(fleet, n) for n in numbers[-last - 1 :]}
    signed = {n for n, text in texts.items() if fleet.is_signed(n, text.encode())}
    before, found = ModelServerConfig(), []
    for number, text in texts.items():
        source = fleet.store.uri(config_key(fleet.name, number))
        changes: tuple[str, ...] = ("not signed",) if number not in signed else ()
        try:
            config = parse(text, source)
            changes += (*differences(before, config), *map(_held_back, held_in(text, source)))
        except Corrupt:
            if number in signed:
                raise
        else:
            # Replicas passed over one that is not signed, unless an earlier release wrote it, before all that are.
            if number in signed or number < min(signed, default=number + 1):
                before = config
        found.append(ConfigChange(number, *read_note(text), changes))
    found = found[-last:]
    found.reverse()
    return found


def read_note(text: str) -> tuple[datetime | None, str | None, str]:
    """When a config was written, by which run, and its note, from the comment that it begins with."""
    first = text.partition("\n")[0]
    if not first.startswith("#"):
        return None, None, ""
    note = first.removeprefix("#").strip()
    try:
        time, note = datetime.fromisoformat(note.partition(" ")[0]), note.partition(" ")[2]
    except ValueError:
        time = None
    match = _RUN.fullmatch(note)
    return (time, match["run"], match["what"]) if match else (time, None, note)


def differences(before: ModelServerConfig, after: ModelServerConfig) -> list[str]:
    """What `after` serves differently from `before`, in words."""
    old, new = _entries(before), _entries(after)
    words = [f"{name} is no longer served" for name in old if name not in new]
    for name, entry in new.items():
        if name not in old:
            words.append(f"{name} serves {_versions(entry)}{_labels(entry)}")
        elif old[name] != entry:
            words += _entry_differences(old[name], entry)
    return words


def _held_back(held: Held) -> str:
    return f"{held.name} so on {', '.join(held.only)} alone, elsewhere as in config {held.before}"


def _entry_differences(old: ModelConfig, new: ModelConfig) -> list[str]:
    words = []
    if _versions(old) != _versions(new):
        words.append(f"{new.name} serves {_versions(new)}, before: {_versions(old)}")
    was, now = dict(old.version_labels), dict(new.version_labels)
    words += [
        f"{new.name} label {label}: {was.get(label) or 'none'} → {now.get(label) or 'none'}"
        for label in sorted(was.keys() | now.keys())
        if was.get(label) != now.get(label)
    ]
    return words or [f"{new.name}: other settings changed"]


def _entries(config: ModelServerConfig) -> Mapping[str, ModelConfig]:
    return {entry.name: entry for entry in config.model_config_list.config}


def _versions(entry: ModelConfig) -> str:
    policy = entry.model_version_policy
    if policy.specific.versions:
        return ", ".join(map(str, policy.specific.versions))
    return "all its versions" if policy.HasField("all") else f"its latest {max(1, policy.latest.num_versions)}"


def _labels(entry: ModelConfig) -> str:
    labels = ", ".join(f"{name} {version}" for name, version in sorted(entry.version_labels.items()))
    return f" ({labels})" if labels else ""


def _text(fleet: Fleet, number: int) -> str:
    return fleet.store.get(config_key(fleet.name, number)).decode("utf-8", "replace")
