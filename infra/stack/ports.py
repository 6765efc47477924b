"""Ports: whether they are free, and which setting moves one that is not."""

import errno
import socket
from collections.abc import Collection, Iterable

from infra.stack.processes import listener
from infra.stack.programs import PortUse
from tasks.errors import InvalidSettings, PortTaken


def require_distinct(uses: Iterable[PortUse]) -> None:
    """No two programs want the same port.

    Raises:
        InvalidSettings: they do.
    """
    seen: dict[int, str] = {}
    for use in uses:
        other = seen.setdefault(use.port, use.setting)
        if other != use.setting:
            raise InvalidSettings(
                f"{other} and {use.setting} both need port {use.port} (the store's gRPC ports lie 10000 above its "
                "others): give one of them another value."
            )


def require_free(host: str, uses: Iterable[PortUse], own: Collection[int]) -> None:
    """Each port can be listened on, or is among `own`, on which the stack itself listens.

    Raises:
        PortTaken: another program has it.
    """
    for use in uses:
        if use.port not in own and not is_free(host, use.port):
            raise PortTaken(
                f"Port {use.port} on {host} is in use by {listener(use.port)}: end that program, or move the stack "
                f"with {use.setting}=ANOTHER_PORT."
            )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `port` at this moment.

    Raises:
        InvalidSettings: this machine has no such address, or this user may not have that port.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: a port whose last connections have not timed out is free, one that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise InvalidSettings(
                f"Port {port} is for the system administrator alone: choose one above 1023."
            ) from None
        except socket.gaierror as error:
            raise InvalidSettings(f"SLIPWAY_HOST={host!r} is no address of this machine: {error}") from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidSettings(f"SLIPWAY_HOST={host!r} is no address of this machine.") from None
            return False
    return True
