"""Which versions are wanted, and what to load or unload next: pure decisions, which `manager` carries out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from tasks.wire.protos import FileSystemStoragePathSourceConfig

VersionPolicy: TypeAlias = FileSystemStoragePathSourceConfig.ServableVersionPolicy
_INT64 = re.compile(r"\s*[-+]?[0-9]+\s*", re.ASCII)


def parse_version(name: str) -> int | None:
    """The version that a directory is named for; None if its name is not an int64."""
    if not _INT64.fullmatch(name):
        return None
    number = int(name)
    return number if -(2**63) <= number < 2**63 else None


def wanted_versions(children: Iterable[str], policy: VersionPolicy) -> dict[int, str]:
    """The versions that a ServableVersionPolicy chooses from a base path's children, as version → child's name.

    Without a policy it is the latest one (file_system_storage_path_source.cc).
    """
    present: dict[int, str] = {}
    for child in sorted(children):
        version = parse_version(child)
        if version is not None:
            present[version] = child
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        chosen = set(present)
    elif choice == "specific":
        chosen = present.keys() & set(policy.specific.versions)
    else:
        chosen = set(sorted(present, reverse=True)[: max(policy.latest.num_versions, 1)])
    return {version: present[version] for version in sorted(chosen, reverse=True)}


class Phase(Enum):
    """The phases of a managed version."""

    NEW = "new"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Managed:
    """One managed version, as far as the policy needs to know it."""

    version: int
    phase: Phase
    wanted: bool


@dataclass(frozen=True, slots=True)
class Action:
    """Load or unload one version."""

    load: bool
    version: int


def next_action(versions: Iterable[Managed]) -> Action | None:
    """What to do next for one model so that a wanted version stays available (availability_preserving_policy.cc).

    A version that is no longer wanted is unloaded, lowest first, if a wanted one is ready, if none is wanted, or if
    another unwanted one keeps serving. Otherwise the highest new version is loaded.
    """
    every = list(versions)
    wanted = [v for v in every if v.wanted]
    leaving = [v.version for v in every if not v.wanted and v.phase is Phase.READY]
    serving = any(v.phase is Phase.READY for v in wanted)
    if leaving and (not wanted or serving or len(leaving) > 1):
        return Action(load=False, version=min(leaving))
    new = [v.version for v in wanted if v.phase is Phase.NEW]
    return Action(load=True, version=max(new)) if new else None


def may_apply(managed: Mapping[int, Managed], versions: Iterable[int]) -> bool:
    """Whether a new list of wanted versions can be taken now, that is, none of them is being unloaded."""
    return not any(v in managed and managed[v].phase is Phase.UNLOADING for v in versions)
