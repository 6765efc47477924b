"""Reports for people, as pages: what was trained, compared, validated, planned, served and deleted."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tasks.delivery.plan import ABOUT_MEMORY, ABOUT_ROUTES, routes_table
from tasks.evaluation import plots
from tasks.evaluation.metrics import CLASS_ACCURACY, ConfusionMatrix, Evaluation, metric_in_words, value_in_words
from tasks.records import Comparison, Manifest, Training
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
    Tone,
    paragraph,
    table,
)
from tasks.validation.comparison import verdict_in_words

_USUAL = ("accuracy", "f1", "mae")  # figures of a version that was compared by no policy

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
        blocks += [Heading("On held-out examples"), _figures(record.metrics or evaluation.metrics(), evaluation.rows)]
        for label, found in evaluation.confusions.items():
            which = f"{model}, run {run}" + (f", {label}" if len(evaluation.confusions) > 1 else "")
            blocks += [
                _classes(found),
                Picture("confusion matrix", partial(plots.confusion_matrix, found.counts, which, found.classes)),
            ]
    return Page(f"Training of {model}", (*blocks, Heading("Made of"), _made_of(record)))


def comparison(model: str, found: Comparison) -> Page:
    """How a trained model compares with the version that serves."""
    blocks: list[Block] = []
    if found.live_version is not None:
        verdict = () if found.worse else (Marked(verdict_in_words(found)),)
        blocks.append(paragraph(f"Version {found.live_version} serves.", *verdict))
    if found.forced is not None:
        blocks.append(paragraph(f"Forced, whatever was found: {found.forced}"))
    if found.ungated is not None:
        blocks.append(paragraph(f"Published although nothing could be compared: {found.ungated}"))
    if said := (*found.worse, *found.unmet, *found.notes):
        blocks.append(Items(said))
    if found.findings:
        blocks.append(_paired(found))
    # Of classes the groups say more: how many rows each has.
    rest = {n: v for n, v in found.trained.items() if not (found.groups and CLASS_ACCURACY in n)}
    if rest:
        columns = (Column("what"), *(Column(head, "number") for head in ("trained", "live", "difference")))
        rows = [
            (name.replace("_", " "), metric(value), metric(live), "" if live is None else f"{value - live:+.4f}")
            for name, value in rest.items()
            for live in (found.live.get(name),)
        ]
        blocks += [Heading("On the same held-out examples"), table(columns, rows)]
    if found.groups:
        blocks += [Heading("By class, and by what the examples have in common"), _groups(found)]
    return Page(f"{model} {'passes' if found.passed else 'does NOT pass'} the gate", tuple(blocks))


def _paired(found: Comparison) -> Table:
    columns = (
        *map(Column, ("what", "verdict")),
        *(Column(head, "number") for head in ("trained", "live", "difference from", "to", "rows", "rows to tell")),
    )
    tones: dict[str, Tone] = {"better": "good", "worse": "bad"}
    rows = [
        (
            f.metric.replace("_", " "),
            Marked(f.verdict, tones[f.verdict]) if f.verdict in tones else f.verdict,
            *(metric(f.new), metric(f.live), metric(f.low), metric(f.high), f"{f.n:,}", figure(f.rows_needed)),
        )
        for f in found.findings
    ]
    return table(columns, rows)


def _groups(found: Comparison) -> Table:
    names = list(dict.fromkeys(name for group in found.groups for name in group.new))
    heads = [head for name in names for head in (f"{name} trained", f"{name} live")]
    columns = (Column("examples where"), *(Column(head, "number") for head in ("examples", *heads)))
    rows = [
        (g.group, f"{g.n:,}", *(metric(of.get(name)) for name in names for of in (g.new, g.live))) for g in found.groups
    ]
    return table(columns, rows)


def validation(report: "ValidationReport") -> Page:
    """What model servers answered for a version, and what of it was wrong."""
    blocks: list[Block] = [paragraph(f"Served as {report.target}. {report.summary()}.")]
    if report.failures:
        blocks += [Heading("What was wrong"), Items(tuple(report.failures))]
    if report.notes:
        blocks.append(Items(tuple(report.notes)))
    for name in dict.fromkeys(finding.check for finding in report.findings):
        blocks += [Heading(name.capitalize()), _findings([f for f in report.findings if f.check == name])]
    title = f"{report.model} version {report.version}: {'valid' if report.passed else 'NOT valid'}"
    return Page(title, (*blocks, *_served_classes(report)))


def _findings(found: "Sequence[Finding]") -> Table:
    """What one check found, a row for each thing that it asked."""
    asked = list(dict.fromkeys(what for finding in found for what in finding.asked))
    measured = list(dict.fromkeys(name for finding in found for name in finding.figures))
    noted = any(finding.note for finding in found)
    columns = (
        Column("replica"),
        *map(Column, asked),
        *(Column(name, "number") for name in measured),
        Column("verdict"),
        *([Column("note")] if noted else []),
    )
    rows: list[tuple[Inline, ...]] = [
        (
            finding.replica,
            *(finding.asked.get(what, "") for what in asked),
            *(figure(finding.figures.get(name)) for name in measured),
            _right(finding.wrong is None),
            *([finding.note or ""] if noted else []),
        )
        for finding in found
    ]
    return table(columns, rows)


def _served_classes(report: "ValidationReport") -> list[Picture]:
    """The accuracy of each class as a picture, on the replica where it is lowest."""
    worst = min((s for s in report.scores if s.classes), key=lambda s: s.figures["served"], default=None)
    if worst is None:
        return []
    names, right, totals = zip(*worst.classes, strict=True)
    title = f"{report.target}, version {report.version}, on replica {worst.replica}"
    draw = partial(plots.class_accuracy, right, totals, title, names)
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
    found = list(found)
    figures = [_deciding(v.manifest) for v, _, _ in found]
    names = list(dict.fromkeys(name for each in figures for name in each))
    columns = (
        Column("version", "number"),
        Column("state"),
        Column("served"),
        Column("labels", "prose"),
        Column("created (UTC)"),
        *(Column(name.replace("_", " "), "number") for name in names),
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
            *(value_in_words(name, each[name]) if name in each else "" for name in names),
            size(v.manifest.size),
            v.verdict.reason if v.verdict else "",
        )
        for (v, served, labels), each in zip(found, figures, strict=True)
    ]
    return Page(f"Versions of {model}", (table(columns, rows),))


def _deciding(manifest: Manifest) -> dict[str, float]:
    """The figures that its policy decides by, but for those of single classes; else those that are usual."""
    policy = manifest.gate.policy if manifest.gate is not None else None
    whole = {name: value for name, value in manifest.training.metrics.items() if CLASS_ACCURACY not in name}
    by_policy = {name: value for name, value in whole.items() if policy is not None and policy.rule(name) is not None}
    return by_policy or {name: value for name, value in whole.items() if name.rpartition("/")[2] in _USUAL}


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
        ("recipe", record.recipe),
        ("model factory", record.factory),
        ("settings", ", ".join(f"{name} = {value!r}" for name, value in record.settings.items()) or None),
        ("label", record.label),
        ("features without an input", ", ".join(record.unused) or None),
        ("scored by", record.scored and f"signature {record.scored.signature}"),
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


def _figures(metrics: Mapping[str, float], rows: int) -> Table:
    shown = {name: value for name, value in metrics.items() if CLASS_ACCURACY not in name}
    return table(
        (Column("figure"), Column("value", "number"), Column("examples", "number")),
        [(metric_in_words(name), value_in_words(name, value), f"{rows:,}") for name, value in shown.items()],
    )


def _classes(found: ConfusionMatrix) -> Table:
    columns = (
        Column("class"),
        *(Column(head, "number") for head in ("examples", "recognised", "accuracy", "precision")),
    )
    rows = []
    for number, (name, right) in enumerate(zip(found.classes, np.diag(found.counts), strict=True)):
        true, predicted = found.counts[number].sum(), found.counts[:, number].sum()
        rows.append((name, f"{true:,}", f"{right:,}", share(right, true), share(right, predicted)))
    return table(columns, rows)
