from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from pydantic import TypeAdapter

from tasks.errors import InvalidSettings, TrackingUnreachable
from tasks.processes import ProcessRef, this_process
from tasks.records import DatasetRef, Training
from tasks.settings import Settings
from tasks.tracking import runs as tracking
from tasks.tracking.runs import TAG_OWN_RUN, TAG_PROCESS, Tracker, TrainingCurves, is_dead, parameters, tracked
from tasks.tracking.server import TAG_RUN, TrackingServer


@dataclass(frozen=True)
class FakeTracker(Tracker):
    """A tracker whose server can be away."""

    server: TrackingServer = field(default_factory=lambda: TrackingServer("http://127.0.0.1:1", 1.0))
    points: list[tuple[int, float]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)  # what is not answered

    def start(self, model, training, run, own_run):  # type: ignore[no-untyped-def]
        return "run-1"

    def epoch(self, run_id, number, metrics, when=None):  # type: ignore[no-untyped-def]
        self._ask("epoch")
        self.points.append((number, metrics["loss"]))

    def fail(self, run_id, reason):  # type: ignore[no-untyped-def]
        self._ask(reason)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.away:
            raise TrackingUnreachable("away")


def process_tag(process: ProcessRef) -> dict[str, str]:
    return {TAG_PROCESS: TypeAdapter(ProcessRef).dump_json(process).decode()}


def test_parameters_say_only_what_is_known() -> None:
    data = DatasetRef(name="digits", sha256="ab" * 32, split_seed=0, held_out="k")
    assert parameters(Training()) == {}
    assert parameters(Training(seed=0, dataset=data)) == {
        "seed": "0",
        "dataset": "digits",
        "dataset_sha256": "ab" * 32,
        "split_seed": "0",
    }


def test_an_earlier_attempt_of_the_same_training_is_dead() -> None:
    tags = {TAG_RUN: "bold-lynx", TAG_OWN_RUN: "train-1", **process_tag(this_process())}
    assert is_dead(tags, "train-1")
    assert not is_dead(tags, "train-2"), "another training of the same release"


def test_a_run_whose_process_has_ended_is_dead() -> None:
    ended = replace(this_process(), started=this_process().started - 1)
    assert is_dead({TAG_RUN: "bold-lynx", **process_tag(ended)}, "other-run")


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {TAG_PROCESS: "not a process"},
        process_tag(replace(this_process(), host="another-machine", pid=1)),
    ],
    ids=["no process", "unreadable", "another machine"],
)
def test_a_run_that_cannot_be_looked_at_is_left_alone(tags: dict[str, str]) -> None:
    assert not is_dead(tags, "bold-lynx")


def test_points_are_kept_while_the_server_is_away_and_sent_in_order() -> None:
    tracker = FakeTracker()
    curves = TrainingCurves(tracker, "run-1")
    curves(1, {"loss": 0.5})
    tracker.away.append("all")
    curves(2, {"loss": 0.4})
    curves(3, {"loss": 0.3})
    assert tracker.points == [(1, 0.5)]
    assert len(tracker.asked) == 2, "a server that is away is left alone for a while"
    tracker.away.clear()
    assert curves.send()
    assert tracker.points == [(1, 0.5), (2, 0.4), (3, 0.3)]


def test_an_absent_server_is_asked_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_PAUSE", 0.0)
    tracker = FakeTracker(away=["all"])
    curves = TrainingCurves(tracker, "run-1")
    curves(1, {"loss": 0.5})
    tracker.away.clear()
    curves(2, {"loss": 0.4})
    assert tracker.points == [(1, 0.5), (2, 0.4)]


def test_what_was_kept_is_sent_when_the_training_ends() -> None:
    tracker = FakeTracker(away=["all"])
    with tracked(tracker, "MLP", Training(), "bold-lynx", "train-1") as curves:
        curves(1, {"loss": 0.5})
        tracker.away.clear()
    assert tracker.points == [(1, 0.5)]


@pytest.mark.parametrize("end", [KeyboardInterrupt, lambda: SystemExit(143), lambda: ValueError("bad data")])
@pytest.mark.parametrize("away", [[], ["all"]], ids=["server there", "server away"])
def test_what_ends_a_training_early_is_told_and_goes_on(end: Callable[[], BaseException], away: list[str]) -> None:
    tracker, error = FakeTracker(away=away), end()
    with pytest.raises(type(error)), tracked(tracker, "MLP", Training(), "bold-lynx", "train-1"):
        raise error
    assert tracker.asked == [f"{type(error).__name__}: {error}"]


@pytest.mark.parametrize("url", ["sqlite:///mlflow.db", "mlruns", "databricks"])
def test_only_a_server_is_taken(url: str) -> None:
    with pytest.raises(InvalidSettings, match=r"SLIPWAY_MLFLOW_URL=.*is not the URL of an MLflow server"):
        Tracker.connect(Settings(mlflow_url=url))


def test_a_password_in_the_url_is_refused_and_not_told() -> None:
    with pytest.raises(InvalidSettings, match="MLFLOW_TRACKING_PASSWORD") as raised:
        Tracker.connect(Settings(mlflow_url="https://me:secret@mlflow.example"))
    assert "secret" not in str(raised.value)
