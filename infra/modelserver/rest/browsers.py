"""Requests that a web page has sent, which a server on loopback refuses.

TensorFlow Serving answers everything that reaches it. On a developer's own machine that includes every page in the
browser: a POST of text/plain runs a prediction without a preflight, and a page whose name was pointed at 127.0.0.1 (DNS
rebinding) reads the answer too.
"""

import functools
import ipaddress
from collections.abc import Iterable
from typing import Final

_OWN_SITES: Final = (b"none", b"same-origin")  # the user's own request, from the address bar


def from_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a browser sent this for a page: it has an Origin, comes from another site, or names a domain as Host."""
    return any(
        name == b"origin"
        or (name == b"sec-fetch-site" and value not in _OWN_SITES)
        or (name == b"host" and not names_this_machine(value))
        for name, value in headers
    )


@functools.lru_cache(maxsize=256)
def names_this_machine(host: bytes) -> bool:
    """Whether a Host is an address or a name without a dot. The owner of a page can point any other name here."""
    name = host.decode("latin-1").lower()
    if not name.endswith("]"):
        start, colon, port = name.rpartition(":")
        name = start if colon and port.isdigit() else name
    if name and not set(name) & set(".:[]"):  # localhost, or a name that only this network knows: no page has one
        return True
    try:
        return bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return False


def is_loopback(address: str) -> bool:
    """Whether only programs of this machine can reach this address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
