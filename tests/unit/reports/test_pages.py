import base64
import re
from datetime import UTC, datetime

import numpy as np

from tasks.delivery.plan import Change, Plan, ReplicaPlan, Route
from tasks.delivery.preview import Preview
from tasks.delivery.prune import Fate, Pruning
from tasks.delivery.stages import Stage
from tasks.evaluation import plots
from tasks.evaluation.metrics import Evaluation, evaluate
from tasks.fleet.config import Serving
from tasks.fleet.history import ConfigChange
from tasks.fleet.replicas import ReplicaState
from tasks.records import (
    Comparison,
    DatasetRef,
    GroupFigures,
    MetricFinding,
    ReplicaReport,
    ScoredOutput,
    Training,
)
from tasks.reports import pages
from tasks.reports.markdown import render
from tasks.serving.client import Target
from tasks.validation.checks.base import Finding
from tasks.validation.checks.held_out_score import Score
from tasks.validation.validate import ValidationReport

DATA = DatasetRef(name="digits", sha256="ab" * 32, split_seed=11, held_out="k")
TRAINING = Training(
    factory="tasks.models:sequential_mlp",
    seed=7,
    epochs=15,
    code_version="1234abc",
    dataset=DATA,
    mlflow_run="c0ffee",
)


def evaluation(counts: list[list[int]], *classes: str) -> Evaluation:
    """Of a model that answered so, rows the true class and columns the answered one, always with a score of 0.8."""
    pairs = [(t, s) for t, row in enumerate(counts) for s, count in enumerate(row) for _ in range(count)]
    labels, said = np.array([classes[t] for t, _ in pairs]), np.array([s for _, s in pairs])
    scores = np.where(np.arange(len(classes)) == said[:, None], 0.8, 0.2)
    return evaluate({"y": labels}, {"y": scores}, {"y": ScoredOutput("out", "classes", classes)})


EVALUATION = evaluation([[8, 2], [0, 5]], "cat", "dog")
REST, GRPC = {"protocol": "REST", "signature": "call"}, {"protocol": "gRPC", "signature": "from_png"}
RIGHT = Finding("golden answers", "r1", REST, None, {"examples": 1600})
WRONG = Finding("golden answers", "r2", GRPC, "output 'class' differs: 3 | 5\nat <row> 1", {"examples": 4})
FAST = Finding("speed", "r1", REST, None, {"median ms": 2.12345})
SLOW = Finding("speed", "r2", REST, "it is slow", {"median ms": 500.0, "live version's ms": 1.5})


def score(
    replica: str, served: float, trained: float, *classes: tuple[str, int, int], wrong: str | None = None
) -> Score:
    figures = {"examples": 1000.0, "served": served, "when trained": trained}
    return Score(
        "held-out score", replica, {"signature": "classify"}, wrong, figures, metric="accuracy", classes=classes
    )


def rows(markdown: str, first: str) -> list[list[str]]:
    """Cells of the table whose head begins with `first`, without head and rule."""
    lines = markdown.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return table


def test_a_training_report_says_what_it_was_made_of_and_how_good_it_is() -> None:
    report = render(pages.training("MLP", "bold-lynx", TRAINING, EVALUATION, "http://mlflow/run"))
    assert rows(report, "figure") == [["accuracy", "0.8667", "15"], ["loss", "0.408", "15"]]
    assert rows(report, "class") == [["cat", "10", "8", "80.0%", "100.0%"], ["dog", "5", "5", "100.0%", "71.4%"]]
    made_of = dict(rows(report, "what"))
    assert made_of["sha256 of the data"] == "ab" * 32
    assert (made_of["seed"], made_of["epochs"], made_of["code version"]) == ("7", "15", "1234abc")
    assert "(http://mlflow/run)" in report


def test_the_picture_in_a_training_report_is_the_confusion_matrix() -> None:
    report = render(pages.training("MLP", "bold-lynx", TRAINING, EVALUATION))
    found = re.search(r"!\[confusion matrix\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", report)
    assert found is not None
    assert EVALUATION.confusion is not None
    counts, classes = EVALUATION.confusion.counts, ("cat", "dog")
    assert base64.b64decode(found[1]) == plots.confusion_matrix(counts, "MLP, run bold-lynx", classes)


