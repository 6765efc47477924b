"""Reports for people, as pages: what was trained, compared, validated, planned, served and deleted."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tasks.delivery.plan import ABOUT_MEMORY, ABOUT_ROUTES, routes_table
from tasks.evaluation import plots
from tasks.evaluation.metrics import Evaluation
from tasks.records import Comparison, Training
from tasks.reports.figures import count, duration, figure, metric, moment, share, size
from tasks.reports.page import (
    Block,
    Column,
    Heading,
    Inline,
    Items,
    Link,
    Marked,
    Page,
    Picture,
    Table,
    paragraph,
    table,
)
from tasks.wire.dtypes import Array

if TYPE_CHECKING:
    from tasks.delivery.plan import ReplicaPlan
    from tasks.delivery.preview import Preview
    from tasks.delivery.prune import Fate, Pruning
    from tasks.fleet.history import ConfigChange
    from tasks.fleet.replicas import ReplicaState
    from tasks.validation.checks.base import Finding
    from tasks.validation.validate import ValidationReport
    from tasks.versions.catalog import Version


def training(
    model: str, run: str, record: Training, evaluation: Evaluation | None = None, mlflow_url: str | None = None
) -> Page:
    """How a training went and what it was made of.

    Args:
        run: name of the run of Slipway that trained.
        evaluation: on held-out examples; None if there was none, as for a version that was made elsewhere.
        mlflow_url: page that shows its curves.
    """
    curves = (Link("Its curves in MLflow", mlflow_url),) if mlflow_url else ()
    blocks: list[Block] = [paragraph(f"Run {run}.", *curves)]
    if evaluation is not None:
        right, total = int(np.trace(evaluation.confusion)), int(evaluation.confusion.sum())
        blocks += [
            Heading("On held-out examples"),
            paragraph(
                "Accuracy",
                Marked(f"{evaluation.accuracy:.2%}"),
                f"({right:,} of {total:,}), loss {evaluation.loss:.4f}.",
            ),
            _classes(evaluation.confusion),
            Picture("confusion matrix", partial(plots.confusion_matrix, evaluation.confusion, f"{model}, run {run}")),
        ]
    return Page(f"Training of {model}", (*blocks, Heading("Made of"), _made_of(record)))


def comparison(model: str, found: Comparison) -> Page:
    """How a trained model compares with the version that serves."""
    blocks: list[Block] = []
    if found.live_version is not None:
        blocks.append(paragraph(f"Version {found.live_version} serves."))
    if found.forced is not None:
        blocks.append(paragraph(f"Forced, whatever was found: {found.forced}"))
    if found.worse + found.notes:
        blocks.append(Items((*found.worse, *found.notes)))
    if found.trained:
        columns = (Column("what"), *(Column(head, "number") for head in ("trained", "live", "difference")))
        rows = [
            (name.replace("_", " "), metric(value), metric(found.live[name]), f"{value - found.live[name]:+.4f}")
            for name, value in found.trained.items()
        ]
        blocks += [Heading("On the same held-out examples"), table(columns, rows)]
    return Page(f"{model} {'passes' if found.passed else 'does NOT pass'} the gate", tuple(blocks))


def validation(report: "ValidationReport") -> Page:
    """What model servers answered for a version, and what of it was wrong."""
    blocks: list[Block] = [paragraph(f"Served as {report.target}. {report.summary()}.")]
    if report.failures:
        blocks += [Heading("What was wrong"), Items(tuple(report.failures))]
    for name in dict.fromkeys(finding.check for finding in report.findings):
        blocks += [Heading(name.capitalize()), _findings([f for f in report.findings if f.check == name])]
    title = f"{report.model} version {report.version}: {'valid' if report.passed else 'NOT valid'}"
    return Page(title, (*blocks, *_served_classes(report)))


def _findings(found: "Sequence[Finding]") -> Table:
    """What one check found, a row for each thing that it asked."""
    asked = list(dict.fromkeys(what for finding in found for what in finding.asked))
    measured = list(dict.fromkeys(name for finding in found for name in finding.figures))
    columns = (
        Column("replica"),
        *map(Column, asked),
        *(Column(name, "number") for name in measured),
        Column("verdict"),
    )
    rows: list[tuple[Inline, ...]] = [
        (
            finding.replica,
            *(finding.asked.get(what, "") for what in asked),
            *(figure(finding.figures.get(name)) for name in measured),
            _right(finding.wrong is None),
        )
        for finding in found
    ]
    return table(columns, rows)


def _served_classes(report: "ValidationReport") -> list[Picture]:
    """The accuracy of each class as a picture, on the replica where it is lowest."""
    worst = min((s for s in report.scores if s.classes), key=lambda s: s.figures["served"], default=None)
    if worst is None:
        return []
    numbers, right, totals = zip(*worst.classes, strict=True)
    title = f"{report.target}, version {report.version}, on replica {worst.replica}"
    draw = partial(plots.class_accuracy, right, totals, title, [str(n) for n in numbers])
    return [Picture("accuracy of each class", draw)]


def plan(found: "Preview") -> Page:
    """What a rollout would do."""
    plan = found.plan
    serves = f"version {found.live} serves" if found.live is not None else "nothing serves"
    blocks: list[Block] = [paragraph(f"Strategy {plan.strategy}, from config {plan.config}: {serves}.")]
    if found.warnings:
        blocks.append(Items(tuple(Marked(warning, "bad") for warning in found.warnings)))
    if found.replicas:
        columns: tuple[Column, ...] = (
            Column("stage"),
            Column("replica"),
            Column("loads", "prose"),
            Column("unloads", "prose"),
            Column("moves labels", "prose"),
            Column("peak memory", "number"),
        )
        rows = [
            (
                change.stage,
                replica.replica,
                ", ".join(change.loads),
                ", ".join(change.unloads),
                ", ".join(change.relabels),
                size(memory),
            )
            for stage in zip(*(zip(r.changes, r.memory, strict=True) for r in found.replicas), strict=True)
            for replica, (change, memory) in zip(found.replicas, stage, strict=True)
        ]
        blocks += [table(columns, rows), Items(tuple(map(_downloads, found.replicas))), paragraph(ABOUT_MEMORY)]
    asked, routes = routes_table(plan)
    columns = (Column(asked[0]), *(Column(head, "number") for head in asked[1:]))
    blocks += [Heading("Who meets which version"), table(columns, routes), paragraph(ABOUT_ROUTES)]
    blocks += [Heading("Steps"), Items(found.steps, numbered=True)]
    return Page(f"{plan.model} version {plan.version} to fleet {found.fleet}", tuple(blocks))


def _downloads(replica: "ReplicaPlan") -> str:
    beside = f"; not counted: {', '.join(replica.uncounted)}" if replica.uncounted else ""
    return f"{replica.replica} downloads {size(replica.downloads)} first{beside}."


def replicas(fleet: str, newest: int, found: Iterable["ReplicaState"]) -> Page:
    """The replicas of a fleet, and how each is."""
    columns = (
        Column("replica"),
        Column("state"),
        Column("config", "number"),
        Column("serves", "prose"),
        Column("REST"),
        Column("gRPC"),
        Column("reported"),
        Column("error", "prose"),
    )
    rows = [
        (
            s.report.replica,
            Marked(s.state, "good" if s.state == "ready" else "bad" if s.state in ("failing", "silent") else "plain"),
            str(s.report.config),
            s.serves,
            s.report.rest_url,
            s.report.grpc_address,
            f"{duration(round(s.silent))} ago",
            s.report.error or "",
        )
        for s in found
    ]
    about = f"Its newest config is number {newest}."
    return Page(f"Replicas of fleet {fleet}", (paragraph(about), table(columns, rows)))


def history(fleet: str, found: Iterable["ConfigChange"]) -> Page:
    """A fleet's configs, newest first."""
    columns = (
        Column("config", "number"),
        Column("time (UTC)"),
        Column("run"),
        Column("why", "prose"),
        Column("changed", "prose"),
    )
    rows = [(str(c.number), moment(c.time), c.run or "", c.note, "; ".join(c.changes) or "nothing") for c in found]
    none = "It has no config: nothing was ever rolled out to it."
    return Page(f"History of fleet {fleet}", (table(columns, rows) if rows else paragraph(none),))


