"""The ends of logs."""

from pathlib import Path

from infra.stack.logs import last_lines


def test_the_last_lines_of_a_long_log_are_shown_indented(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert last_lines(log, 2) == "    line 99998\n    line 99999"


def test_an_empty_or_missing_log_says_so(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "missing.log") == "    (nothing was logged)"


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"good\n\xff\xfe bad\n")
    assert last_lines(log).startswith("    good\n")
