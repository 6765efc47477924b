"""Ports that are free, taken, or wanted twice."""

import getpass
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack import members as processes
from infra.stack.ports import is_free, require_distinct, require_free
from infra.stack.programs import PortUse, programs
from tasks.errors import InvalidSettings, PortTaken
from tasks.settings import Settings
from tests.unit.stack.test_members import Marked


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_that_is_listened_on_is_not_free(taken: int) -> None:
    assert not is_free("127.0.0.1", taken)


def test_a_port_is_free_again_while_its_last_connections_linger() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # the side that closes first is the one that lingers
    assert is_free("127.0.0.1", port)


def test_a_taken_port_is_named_with_its_holder_and_its_setting(taken: int) -> None:
    with pytest.raises(PortTaken) as error:
        require_free("127.0.0.1", [PortUse(taken, "SLIPWAY_REST_PORT")], own=())
    message = str(error.value)
    assert f"Port {taken} on 127.0.0.1" in message
    assert f"process {os.getpid()}" in message
    assert "SLIPWAY_REST_PORT=" in message


@pytest.fixture
def passing() -> Iterator[socket.socket]:
    """A connection that came by its port as Linux hands one out; nobody listens on it.

    Its other end closes it first: the port is free at once when this one does, too.
    """
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as passing:
        server.accept()[0].close()
        assert passing.recv(1) == b""
        yield passing


def test_a_port_that_a_passing_connection_has_is_waited_for(
    passing: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    use = PortUse(passing.getsockname()[1], "SLIPWAY_REST_PORT")
    assert not is_free("127.0.0.1", use.port)
    monkeypatch.setattr("time.sleep", lambda _: passing.close())
    said: list[str] = []
    require_free("127.0.0.1", [use], own=(), patience=60, say=said.append)
    assert said == [f"Port {use.port} is taken by a passing connection: waiting for up to 60 s"]


def test_a_connection_that_stays_is_not_taken_for_a_program(passing: socket.socket) -> None:
    use = PortUse(passing.getsockname()[1], "SLIPWAY_REST_PORT")
    with pytest.raises(PortTaken, match=r"a passing connection, and nobody listens .* SLIPWAY_REST_PORT=ANOTHER_PORT"):
        require_free("127.0.0.1", [use], own=())


def test_another_stack_that_has_the_port_is_named_by_its_home_and_user(tmp_path: Path) -> None:
    with Marked(tmp_path / "their home") as other:
        uses = [PortUse(other.port, "SLIPWAY_REST_PORT"), PortUse(other.port, "SLIPWAY_GRPC_PORT")]
        with pytest.raises(PortTaken) as error:
            require_free("127.0.0.1", uses, own=())
    message = str(error.value)
    assert f"the stack in {tmp_path}/their home" in message
    assert f"of user {getpass.getuser()}" in message
    assert f"SLIPWAY_HOME='{tmp_path}/their home' slipway status" in message
    assert "(SLIPWAY_REST_PORT, SLIPWAY_GRPC_PORT)" in message


def test_another_users_program_is_named_by_its_user_and_the_stack_that_it_may_be(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = getpass.getuser()
    monkeypatch.setattr(processes, "listening", lambda _: set())  # what nobody but root sees of others
    monkeypatch.setattr(processes, "stacks", lambda: {Path("/home/ann/.slipway"): me, Path("/home/bob"): "bob"})
    with pytest.raises(PortTaken, match=f"a program of user {me}, who runs a stack in /home/ann/.slipway: have it"):
        require_free("127.0.0.1", [PortUse(taken, "SLIPWAY_REST_PORT")], own=())


def test_no_default_port_is_one_that_linux_hands_out_to_connections(tmp_path: Path) -> None:
    # https://docs.kernel.org/networking/ip-sysctl.html, ip_local_port_range
    uses = [use for program in programs(Settings(home=tmp_path)) for use in program.ports]
    assert len(uses) == 15
    assert [use for use in uses if 32768 <= use.port <= 60999] == []


def test_a_port_that_the_stack_itself_has_is_no_obstacle(taken: int) -> None:
    require_free("127.0.0.1", [PortUse(taken, "SLIPWAY_REST_PORT")], own={taken})


def test_two_settings_with_one_port_are_both_named() -> None:
    with pytest.raises(InvalidSettings, match="SLIPWAY_GRPC_PORT and SLIPWAY_REST_PORT both need port 8500"):
        require_distinct([PortUse(8500, "SLIPWAY_GRPC_PORT"), PortUse(8500, "SLIPWAY_REST_PORT")])


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(InvalidSettings, match="SLIPWAY_HOST="):
        is_free(host, 8500)
