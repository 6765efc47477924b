"""What cannot fit into the memory that is free is not loaded."""

from pathlib import Path

import psutil
import pytest

from tasks.errors import LoadFailed
from tasks.fleet.memory import require_memory


@pytest.fixture
def larger(tmp_path: Path) -> Path:
    """A version larger than this machine's memory, which takes no room on its disk."""
    folder = tmp_path / "MLP" / "7"
    (folder / "variables").mkdir(parents=True)
    with (folder / "variables" / "variables.data-00000-of-00001").open("wb") as file:
        file.truncate(psutil.virtual_memory().total)
    return folder


def test_a_version_larger_than_the_free_memory_is_refused_before_it_is_loaded(larger: Path) -> None:
    with pytest.raises(LoadFailed, match=r"MLP version 7 cannot be loaded: the files take \d+ MiB, and \d+ MiB"):
        require_memory([larger], "127.0.0.1:8500")


def test_versions_that_fit_alone_may_not_fit_together(larger: Path) -> None:
    (weights,) = (larger / "variables").iterdir()
    with weights.open("wb") as file:
        file.truncate(psutil.virtual_memory().available // 2)
    require_memory([larger], "127.0.0.1:8500")
    with pytest.raises(LoadFailed, match="MLP version 7, MLP version 7, MLP version 7 cannot be loaded"):
        require_memory([larger] * 3, "127.0.0.1:8500")


def test_nothing_to_load_fits_and_of_another_machine_nothing_is_known(larger: Path) -> None:
    require_memory([], "127.0.0.1:8500")
    require_memory([larger], "replica-1.models:8500")
