"""What a strategy plans from, and what it plans: the stages of a rollout, each of which can say what it does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.fleet.config import STABLE, Serving, live_in
from tasks.names import candidate_name
from tasks.records import Record
from tasks.serving.client import Target


@dataclass(frozen=True)
class Start:
    """What a rollout begins from."""

    model: str
    version: int  # the one that is rolled out
    serves: Serving | None  # what is served under the model's own name; None: nothing
    replicas: tuple[str, ...]  # those that report, sorted
    soak: float  # how long the version soaks if a stage has it soak, seconds

    @property
    def live(self) -> int | None:
        """The version that clients meet."""
        return live_in(self.serves)

    @property
    def loaded(self) -> list[int]:
        """The versions that are loaded under the model's own name, ascending."""
        return sorted(self.serves.versions) if self.serves is not None else []

    @property
    def not_above(self) -> list[int]:
        """Those of them that are the live version or lower, ascending."""
        return [version for version in self.loaded if self.live is not None and version <= self.live]

    @property
    def alone(self) -> Serving:
        """The version by itself under the model's name, with the label `stable` if clients ask for that."""
        labelled = self.serves is not None and STABLE in self.serves.labels
        return Serving(self.model, (self.version,), {STABLE: self.version} if labelled else {})


@dataclass(frozen=True)
class Stage(Record):
    """One change of a fleet's config, and what is done once the replicas serve what it says.

    They are asked for `target` in any case. Then the version soaks there for `soak` seconds, if that is not 0, and is
    accepted there, if this is the stage for that: from then on clients may meet it.
    """

    name: str
    servings: tuple[Serving, ...]  # names whose entries change, or are left out (those without versions)
    target: Target  # where the version is asked after the change
    soak: float = 0.0
    accepts: bool = False
    only: tuple[str, ...] = ()  # the replicas whose config changes; all of them if none is named

    def sentences(self, version: int, checks: Sequence[str]) -> Iterator[str]:
        """What a rollout of `version` does in this stage, in the order in which it does it.

        Args:
            checks: what is asked, each in words.
        """
        where = f"on {', '.join(self.only)}" if self.only else "on every replica"
        if any(s.name == self.target.model and version in s.versions for s in self.servings):
            yield f"Serve version {version} as {self.target} {where}, and wait until that is so."
        else:
            yield f"Find version {version} loaded as {self.target} {where}."
        yield f"Ask {self.target} {where}: {'; '.join(checks)}."
        if self.soak:
            yield f"Soak it: ask {self.target} again and again for {self.soak:g} s."
        if self.accepts:
            yield f"Accept version {version}."


def trial(start: Start, after: Serving, soak: float = 0.0) -> Stage:
    """The stage that ends with the version's acceptance: it is served where clients do not ask.

    That is `MODEL-candidate`, unless it is loaded under the model's name already, where it is asked by its number.

    Args:
        after: what is served under the model's name in the end.
        soak: how long the version soaks, seconds.
    """
    # One that is loaded above the live version is not asked there: clients could meet it by accident.
    in_place = start.version in start.not_above
    candidate = candidate_name(start.model)
    servings = [] if in_place else [Serving(candidate, (start.version,), {})]
    # What is neither live nor kept is unloaded, to make room for the version on trial.
    kept = [v for v in start.not_above if v == start.live or v in after.versions]
    if start.serves is not None and kept not in ([], start.loaded):
        labels = {label: v for label, v in start.serves.labels.items() if v in kept}
        servings.insert(0, Serving(start.model, tuple(kept), labels))
    target = Target(start.model, version=start.version) if in_place else Target(candidate)
    return Stage("trial", tuple(servings), target, soak, accepts=True)


def final(start: Start, after: Serving, name: str = "final", only: tuple[str, ...] = ()) -> Stage:
    """The stage in which clients meet the version: `after` is served under the model's name, and nothing on trial.

    Args:
        only: the replicas that come to serve so; all of them if none is named.
    """
    target = Target(start.model, label=STABLE if STABLE in after.labels else None)
    return Stage(name, (after, Serving(candidate_name(start.model), (), {})), target, only=only)
