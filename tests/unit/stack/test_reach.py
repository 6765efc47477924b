"""What a host other than loopback opens, and to whom."""

from pathlib import Path

import pytest

from infra.cli import doctor
from infra.stack.programs import programs
from infra.stack.reach import reach, require_log_in
from infra.stack.start import up
from tasks.errors import InvalidSettings
from tasks.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_loopback_opens_nothing_to_other_machines(tmp_path: Path, host: str) -> None:
    wanted = programs(Settings(home=tmp_path, host=host, model_server="embedded"))
    require_log_in(host, wanted)
    assert reach(host, wanted) == f"only programs of this machine reach {host}"
    assert doctor.reached(Settings(home=tmp_path, host=host, model_server="embedded")).state == "ok"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "box.example"])
def test_what_has_no_log_in_is_refused_before_anything_is_made(tmp_path: Path, host: str) -> None:
    mine = Settings(home=tmp_path / "home", host=host, model_server="embedded")
    with pytest.raises(InvalidSettings, match=r"model-server \(ports 8500, 8501\) and agent \(port 8502\)"):
        up(mine, print)
    assert not mine.home.exists()
    found = doctor.reached(mine)
    assert (found.state, host in found.found) == ("wrong", True)


def test_what_has_one_is_named_with_it(tmp_path: Path) -> None:
    mine = Settings(home=tmp_path, host="0.0.0.0", replica_addresses="serving:8500:8501")
    wanted = programs(mine)
    require_log_in(mine.host, wanted)
    finding = doctor.reached(mine)
    assert finding.state == "warning"
    assert "prefect (port 4200), with the log-in" in finding.found
    assert "18333" in finding.found


def test_a_real_model_server_is_said_to_listen_on_every_address(tmp_path: Path) -> None:
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text("")
    binary.chmod(0o755)
    finding = doctor.reached(Settings(home=tmp_path, model_server=str(binary)))
    assert (finding.state, "8500 and 8501" in finding.advice) == ("warning", True)
