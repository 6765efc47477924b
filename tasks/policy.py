"""The rule by which a version passes, as a value: what is given with a run, else the model's own, else the settings."""

import dataclasses
import difflib
import json
import re
import reprlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from tasks.errors import InvalidInput
from tasks.settings import LONGEST, Settings

Values = Mapping[str, Any]  # some or all of a policy's values by name, as TOML and JSON nest them

_Finite = Field(allow_inf_nan=False)
_Tolerance = Annotated[float, Field(ge=0), _Finite]
_Seconds = Annotated[float, Field(gt=0, le=LONGEST), _Finite]

_OPEN = {"compare"}  # values whose own names are free

# Settings that have another name than the value that follows from them.
_SETTINGS = {
    "metrics.accuracy.tolerance": "gate_tolerance",
    "metrics.accuracy_class.tolerance": "gate_class_tolerance",
}


@dataclass(frozen=True)
class MetricRule:
    """How much worse than the live version's a metric of a new version may be."""

    better: Literal["higher", "lower"]
    tolerance: _Tolerance = 0.0  # in the metric's own unit
    floor: Annotated[float | None, _Finite] = None  # what it must reach whatever serves; for `lower`, must not exceed

    def reached(self, value: float) -> bool:
        """Whether a value reaches the floor; what has none, or is not a number, is held against nothing, or fails."""
        if self.floor is None:
            return True
        return value >= self.floor if self.better == "higher" else value <= self.floor


@dataclass(frozen=True)
class Policy:
    """All that decides whether a version passes, and how long anyone waits for it.

    It is chosen once, when a release or a rollout begins, and kept with the rollout and with the verdict.
    """

    # Of the gate; `accuracy_class` is for each of `accuracy_class_0`, `_1`, … What a version does not have, counts not.
    metrics: Mapping[str, MetricRule]
    answer_budget: _Seconds  # longest median time of the answers to a signature's golden examples
    slowdown: Annotated[float, Field(ge=1), _Finite]  # how many times as long as the live version's they may take
    soak: Annotated[
        float, Field(ge=0, le=LONGEST), _Finite
    ]  # how long strategy `labels` soaks a version on trial, seconds
    quorum: Annotated[float, Field(gt=0, le=1)]  # share of the reporting replicas that must reach a config
    load_deadline: _Seconds  # longest time for them to reach it
    call_deadline: _Seconds  # longest time for one answer
    answer_tolerance: _Tolerance = 1e-5  # of floats in answers, absolute and relative
    # On another machine a rounding error may decide an example on the edge between two classes differently.
    served_accuracy_tolerance: _Tolerance = 0.005  # how much lower than when trained the served accuracy may be
    # Where answers take less, a busy machine makes more of a difference than the model.
    always_fast: Annotated[float, Field(ge=0), _Finite] = 0.02  # seconds; never too slow beside the live version
    speed_tries: Annotated[int, Field(ge=1)] = 7  # pairs of measurements, before a version is called too slow
    cannot_tell: Literal["pass", "refuse"] = "pass"  # a version of which the rows do not tell whether it is worse
    # Of answers that are drawn at random only shape and dtype can be compared; by name of the output.
    compare: Mapping[str, Literal["shape"]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What holds for a model without a policy of its own."""
        return cls(
            metrics={
                "accuracy": MetricRule("higher", settings.gate_tolerance),
                "accuracy_class": MetricRule("higher", settings.gate_class_tolerance),
                "f1": MetricRule("higher"),
                "mae": MetricRule("lower"),
            },
            answer_budget=settings.answer_budget,
            slowdown=settings.slowdown,
            soak=settings.soak,
            quorum=settings.quorum,
            load_deadline=settings.load_deadline,
            call_deadline=settings.call_deadline,
        )

    def rule(self, metric: str) -> MetricRule | None:
        """The rule for a metric; else for all that differ from it in a class, a number or a label alone; None if none.

        `kind/accuracy_class_cat`, of the label `kind`, goes by that name, by `accuracy_class_cat` or `accuracy_class`.
        """
        plain = metric.rpartition("/")[2]
        family = re.sub(r"^(accuracy_class)_.*$|_\d+$", r"\1", plain)
        return next((self.metrics[name] for name in (metric, plain, family) if name in self.metrics), None)

    def values(self) -> dict[str, Any]:
        """All values by name, nested as in a file."""
        return dataclasses.asdict(self)

    def changed(self, values: Values, source: str) -> Self:
        """This policy with the values that `values` names; `source` says in errors where these come from.

        Raises:
            InvalidInput: a name that is not known, or a value that cannot be.
        """
        _require_known(values, self.values(), source)
        merged = json.dumps(_merged(self.values(), values), default=str)
        try:
            return TypeAdapter(type(self)).validate_json(merged, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise InvalidInput(
                f"{source}: {name} = {reprlib.repr(first['input'])} cannot be: {first['msg']}."
            ) from None


def read_values(path: Path) -> dict[str, Any]:
    """The values in a policy's file: TOML, or JSON if its name ends in `.json`.

    Raises:
        InvalidInput: it cannot be read, or is not such a file.
    """
    form = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text("utf-8-sig")
        values = json.loads(text) if form == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise InvalidInput(f"The policy {path} cannot be read ({error.strerror}): give a TOML or JSON file.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"The policy {path} is not {form}: {error}. A line of it is `answer_budget = 0.5`."
        ) from None
    if not isinstance(values, dict):
        raise InvalidInput(f'The policy {path} is not an object of values by name, such as {{"answer_budget": 0.5}}.')
    return values


def flat(values: Values, within: str = "") -> dict[str, Any]:
    """Values by their whole names, such as `metrics.accuracy.tolerance`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{within}{name}.") if isinstance(value, Mapping) else {f"{within}{name}": value}
    return found


def origin(name: str, settings: Settings) -> str:
    """Where `Policy.of(settings)` has the value of this whole name from: an environment's variable, or `default`."""
    field = _SETTINGS.get(name, name)
    return f"SLIPWAY_{field.upper()}" if field in settings.model_fields_set else "default"


def _require_known(values: Values, known: Values, source: str, within: str = "") -> None:
    for name, value in values.items():
        if within == "metrics." and name not in known and isinstance(value, Mapping) and "better" in value:
            known = {**known, name: dataclasses.asdict(MetricRule("higher"))}  # a metric of the model's own
        if name not in known:
            meant = difflib.get_close_matches(str(name), known, 1)
            guess = f" Is {within}{meant[0]} meant?" if meant else ""
            names = ", ".join(f"{within}{other}" for other in known)
            raise InvalidInput(f"{source}: a policy has no value {within}{name}.{guess} It has {names}.")
        if isinstance(value, Mapping) and isinstance(known[name], Mapping) and name not in _OPEN:
            _require_known(value, known[name], source, f"{within}{name}.")


def _merged(old: Values, new: Values) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        both = isinstance(value, Mapping) and isinstance(old.get(name), Mapping)
        merged[name] = _merged(old[name], value) if both else value
    return merged
