"""The records that Slipway keeps in the store: frozen dataclasses whose JSON form is a promise to later releases."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AliasChoices, Field, TypeAdapter, ValidationError

from tasks.errors import Corrupt, GateFailed
from tasks.policy import Policy
from tasks.processes import ProcessRef

RENAMED_STRATEGIES = {"candidate": "blue-green"}  # names that Slipway 0.2.0 and its records use


def renamed_strategy(name: str) -> str:
    """The present name of a strategy; `name` itself unless it is an old one."""
    return RENAMED_STRATEGIES.get(name, name)


VerdictState = Literal["accepted", "rejected", "retired", "published"]  # the last: a rollout told nothing about it


def now() -> datetime:
    """The present moment in UTC, to the second: what records and people need."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Record:
    """Base of all records: to and from JSON."""

    def to_json(self) -> bytes:
        """This record as indented JSON, UTF-8."""
        return TypeAdapter(type(self)).dump_json(self, indent=1) + b"\n"

    @classmethod
    def from_json(cls, data: bytes, source: str) -> Self:
        """The record in `data`, which came from `source` (named in the error).

        Raises:
            Corrupt: not JSON, or not a record of this kind.
        """
        try:
            return TypeAdapter(cls).validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise Corrupt(
                f"{source} is not a {cls.__name__.lower()} that this Slipway can read: {where}: {first['msg']}. "
                "It was cut off, written by something else, or by a newer release."
            ) from None


@dataclass(frozen=True)
class FileEntry:
    """One file of a version."""

    path: str  # relative to the version's folder, with forward slashes
    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a signature: TensorFlow dtype name; shape with None for a free dimension, None for unknown rank."""

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class SignatureSpec:
    """What a signature takes and gives."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class DatasetRef(Record):
    """The data that a model was trained on: its hash, and where its held-out part is kept."""

    name: str
    sha256: str  # over all examples and labels
    split_seed: int
    held_out: str  # key in the store
    held_out_sha256: str | None = None  # over the held-out examples and labels; None: an earlier release kept them


@dataclass(frozen=True)
class Claim(Record):
    """A version number that is taken."""

    model: str
    version: int
    run: str
    claimed: datetime = field(default_factory=now)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)  # no two claims are equal, even of one run


# What an output answers: scores for each of several classes, or a class's number; one score for the second of two
# classes; a score for each of several flags, which exclude each other in no way; or numbers.
OutputKind = Literal["classes", "binary", "flags", "numbers"]


@dataclass(frozen=True)
class ScoredOutput(Record):
    """An output of a signature that is held against a label."""

    output: str
    kind: OutputKind
    classes: tuple[str, ...] = ()  # what its numbers 0, 1, … mean; of `flags`, what its columns are; empty: not known


@dataclass(frozen=True)
class Scored(Record):
    """Which signature of a version answers for how good it is."""

    signature: str
    inputs: Mapping[str, str]  # the feature that each input takes
    outputs: Mapping[str, ScoredOutput]  # by the label that each is held against


@dataclass(frozen=True)
class Training(Record):
    """How a version came to be. A version made elsewhere has only its metrics, which may be empty."""

    recipe: str | None = None  # package.module
    factory: str | None = None  # package.module:name, of a version that has no recipe
    settings: Mapping[str, Any] = field(default_factory=dict)  # arguments of its recipe's `make`, by name
    label: str | None = None  # column of the data that is learnt, if the run named one
    scored: Scored | None = None  # None: an earlier release made it, or nothing of it can be scored
    unused: tuple[str, ...] = ()  # features of the data that no input takes
    methods: Mapping[str, str] | None = None  # signature → method, as the run gave them; None: all that the model has
    data: str | None = None  # `mnist-5k`, `mnist`, or an absolute path
    seed: int | None = None
    epochs: int | None = None
    code_version: str | None = None
    dataset: DatasetRef | None = None
    mlflow_run: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


# What a paired test of two models comes to.
GateVerdict = Literal["better", "not worse", "worse", "cannot tell"]


@dataclass(frozen=True)
class MetricFinding(Record):
    """A metric of a new model and of the live version on the same rows, and what their difference comes to."""

    metric: str
    verdict: GateVerdict
    new: float
    live: float
    low: float | None  # between these lies the true difference, new minus live; None: too few rows for an interval
    high: float | None
    n: int  # rows
    rows_needed: int | None = None  # where it cannot be told: how many rows would do; None: no number would

    @property
    def rows(self) -> str:
        """How many rows it is by, in words."""
        return f"{self.n:,} held-out row{'s' * (self.n != 1)}"

    @property
    def interval(self) -> str:
        """Between what the true difference lies, in words."""
        if self.low is None or self.high is None:
            return "they give no interval"
        return f"the difference lies between {self.low:+.4g} and {self.high:+.4g}"


