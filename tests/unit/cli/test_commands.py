"""The command line as a whole: every command's help, and how fast it starts."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from infra.cli.help import example_of
from infra.cli.main import COMMANDS, application, command

runner = CliRunner()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    shown = runner.invoke(application([name]), [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert (command(COMMANDS[name]).__doc__ or "").split("\n")[0].rstrip(".; ")[:40] in shown.output
    assert example_of(command(COMMANDS[name])).startswith(f"slipway {name}")


def test_the_list_of_commands_names_each() -> None:
    shown = runner.invoke(application([]), ["--help"]).output
    assert [name for name in COMMANDS if f"  {name} " not in shown] == []


def test_only_the_module_of_the_command_that_is_asked_for_is_imported() -> None:
    assert [c.name for c in application(["status"]).registered_commands] == ["status"]
    assert len(application(["--debug", "status"]).registered_commands) == 1
    assert len(application(["stauts"]).registered_commands) == len(COMMANDS)


def test_a_misspelt_command_is_answered_with_the_one_that_was_meant() -> None:
    shown = runner.invoke(application(["stauts"]), ["stauts"])
    assert shown.exit_code == 2
    assert "status" in shown.output


def test_the_version_is_that_of_the_package() -> None:
    assert runner.invoke(application(["--version"]), ["--version"]).output.strip() == version("slipway")


def test_no_command_imports_tensorflow_or_prefect_before_it_runs() -> None:
    code = (
        "import sys\n"
        "from infra.cli.main import application\n"
        "application([])\n"
        "slow = {'tensorflow', 'keras', 'prefect', 'mlflow', 'boto3', 'numpy', 'grpc'} & set(sys.modules)\n"
        "sys.exit(str(slow) if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["plan", "rollout", "release"])
def test_an_unknown_strategy_is_refused_with_those_that_are_known(name: str) -> None:
    shown = runner.invoke(application([name]), [name, "MLP", *(["7"] if name != "release" else []), "--strategy", "x"])
    assert shown.exit_code == 2
    assert "'x' is not known: use 'blue-green'" in shown.output