def test_a_class_without_examples_or_predictions_has_no_share_of_them() -> None:
    report = render(pages.training("MLP", "bold-lynx", TRAINING, evaluation([[0, 0], [3, 0]], "cat", "dog")))
    assert rows(report, "class") == [["cat", "0", "0", "none", "0.0%"], ["dog", "3", "0", "0.0%", "none"]]


def test_a_training_report_of_a_regression_has_its_errors_and_no_classes() -> None:
    prices = np.array([100.0, 200.0, 300.0])
    found = evaluate({"price": prices}, {"price": prices + 10}, {"price": ScoredOutput("out", "numbers")})
    report = render(pages.training("Flats", "bold-lynx", TRAINING, found))
    assert rows(report, "figure") == [["mae", "10", "3"], ["rmse", "10", "3"], ["r2", "0.985", "3"]]
    assert "accuracy" not in report.lower()
    assert "class" not in report


def test_a_report_of_a_version_made_elsewhere_says_only_what_is_known() -> None:
    report = render(pages.training("MLP", "bold-lynx", Training()))
    assert rows(report, "what") == []
    assert "None" not in report
    assert "held-out" not in report


def test_a_validation_report_says_what_each_check_asked_of_whom() -> None:
    found = (RIGHT, FAST, score("r1", 0.936, 0.9375))
    report = render(pages.validation(ValidationReport("MLP", 7, Target("MLP-candidate"), found)))
    assert report.startswith("# MLP version 7: valid\n")
    assert re.findall("^## (.*)$", report, re.MULTILINE) == ["Golden answers", "Speed", "Held-out score"]
    assert "| r1 | REST | call | 1,600 | right |" in report
    assert "| r1 | REST | call | 2.123 | right |" in report
    assert "| r1 | classify | 1,000 | 0.936 | 0.9375 | right |" in report
    assert "What was wrong" not in report


def test_the_picture_in_a_validation_report_is_of_the_worst_recognised_classes() -> None:
    better = score("r1", 0.95, 0.9, ("0", 10, 10), ("7", 9, 10))
    worse = score("r2", 0.9, 0.9, ("0", 10, 10), ("7", 8, 10))
    report = render(pages.validation(ValidationReport("MLP", 7, Target("MLP"), (RIGHT, better, worse))))
    found = re.search(r"!\[accuracy of each class\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", report)
    assert found is not None
    drawn = plots.class_accuracy((10, 8), (10, 10), "MLP, version 7, on replica r2", ("0", "7"))
    assert base64.b64decode(found[1]) == drawn


def test_a_validation_report_begins_with_what_was_wrong() -> None:
    bad = score("r1", 0.5, 0.9375, wrong="held-out accuracy 0.5000 when served, 0.9375 when trained")
    found = (RIGHT, WRONG, FAST, SLOW, bad)
    report = render(pages.validation(ValidationReport("MLP", 7, Target("MLP", label="stable"), found)))
    assert report.startswith("# MLP version 7: NOT valid\n")
    assert "MLP/labels/stable" in report
    wrong = [line for line in report.splitlines() if line.startswith("- ")]
    assert len(wrong) == 3
    assert r"differs: 3 \| 5 at &lt;row&gt; 1" in wrong[0]
    assert "0.5000 when served, 0.9375 when trained" in wrong[2]
    assert [row[-1] for row in rows(report, "replica")] == ["right", "**wrong**"]
    assert "| r1 | REST | call | 2.123 |  | right |\n| r2 | REST | call | 500 | 1.5 | **wrong** |" in report


def test_a_validation_that_asked_nothing_is_not_valid() -> None:
    assert "NOT valid" in pages.validation(ValidationReport("MLP", 7, Target("MLP"), ())).title


def test_a_comparison_says_whether_the_model_passes_and_shows_both_by_class() -> None:
    trained, live = {"accuracy": 0.9, "accuracy_class_7": 0.1}, {"accuracy": 0.95, "accuracy_class_7": 0.9}
    found = Comparison(trained, live, 6, ("accuracy of class 7 0.1000, that of the live version is 0.9000",))
    report = render(pages.comparison("MLP", found))
    assert report.startswith("# MLP does NOT pass the gate\n\nVersion 6 serves.")
    assert "\n- accuracy of class 7 0.1000" in report
    assert rows(report, "what")[1] == ["accuracy class 7", "0.1000", "0.9000", "-0.8000"]
    forced = render(pages.comparison("MLP", Comparison({}, {}, None, notes=("Nothing serves.",), forced="why | not")))
    assert forced.startswith("# MLP passes the gate\n")
    assert r"Forced, whatever was found: why \| not" in forced
    assert "held-out" not in forced


