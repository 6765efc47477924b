"""Numbers as people read them."""

from datetime import UTC, datetime

import pytest

from tasks.reports import figures


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (2_500_000, "2.5 MB"),
        (9_960_000, "10 MB"),
        (134_400_000, "134 MB"),
        (999_700_000, "1.0 GB"),
        (53_000_000_000, "53 GB"),
        (2_000_000_000_000_000, "2000 TB"),
    ],
)
def test_sizes_have_two_digits_or_more(count: int, text: str) -> None:
    assert figures.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")])
def test_durations_show_their_two_largest_units(seconds: int, text: str) -> None:
    assert figures.duration(seconds) == text


def test_what_is_not_known_is_said_or_left_out() -> None:
    assert (figures.moment(None), figures.metric(None), figures.metric(None, "unknown")) == ("unknown", "", "unknown")
    assert [figures.figure(value) for value in (None, 1600.0, 0.123456)] == ["", "1,600", "0.1235"]
    assert figures.share(0, 0) == "none"
    assert figures.moment(datetime(2026, 3, 1, 10, tzinfo=UTC)) == "2026-03-01 10:00:00"
