"""An unloaded version's memory comes back."""

import subprocess
import sys
from pathlib import Path

import pytest

SWAPS = 150
ALLOWED_BYTES = 16 * 2**20  # of 150 versions of 0.4 MB each, with their graphs


@pytest.mark.soak
def test_memory_stays_level_and_no_request_fails_over_many_swaps(rest_models: Path, tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).symlink_to(rest_models / "digits" / "1")
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.modelserver.swap_memory", tmp_path, str(SWAPS)],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    early, late, answered, failed = map(int, done.stdout.split())
    assert failed == 0
    assert answered > SWAPS
    assert late - early < ALLOWED_BYTES
