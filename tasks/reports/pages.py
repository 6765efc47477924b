"""Reports for people: Markdown, as Prefect's artifacts show it. Pictures are within, so a report needs no server."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.delivery.plan import ABOUT_MEMORY, ABOUT_ROUTES, routes_table
from tasks.evaluation import plots
from tasks.evaluation.metrics import Evaluation
from tasks.records import Comparison, Training
from tasks.reports.markdown import mark, megabytes, picture, table, text
from tasks.wire.dtypes import Array

if TYPE_CHECKING:
    from tasks.delivery.preview import Preview
    from tasks.delivery.prune import Pruning
    from tasks.fleet.history import ConfigChange
    from tasks.fleet.replicas import ReplicaState
    from tasks.validation.checks.base import Finding
    from tasks.validation.validate import ValidationReport


def training(
    model: str, run: str, record: Training, evaluation: Evaluation | None = None, mlflow_url: str | None = None
) -> str:
    """How a training went and what it was made of.

    Args:
        run: name of the run of Slipway that trained.
        evaluation: on held-out examples; None if there was none, as for a version that was made elsewhere.
        mlflow_url: page that shows its curves.
    """
    curves = f" [Its curves in MLflow]({mlflow_url})." if mlflow_url else ""
    parts = [f"# Training of {text(model)}", f"Run {text(run)}.{curves}"]
    if evaluation is not None:
        right, total = int(np.trace(evaluation.confusion)), int(evaluation.confusion.sum())
        parts += [
            "## On held-out examples",
            f"Accuracy **{evaluation.accuracy:.2%}** ({right:,} of {total:,}), loss {evaluation.loss:.4f}.",
            _classes(evaluation.confusion),
            picture(plots.confusion_matrix(evaluation.confusion, f"{model}, run {run}"), "confusion matrix"),
        ]
    return "\n\n".join([*parts, "## Made of", _made_of(record)]) + "\n"


def comparison(model: str, found: Comparison) -> str:
    """How a trained model compares with the version that serves."""
    verdict = "passes" if found.passed else "does NOT pass"
    parts = [f"# {text(model)} {verdict} the gate"]
    if found.live_version is not None:
        parts.append(f"Version {found.live_version} serves.")
    if found.forced is not None:
        parts.append(f"Forced, whatever was found: {text(found.forced)}")
    parts += (
        ["\n".join(f"- {text(line)}" for line in (*found.worse, *found.notes))] if found.worse + found.notes else []
    )
    if found.trained:
        rows = [
            (
                text(name.replace("_", " ")),
                f"{value:.4f}",
                f"{found.live[name]:.4f}",
                f"{value - found.live[name]:+.4f}",
            )
            for name, value in found.trained.items()
        ]
        parts += ["## On the same held-out examples", table(("what", "trained", "live", "difference"), rows)]
    return "\n\n".join(parts) + "\n"


def validation(report: "ValidationReport") -> str:
    """What model servers answered for a version, and what of it was wrong."""
    title = f"# {text(report.model)} version {report.version}: {'valid' if report.passed else 'NOT valid'}"
    parts = [title, f"Served as {text(report.target)}. {text(report.summary())}."]
    if report.failures:
        parts += ["## What was wrong", "\n".join(f"- {text(failure)}" for failure in report.failures)]
    for name in dict.fromkeys(finding.check for finding in report.findings):
        parts += [f"## {text(name.capitalize())}", _findings([f for f in report.findings if f.check == name])]
    return "\n\n".join([*parts, *_served_classes(report)]) + "\n"


def _findings(found: "Sequence[Finding]") -> str:
    """What one check found, a row for each thing that it asked."""
    asked = list(dict.fromkeys(what for finding in found for what in finding.asked))
    measured = list(dict.fromkeys(figure for finding in found for figure in finding.figures))
    rows = [
        (
            text(finding.replica),
            *(text(finding.asked.get(what, "")) for what in asked),
            *(_figure(finding.figures.get(figure)) for figure in measured),
            mark(finding.wrong is None),
        )
        for finding in found
    ]
    return table(("replica", *map(text, asked), *map(text, measured), "verdict"), rows)


def _figure(value: float | None) -> str:
    """A figure as people read it; whole numbers without decimals."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def _served_classes(report: "ValidationReport") -> list[str]:
    """The accuracy of each class as a picture, on the replica where it is lowest."""
    worst = min((s for s in report.scores if s.classes), key=lambda s: s.figures["served"], default=None)
    if worst is None:
        return []
    numbers, right, totals = zip(*worst.classes, strict=True)
    title = f"{report.target}, version {report.version}, on replica {worst.replica}"
    return [picture(plots.class_accuracy(right, totals, title, [str(n) for n in numbers]), "accuracy of each class")]


