"""JSON for programs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.cli.output import print_json
from tasks.records import Claim, VersionState


def test_records_become_json(capsys: pytest.CaptureFixture[str]) -> None:
    claim = Claim("MLP", 7, "run", claimed=datetime(2026, 1, 2, tzinfo=UTC))
    print_json({"claim": claim, "states": (VersionState(7, "AVAILABLE"),), "path": Path("/a")})
    shown = json.loads(capsys.readouterr().out)
    assert shown["claim"]["claimed"] == "2026-01-02T00:00:00+00:00"
    assert shown["states"] == [{"version": 7, "state": "AVAILABLE", "code": "OK", "message": ""}]
    assert shown["path"] == "/a"