@dataclass(frozen=True)
class GroupFigures(Record):
    """Metrics of two models on some of the held-out rows: those of a class, or with a value in a column."""

    group: str  # in words
    n: int  # rows
    new: Mapping[str, float]
    live: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison(Record):
    """A trained model and the version that serves, on the same held-out examples, before publishing."""

    trained: Mapping[str, float]  # figures such as `accuracy`, `accuracy_class_7`, `mae`; empty if it was not asked
    live: Mapping[str, float]
    live_version: int | None  # None if no version serves
    worse: tuple[str, ...] = ()  # how the trained model is worse, in words
    notes: tuple[str, ...] = ()  # what else a reader should know
    forced: str | None = None  # a person's reason for publishing it anyway
    dataset: DatasetRef | None = None  # whose held-out examples both were asked
    policy: Policy | None = None  # by which they were compared; None: an earlier release did it
    scored: Scored | None = None  # what the trained model was asked, if its training does not say
    findings: tuple[MetricFinding, ...] = ()  # of each metric that the policy has a rule for
    groups: tuple[GroupFigures, ...] = ()
    unmet: tuple[str, ...] = ()  # what else the policy demands in vain, such as a floor, in words
    uncompared: str | None = None  # why nothing could be compared with the live version
    ungated: str | None = None  # a person's reason for publishing it although nothing could be compared

    @property
    def passed(self) -> bool:
        """Whether the trained model may be published."""
        if self.forced is not None:
            return True
        return not self.worse and not self.unmet and (self.uncompared is None or self.ungated is not None)

    @property
    def finding(self) -> str:
        """What `worse` comes to: it is worse than the live version, breaks clients of it, or both."""
        breaks = [line.startswith("signature ") for line in self.worse]  # as tasks.validation.compatibility words it
        if not all(breaks):
            also = "breaks clients and " if any(breaks) else ""
            return f"{also}is worse than version {self.live_version}"
        return f"breaks clients of version {self.live_version}"

    def require_passed(self) -> None:
        """Raise unless the model may be published.

        Raises:
            GateFailed: says how it is worse, or why that cannot be known, and how to publish it anyway.
        """
        if self.passed:
            return
        if self.worse:
            why = f"The trained model {self.finding}, which serves: {'; '.join((*self.worse, *self.unmet))}."
        elif self.unmet:
            why = f"The trained model is not what its policy demands: {'; '.join(self.unmet)}."
        else:
            raise GateFailed(
                f"Nothing tells whether the trained model is worse than version {self.live_version}, which serves: "
                f"{self.uncompared}. Nothing was published; `--ungated REASON` publishes it uncompared."
            )
        raise GateFailed(f"{why} Nothing was published; `--force REASON` publishes it anyway.")


@dataclass(frozen=True)
class Manifest(Record):
    """The commit mark of a version: one without a manifest does not exist."""

    model: str
    version: int
    content_id: str  # sha256 over the files that decide the answers
    files: tuple[FileEntry, ...]
    signatures: Mapping[str, SignatureSpec]
    golden: str | None  # path of the golden examples among the files
    training: Training
    gate: Comparison | None = None
    created: datetime = field(default_factory=now)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(entry.size for entry in self.files)


@dataclass(frozen=True)
class Verdict(Record):
    """What a rollout, or a pruning, decided about a version."""

    model: str
    version: int
    state: VerdictState
    reason: str
    run: str
    time: datetime = field(default_factory=now)
    policy: Policy | None = None  # of the rollout; None: an earlier release decided, or a pruning
    fleet: str | None = None  # in which the rollout was; None as for the policy


@dataclass(frozen=True)
class VersionState:
    """What a model server reports of one version; states and codes as in `GetModelStatus`."""

    version: int
    state: str  # START, LOADING, AVAILABLE, UNLOADING or END
    code: str = "OK"
    message: str = ""


@dataclass(frozen=True)
class ReplicaReport(Record):
    """A replica's latest report."""

    replica: str
    rest_url: str
    grpc_address: str
    config: int  # number of the newest fleet config that it has reached, 0 for none
    models: Mapping[str, tuple[VersionState, ...]]
    error: str | None = None
    error_config: int | None = None  # number of the config that could not be reached
    error_model: str | None = None  # the model in it that is at fault, if one is
    time: datetime = field(default_factory=now)
    place: str | None = None  # its machine and the folder of its models; None: an earlier release reported
    agent_url: str | None = None  # where its agent says who it is; None if flows cannot ask it
    kept: str | None = None  # the config that it has reached, as text, if the store has lost it
    error_by_version: bool = False  # whether the version that it could not load seems to be at fault


@dataclass(frozen=True)
class ReplicaChanges(Record):
    """How often each replica of a fleet was told to have fallen behind or come back: behind, if that number is odd."""

    told: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RolloutRecord(Record):
    """A rollout under way, from which anyone can restore what was served before."""

    model: str
    version: int
    strategy: Annotated[str, AfterValidator(renamed_strategy)]  # a later release may have written one of its own
    run: str
    process: ProcessRef  # the one that works on it: began it, or recovers it
    deadline: datetime  # when it should have ended, by the clock of the machine that wrote this
    # The fleet's config before the rollout's first change (0: the fleet served nothing); None while nothing is changed.
    previous_config: int | None = None
    started: datetime = field(default_factory=now)
    against: int | None = None  # the live version that this one is compared with; None if it need not be
    forced: str | None = None  # a person's reason for rolling it out whatever that comparison says
    # How long it soaks by a strategy that has it soak, seconds; called `watched` until 0.2.0.
    soak: Annotated[float, Field(validation_alias=AliasChoices("soak", "watched"))] = 0.0
    policy: Policy | None = None  # the rule that it goes by; None: an earlier release began it
    # How long after it was last written anyone may take it for dead, seconds; None: an earlier release wrote it.
    patience: float | None = None

    def lasting(self, seconds: float) -> Self:
        """This rollout, given so much more time from when it is written."""
        return replace(self, deadline=now() + timedelta(seconds=seconds), patience=seconds)

    def overdue(self, age: float) -> bool:
        """Whether anyone may take it for dead, `age` seconds after it was last written by the store's clock."""
        old = (self.deadline - self.started).total_seconds()
        return age > (self.patience if self.patience is not None else old)


@dataclass(frozen=True)
class Build(Record):
    """A SavedModel that is ready to be published."""

    model: str
    directory: str
    signatures: Mapping[str, SignatureSpec]
    golden: str | None  # path of the golden examples, relative to the directory; None if there are none
    training: Training