def plan(found: "Preview") -> str:
    """What a rollout would do."""
    plan = found.plan
    serves = f"version {found.live} serves" if found.live is not None else "nothing serves"
    parts = [
        f"# {text(plan.model)} version {plan.version} to fleet {text(found.fleet)}",
        f"Strategy {plan.strategy}, from config {plan.config}: {serves}.",
    ]
    if found.warnings:
        parts.append("\n".join(f"- **{text(warning)}**" for warning in found.warnings))
    rows = [
        (
            text(change.stage),
            text(replica.replica),
            text(", ".join(change.loads)),
            text(", ".join(change.unloads)),
            text(", ".join(change.relabels)),
            megabytes(memory),
        )
        for replica in found.replicas
        for change, memory in zip(replica.changes, replica.memory, strict=True)
    ]
    head = ("stage", "replica", "loads", "unloads", "moves labels", "memory at its peak")
    asked, routes = routes_table(plan)
    steps = "\n".join(f"{number}. {text(line)}" for number, line in enumerate(found.steps, 1))
    meets = ("## Who meets which version", table(asked, [list(map(text, row)) for row in routes]), ABOUT_ROUTES)
    return "\n\n".join([*parts, table(head, rows), ABOUT_MEMORY, *meets, "## Steps", steps]) + "\n"


def replicas(fleet: str, newest: int, found: Iterable["ReplicaState"]) -> str:
    """The replicas of a fleet, and how each is."""
    rows = [
        (
            text(s.report.replica),
            text(s.state),
            str(s.report.config),
            text(s.serves),
            text(s.report.rest_url),
            f"{s.silent:.0f} s ago",
            text(s.report.error or ""),
        )
        for s in found
    ]
    head = ("replica", "state", "config", "serves", "address", "reported", "error")
    return f"# Replicas of fleet {text(fleet)}\n\nIts newest config is number {newest}.\n\n{table(head, rows)}\n"


def history(fleet: str, found: Iterable["ConfigChange"]) -> str:
    """A fleet's configs, newest first."""
    rows = [
        (
            str(change.number),
            f"{change.time:%Y-%m-%d %H:%M:%S}" if change.time else "unknown",
            text(change.run or ""),
            text(change.note),
            text("; ".join(change.changes) or "nothing"),
        )
        for change in found
    ]
    return f"# History of fleet {text(fleet)}\n\n{table(('config', 'time (UTC)', 'run', 'why', 'changed'), rows)}\n"


def pruning(found: "Pruning") -> str:
    """Which versions of a model may go."""
    rows = [
        (str(f.version), text(f.state), megabytes(f.size), "stays" if f.kept else "**goes**", text("; ".join(f.kept)))
        for f in found.fates
    ]
    freed = megabytes(sum(fate.size for fate in found.going))
    summary = f"{len(found.going)} of {len(found.fates)} versions may go, {freed} in all."
    head = ("version", "state", "size", "fate", "why")
    return f"# Versions of {text(found.model)}\n\n{summary}\n\n{table(head, rows)}\n"


def _made_of(record: Training) -> str:
    data = record.dataset
    known = (
        ("model factory", record.factory),
        ("code version", record.code_version),
        ("seed", record.seed),
        ("epochs", record.epochs),
        ("dataset", data.name if data else None),
        ("sha256 of the data", data.sha256 if data else None),
        ("seed of the split", data.split_seed if data else None),
        ("MLflow run", record.mlflow_run),
    )
    return table(("what", "value"), [(what, text(value)) for what, value in known if value is not None])


def _classes(confusion: Array) -> str:
    rows = []
    for number, right in enumerate(np.diag(confusion)):
        true, predicted = confusion[number].sum(), confusion[:, number].sum()
        rows.append((str(number), f"{true:,}", f"{right:,}", _share(right, true), _share(right, predicted)))
    return table(("class", "examples", "recognised", "accuracy", "precision"), rows)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