def versions(model: str, found: Iterable[tuple["Version", str, Sequence[str]]]) -> Page:
    """The versions of a model: each with how it is served, in a word or not at all, and under which labels."""
    columns = (
        Column("version", "number"),
        Column("state"),
        Column("served"),
        Column("labels", "prose"),
        Column("created (UTC)"),
        Column("accuracy", "number"),
        Column("size", "number"),
        Column("reason", "prose"),
    )
    rows = [
        (
            str(v.manifest.version),
            _state(v.state),
            Marked(served),
            ", ".join(labels),
            moment(v.manifest.created),
            metric(v.manifest.training.metrics.get("accuracy")),
            size(v.manifest.size),
            v.verdict.reason if v.verdict else "",
        )
        for v, served, labels in found
    ]
    return Page(f"Versions of {model}", (table(columns, rows),))


def pruning(found: "Pruning") -> Page:
    """Which versions of a model may go, or are gone."""
    columns = (
        Column("version", "number"),
        Column("state"),
        Column("size", "number"),
        Column("fate"),
        Column("why", "prose"),
    )
    rows = [(str(f.version), _state(f.state), size(f.size), _fate(found, f), "; ".join(f.kept)) for f in found.fates]
    gone = [f for f in found.going if not found.deleted or f.version in found.deleted]
    what = f"of {count(len(found.fates), 'version')} {'deleted' if found.deleted else 'may go'}"
    summary = f"{len(gone)} {what}, {size(sum(f.size for f in gone))} in all."
    return Page(f"Versions of {found.model}", (paragraph(summary), table(columns, rows)))


def _fate(found: "Pruning", fate: "Fate") -> Inline:
    if fate.version in found.deleted:
        return Marked("deleted")
    return "stays" if fate.kept or found.deleted else Marked("goes")


def _state(state: str) -> Inline:
    return Marked(state, "good" if state == "accepted" else "bad") if state in ("accepted", "rejected") else state


def _right(right: bool) -> Marked:
    return Marked("right", "good") if right else Marked("wrong", "bad")


def _made_of(record: Training) -> Table:
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
    rows = [(what, str(value)) for what, value in known if value is not None]
    return table((Column("what"), Column("value", "prose")), rows)


def _classes(confusion: Array) -> Table:
    columns = tuple(Column(head, "number") for head in ("class", "examples", "recognised", "accuracy", "precision"))
    rows = []
    for number, right in enumerate(np.diag(confusion)):
        true, predicted = confusion[number].sum(), confusion[:, number].sum()
        rows.append((str(number), f"{true:,}", f"{right:,}", share(right, true), share(right, predicted)))
    return table(columns, rows)
