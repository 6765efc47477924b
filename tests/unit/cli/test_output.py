"""Tables for people, JSON for programs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.cli.output import duration, megabytes, print_json, print_table
from tasks.records import Claim, VersionState


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "LONG"], [("wide cell", 1), (None, 22)])
    assert capsys.readouterr().out == "A          LONG\nwide cell  1\n           22\n"


def test_records_become_json(capsys: pytest.CaptureFixture[str]) -> None:
    claim = Claim("MLP", 7, "run", claimed=datetime(2026, 1, 2, tzinfo=UTC))
    print_json({"claim": claim, "states": (VersionState(7, "AVAILABLE"),), "path": Path("/a")})
    shown = json.loads(capsys.readouterr().out)
    assert shown["claim"]["claimed"] == "2026-01-02T00:00:00+00:00"
    assert shown["states"] == [{"version": 7, "state": "AVAILABLE", "code": "OK", "message": ""}]
    assert shown["path"] == "/a"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, None), (0, "0 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations_show_their_two_largest_units(seconds: int | None, text: str | None) -> None:
    assert duration(seconds) == text


def test_sizes_are_in_megabytes() -> None:
    assert (megabytes(None), megabytes(1_500_000)) == (None, "2 MB")
