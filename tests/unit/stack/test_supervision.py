"""The supervisor's configuration, and asking one that is not there."""

import configparser
import shlex
from pathlib import Path

import pytest

from infra.stack.programs import programs
from infra.stack.supervision import Supervisor
from tasks.errors import InvalidSettings, StackError
from tasks.settings import Settings


def parsed(home: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(Supervisor(home).rendered(programs(Settings(home=home))))
    return parser


def test_each_program_is_restarted_and_stopped_with_its_group(tmp_path: Path) -> None:
    config = parsed(tmp_path)
    for program in programs(Settings(home=tmp_path)):
        section = config[f"program:{program.name}"]
        assert section["autorestart"] == section["killasgroup"] == "true"
        assert section["stdout_logfile"] == str(tmp_path / "logs" / f"{program.name}.log")


def test_a_home_with_blanks_and_percent_signs_reaches_the_programs_unchanged(tmp_path: Path) -> None:
    home = tmp_path / "50% of all"
    command = shlex.split(parsed(home)["program:store"]["command"].replace("%%", "%"))
    assert f"-dir={home}/store" in command


@pytest.mark.parametrize("character", ['"', "'", ";", "#", "\n"])
def test_a_home_that_the_supervisor_cannot_be_told_is_refused(tmp_path: Path, character: str) -> None:
    home = tmp_path / f"a{character}b"
    with pytest.raises(InvalidSettings, match="cannot be told"):
        Supervisor(home).rendered(programs(Settings(home=home)))


def test_a_home_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"SLIPWAY_HOME=.* is too long"):
        Supervisor(Path("/" + "x" * 120))


def test_a_configuration_is_written_only_when_it_changes(tmp_path: Path) -> None:
    supervisor, mine = Supervisor(tmp_path), Settings(home=tmp_path)
    assert supervisor.configured() is None
    assert supervisor.configure(programs(mine))
    assert not supervisor.configure(programs(mine))
    assert supervisor.configure(programs(Settings(home=tmp_path, agent_port=1234)))


def test_a_supervisor_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    assert not Supervisor(tmp_path).answers()
    with pytest.raises(StackError, match=r"does not answer .* `slipway up`"):
        Supervisor(tmp_path).states()
