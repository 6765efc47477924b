"""Proxies of the environment are for other machines: requests to this one bypass them."""

import importlib.util
from collections.abc import Mapping, MutableMapping

_HERE = ("localhost", "127.0.0.1", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")  # clients differ in which of the two they read first
_GRPC_EXCEPTIONS = "no_grpc_proxy"  # if it is set, gRPC reads nothing else


def stay_local(environment: MutableMapping[str, str], *hosts: str) -> None:
    """Change `environment` so that no client asks a proxy for this machine or for `hosts`.

    What the user excepts stays excepted. A SOCKS proxy is left out unless httpx can speak to one: Prefect's client
    would fail on it, though nothing that it asks lies behind it.
    """
    local = (*_HERE, *hosts)
    merged = _merged([environment.get(name, "") for name in _EXCEPTIONS], local)
    environment.update(dict.fromkeys(_EXCEPTIONS, merged))
    if _GRPC_EXCEPTIONS in environment:
        environment[_GRPC_EXCEPTIONS] = _merged([environment[_GRPC_EXCEPTIONS]], local)
    for name in _unusable(environment):
        del environment[name]


def _unusable(environment: Mapping[str, str]) -> list[str]:
    """The variables that name a SOCKS proxy, if no client here could use one."""
    if importlib.util.find_spec("socksio") is not None:
        return []
    spellings = [spelling for name in _PROXIES for spelling in (name, name.upper())]
    return [name for name in spellings if environment.get(name, "").lower().startswith("socks")]


def _merged(texts: list[str], hosts: tuple[str, ...]) -> str:
    entries = [entry.strip() for text in texts for entry in text.split(",")]
    if "*" in entries:
        return "*"  # nothing goes through a proxy; some clients recognise it only on its own
    return ",".join(dict.fromkeys(entry for entry in (*entries, *hosts) if entry))
