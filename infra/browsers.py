"""Which HTTP requests a server on this machine refuses because a foreign web page may have sent them.

A browser lets every page send requests to servers on its user's machine: simple ones and WebSockets without asking, and
all kinds to a name that the page's owner has pointed at 127.0.0.1 (DNS rebinding). Three headers that no page can
forge reveal such requests: Host, Origin (RFC 6454) and Sec-Fetch-Site (W3C Fetch Metadata).
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    reason: str


@dataclass(frozen=True)
class Hosts:
    """The names of a server: what it accepts as Host."""

    bound: str  # address or name that it listens on
    port: int

    def allow(self, host: str) -> bool:
        """Whether a request with this Host is meant for the server."""
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        if not is_loopback(self.bound):  # it has names that it does not know, and DNS rebinding gains a page nothing
            return True
        return is_loopback(match[1].strip("[]")) and int(match[2] or 80) == self.port


def refusal(method: str, headers: Iterable[tuple[bytes, bytes]], hosts: Hosts) -> Refusal | None:
    """Why a request is refused; None if only a program or one of the server's own pages can have sent it.

    Args:
        headers: with names in lower case, as ASGI has them.
    """
    found: dict[bytes, list[str]] = {b"host": [], b"origin": []}
    for name, value in headers:
        found.setdefault(name, []).append(value.decode("latin-1"))
    host = found[b"host"][0] if len(found[b"host"]) == 1 else ""
    if not hosts.allow(host):
        return Refusal(421, f"The host {host!r} is not this server: ask for localhost:{hosts.port}.")
    if any(origin.lower() != f"http://{host.lower()}" for origin in found[b"origin"]):
        return Refusal(403, "A page of another origin may not ask this server.")
    sites = found.get(b"sec-fetch-site", [])
    if any(site not in ("none", "same-origin") for site in sites) and not _follows_link(method, found):
        return Refusal(403, "A page of another site may not ask this server.")
    return None


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach what listens on `host`."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _follows_link(method: str, headers: dict[bytes, list[str]]) -> bool:
    """Whether the user follows a link: the browser shows the answer, and the page with the link cannot read it."""
    navigates = headers.get(b"sec-fetch-mode") == ["navigate"] and headers.get(b"sec-fetch-dest") == ["document"]
    return method == "GET" and navigates


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
