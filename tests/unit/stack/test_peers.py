"""Whose process is at the other end of a connection."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack.peers import owner

LOCAL = ("127.0.0.1", 80)
PEER = ("127.0.0.1", 50000)
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def table(path: Path, **changes: str) -> Path:
    """The kernel's list with one connection from port 50000 (C350) to port 80 (0050) of 127.0.0.1."""
    row = {"state": "01", "uid": "1000", "inode": "4711"} | changes
    line = (
        "   0: 0100007F:C350 0100007F:0050 {state} 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1\n"
    )
    (path / "tcp").write_text(HEAD + line.format(**row))
    return path


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
def connection(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    address = "127.0.0.1" if request.param == socket.AF_INET else "::1"
    with socket.socket(request.param) as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2]) as client:
            accepted = listener.accept()[0]
            with accepted:
                yield client, accepted


def test_the_owner_of_a_real_connection_is_found(connection: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = connection
    ends = accepted.getpeername()[:2], accepted.getsockname()[:2]
    assert owner(*ends) == os.geteuid()
    client.close()
    assert owner(*ends) is None


def test_a_client_that_speaks_ipv6_to_an_ipv4_address_is_found() -> None:
    with socket.socket() as listener, socket.socket(socket.AF_INET6) as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        with listener.accept()[0] as accepted:
            assert owner(accepted.getpeername(), accepted.getsockname()) == os.geteuid()


def test_the_kernels_list_names_the_user(tmp_path: Path) -> None:
    assert owner(PEER, LOCAL, table(tmp_path)) == 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "06", "uid": "0", "inode": "0"},  # TIME_WAIT: the kernel names root, not the owner
        {"state": "04"},
        {"inode": "0", "uid": "0"},
        {"uid": "65534"},  # a user of another namespace
    ],
)
def test_what_is_not_certain_is_not_told(tmp_path: Path, changes: dict[str, str]) -> None:
    assert owner(PEER, LOCAL, table(tmp_path, **changes)) is None


def test_another_connection_counts_for_nothing(tmp_path: Path) -> None:
    table(tmp_path)
    assert owner(("127.0.0.1", 50001), LOCAL, tmp_path) is None
    assert owner(LOCAL, PEER, tmp_path) is None
    assert owner(("not-an-address", 50000), LOCAL, tmp_path) is None


def test_without_the_kernels_list_nobody_is_known(tmp_path: Path) -> None:
    assert owner(PEER, LOCAL, tmp_path / "nothing") is None