def test_a_comparison_shows_each_verdict_with_its_interval_and_its_rows_and_the_figures_by_group() -> None:
    untold = MetricFinding("mae", "cannot tell", 41.0, 40.0, -1.0, 3.0, 80, 240)
    groups = (GroupFigures("town is Rome", 30, {"mae": 50.0}, {"mae": 45.0}),)
    found = Comparison({"mae": 41.0}, {"mae": 40.0}, 6, findings=(untold,), groups=groups)
    report = render(pages.comparison("Flats", found))
    assert "Version 6 serves. **Cannot tell whether it is worse than version 6: by mae, 80 held-out rows" in report
    shown = [row for row in report.splitlines() if row.startswith("| mae |")]
    assert shown[0] == "| mae | cannot tell | 41.0000 | 40.0000 | -1.0000 | 3.0000 | 80 | 240 |"
    assert rows(report, "examples where") == [["town is Rome", "30", "50.0000", "45.0000"]]
    assert "accuracy" not in report


def test_a_comparison_that_could_not_be_made_never_says_that_a_model_is_not_worse() -> None:
    found = Comparison({}, {}, 6, uncompared="there are no examples", ungated="prices rose")
    report = render(pages.comparison("Price", found))
    assert "**Not compared with version 6: there are no examples.**" in report
    assert "Published although nothing could be compared: prices rose" in report
    assert "orse" not in report


def test_what_the_machine_could_not_tell_is_in_the_report() -> None:
    noted = Finding("speed", "r1", REST, None, {"median ms": 300.0}, note="4 pairs of answers are no evidence")
    report = render(pages.validation(ValidationReport("MLP", 7, Target("MLP"), (RIGHT, noted))))
    assert "- replica r1, protocol REST, signature call: 4 pairs of answers are no evidence" in report


def test_a_plan_names_what_each_stage_does_on_each_replica() -> None:
    change = Change("final", ("MLP 7",), ("MLP 6",), (), ("MLP 6", "MLP 7"))
    stages = (Stage("final", (Serving("MLP", (7,), {}),), Target("MLP")),)
    plan = Plan("MLP", 7, "blue-green", 42, stages, (change,), (Route(Target("MLP"), (None, 7)),))
    found = Preview(
        "default", 6, plan, (ReplicaPlan("r1", 42, 0, (change,), (2_500_000,), ()),), ("Ask it.",), ("Hm.",)
    )
    report = render(pages.plan(found))
    assert "Strategy blue-green, from config 42: version 6 serves." in report
    assert rows(report, "stage") == [["final", "r1", "MLP 7", "MLP 6", "", "2.5 MB"]]
    assert rows(report, "asked at") == [["/v1/models/MLP", "none", "7"]]
    assert "- r1 downloads 0 B first." in report
    assert "1. Ask it." in report
    assert "- **Hm.**" in report


def test_replicas_history_and_pruning_are_tables() -> None:
    report = ReplicaReport("r1", "http://r1:1", "r1:2", 41, {}, error="MLP 7 | did not load")
    shown = render(pages.replicas("default", 42, [ReplicaState(report, "failing", 3.2, {})]))
    assert rows(shown, "replica") == [
        ["r1", "**failing**", "41", "nothing", "http://r1:1", "r1:2", "3 s ago", r"MLP 7 \| did not load"]
    ]
    change = ConfigChange(42, datetime(2026, 3, 1, 10, tzinfo=UTC), "4711", "final MLP 7", ("MLP serves 7",))
    assert rows(render(pages.history("default", [change, ConfigChange(41, None, None, "", ())])), "config") == [
        ["42", "2026-03-01 10:00:00", "4711", "final MLP 7", "MLP serves 7"],
        ["41", "unknown", "", "", "nothing"],
    ]
    fates = (Fate(1, "accepted", 1_000_000, ()), Fate(2, "accepted", 1_000_000, ("served by fleet default",)))
    pruning = render(pages.pruning(Pruning("MLP", fates)))
    assert "1 of 2 versions may go, 1.0 MB in all." in pruning
    assert [row[3] for row in rows(pruning, "version")] == ["**goes**", "stays"]
