"""Scoring answers by a recipe's own `score`, in a process of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data.examples import Examples
from tasks.evaluation.metrics import Answers, Score
from tasks.policy import MetricRule
from tasks.processes import temporary_folder
from tasks.records import Build
from tasks.training import process
from tasks.training.process import Measure, Request
from tasks.wire.dtypes import Array

_DEADLINE = 900.0  # seconds for all sets: several hundred, each as large as the held-out part


def score_of(spec: str, project: Path) -> Score:
    """The recipe's own `score`, for models that answered the same rows. A set that it fails on gives NaN."""

    def score(labels: Mapping[str, Array], answers: Sequence[Answers], sets: Sequence[Array]) -> Mapping[str, Array]:
        """Raises InvalidModel: it fails on all rows of a model; DeadlineExceeded: it takes too long."""
        return measured(spec, project, labels, answers, sets).figures

    return score


@dataclass(frozen=True, eq=False)
class Measured:
    """What a recipe says of models that answered the same rows."""

    gate: Mapping[str, MetricRule] | None  # its own rules
    own_score: bool  # whether it has a score of its own
    figures: Mapping[str, Array]  # what that gives: float64 [models, sets] by name; else empty
    slices: Mapping[str, Array]  # each [N]: what its own `slices` says of the rows


def measured(
    spec: str,
    project: Path,
    labels: Mapping[str, Array],
    answers: Sequence[Answers],
    sets: Sequence[Array],
    features: Mapping[str, Array] | None = None,
) -> Measured:
    """Ask a recipe about models' answers.

    Args:
        sets: the rows to score together, each a choice of their numbers.
        features: of the rows, if `slices` is to be asked, too.

    Raises:
        InvalidModel: the score fails on all rows of a model, or the slices fail.
        DeadlineExceeded: it takes too long.
    """
    with temporary_folder("score") as exchange:
        groups = {str(number): found for number, found in enumerate(answers)}
        process.write_arrays({"labels": labels, **groups}, exchange / process.ANSWERS)
        chosen = {"rows": np.concatenate(sets), "ends": np.cumsum([len(rows) for rows in sets])}
        process.write_arrays({"sets": chosen, "features": features or {}}, exchange / process.ROWS)
        process.run("score", Request(spec, str(project.absolute())), exchange, deadline=_DEADLINE)
        measure = Measure.from_json((exchange / process.RESULT).read_bytes(), process.RESULT)
        found = process.read_arrays(exchange / process.FIGURES)
        return Measured(measure.gate, measure.own_score, found.get("figures", {}), found.get("slices", {}))


@dataclass(frozen=True, eq=False)
class Examined:
    """A build with what it is compared by."""

    build: Build
    held_out: Examples
    gate: Mapping[str, MetricRule] | None  # the recipe's own rules
    score: Score | None  # the recipe's own
