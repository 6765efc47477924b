"""Settings from the environment, by their present names and by old ones."""

from collections.abc import Iterator

import pytest

from tasks.errors import InvalidSettings
from tasks.settings import settings, unknown_variables


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SLIPWAY_SOAK", "SLIPWAY_WATCH"):
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_the_old_name_of_a_setting_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_WATCH", "2")
    assert settings().soak == 2
    assert "SLIPWAY_WATCH" not in unknown_variables()


def test_the_present_name_of_a_setting_goes_before_its_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_WATCH", "2")
    monkeypatch.setenv("SLIPWAY_SOAK", "3")
    assert settings().soak == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLIPWAY_SOAK", "-1"),
        ("SLIPWAY_WATCH", "-1"),
        ("SLIPWAY_SOAK", "inf"),
        ("SLIPWAY_SLOWDOWN", "nan"),
        ("SLIPWAY_LOAD_DEADLINE", "1e300"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_that_was_set(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=f"{name}='{value}'"):
        settings()
