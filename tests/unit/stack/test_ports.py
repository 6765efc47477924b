"""Ports that are free, taken, or wanted twice."""

import os
import socket
from collections.abc import Iterator

import pytest

from infra.stack.ports import is_free, require_distinct, require_free
from infra.stack.programs import PortUse
from tasks.errors import InvalidSettings, PortTaken


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


def test_a_port_that_the_stack_itself_has_is_no_obstacle(taken: int) -> None:
    require_free("127.0.0.1", [PortUse(taken, "SLIPWAY_REST_PORT")], own={taken})


def test_two_settings_with_one_port_are_both_named() -> None:
    with pytest.raises(InvalidSettings, match="SLIPWAY_GRPC_PORT and SLIPWAY_REST_PORT both need port 8500"):
        require_distinct([PortUse(8500, "SLIPWAY_GRPC_PORT"), PortUse(8500, "SLIPWAY_REST_PORT")])


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(InvalidSettings, match="SLIPWAY_HOST="):
        is_free(host, 8500)
