"""Ports: whether they are free, and which setting changes one that is not."""

import errno
import shlex
import socket
import time
from collections.abc import Callable, Collection, Iterable

from infra.stack.members import is_listened_on, listener
from infra.stack.programs import PortUse
from tasks.errors import InvalidSettings, PortTaken

PASSING = 65.0  # seconds after which a closed connection has released its port: TIME_WAIT lasts for 60
_PAUSE = 0.1


def require_distinct(uses: Iterable[PortUse]) -> None:
    """Check that no two programs want the same port.

    Raises:
        InvalidSettings: two do.
    """
    seen: dict[int, str] = {}
    for use in uses:
        other = seen.setdefault(use.port, use.setting)
        if other != use.setting:
            raise InvalidSettings(
                f"{other} and {use.setting} both need port {use.port} (the store's gRPC ports lie 10000 above its "
                "others): give one of them another value."
            )


def require_free(
    host: str,
    uses: Collection[PortUse],
    own: Collection[int],
    patience: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Check that each port is free, or among `own`, on which the stack itself listens.

    A port that a passing connection has, but nobody listens on, is waited for up to `patience` seconds; `say` gets one
    line about it. Linux gives connections any port of its ip_local_port_range.

    Raises:
        PortTaken: another program has one.
    """
    end, told = time.monotonic() + patience, False
    while taken := [use for use in uses if use.port not in own and not is_free(host, use.port)]:
        listened = [use for use in taken if is_listened_on(use.port)]
        if listened or time.monotonic() > end:
            raise PortTaken(_blame(host, listened or taken))
        if not told:
            say(f"Port {taken[0].port} is taken by a passing connection: waiting for up to {patience:.0f} s")
            told = True
        time.sleep(_PAUSE)


def _blame(host: str, taken: list[PortUse]) -> str:
    first = taken[0]
    settings = ", ".join(dict.fromkeys(use.setting for use in taken))
    move = f"move this stack with {first.setting}=ANOTHER_PORT"
    found = listener(first.port)
    where = f"Port {first.port} on {host} is in use by"
    if found is None:
        return f"{where} a passing connection, and nobody listens on it: try again in a minute, or {move}."
    if found.program is None:
        stack = f", who runs a stack in {found.home}" if found.home else ""
        return f"{where} a program of user {found.user}{stack}: have it stopped, or {move} (taken: {settings})."
    program = f"{found.program} (process {found.pid} of user {found.user})"
    if found.home is None:
        return f"{where} {program}: end that program, or {move}."
    return (
        f"{where} the stack in {found.home}, by its {program}: work with that one, or stop it, by "
        f"`SLIPWAY_HOME={shlex.quote(str(found.home))} slipway status` or `… down`; or give this one ports of its own "
        f"({settings})."
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `port` at this moment.

    Raises:
        InvalidSettings: this machine has no such address, or this user may not have that port.
    """
    with socket.socket() as probe:
        # As servers do: so a port in TIME_WAIT counts as free, and one that is listened on does not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise InvalidSettings(
                f"Port {port} is for the system administrator alone: choose one above 1023."
            ) from None
        except socket.gaierror as error:
            raise InvalidSettings(f"SLIPWAY_HOST={host!r} is not an address of this machine: {error}") from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidSettings(f"SLIPWAY_HOST={host!r} is not an address of this machine.") from None
            return False
    return True
