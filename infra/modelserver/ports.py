"""Taking a TCP port."""

import os
import socket

from infra.modelserver.errors import StartupError


def bind(address: str, port: int, flag: str) -> socket.socket:
    """A bound socket that does not listen yet.

    Raises:
        StartupError: the port cannot be had; the message names the flag that chooses another.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise StartupError(
            f"can't listen on {address}:{port} ({os.strerror(error.errno or 0)}); choose another port with --{flag}."
        ) from error
    return bound
