"""Which versions are wanted, and what to load or unload next: decisions alone, no doing."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

_INT64 = re.compile(r"\s*-?[0-9]+\s*", re.ASCII)


def parse_version(name: str) -> int | None:
    """The version that a directory's name stands for; None where it is no int64."""
    if not _INT64.fullmatch(name):
        return None
    number = int(name)
    return number if -(2**63) <= number < 2**63 else None


def wanted_versions(children: Iterable[str], policy: Any) -> dict[int, str]:
    """The versions that a ServableVersionPolicy wants of a base path's children, as version → child's name.

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
    """Where a managed version is in its life."""

    NEW = "new"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Managed:
    """One managed version as the policy sees it."""

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

    A version that is no longer wanted goes, lowest first, when a wanted one is ready, when none is wanted, or when
    another unwanted one would still serve. Otherwise the highest new version is loaded.
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
    """Whether a new list of wanted versions can be taken now: none of them is just being unloaded."""
    return not any(v in managed and managed[v].phase is Phase.UNLOADING for v in versions)
