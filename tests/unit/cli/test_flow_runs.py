"""What is settled before a command's flow runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cli.flow_runs import running_flows
from tasks.errors import InvalidSettings
from tasks.settings import settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without a stack."""
    for name in ("SLIPWAY_S3_ENDPOINT", "SLIPWAY_S3_ACCESS_KEY", "SLIPWAY_S3_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / ".slipway"))
    settings.cache_clear()
    yield tmp_path / ".slipway"
    settings.cache_clear()


def test_without_a_local_stack_no_prefect_server_is_asked_and_nothing_is_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("requests.get", lambda url, **_: asked.append(url))
    with pytest.raises(InvalidSettings, match=r"no local stack in .*\.slipway: .*set SLIPWAY_HOME"), running_flows():
        pytest.fail("the flow ran")
    assert asked == []
    assert not home.exists()
