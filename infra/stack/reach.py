"""Who can reach the stack's ports if SLIPWAY_HOST opens them to other machines."""

from collections.abc import Iterable

from infra.browsers import is_loopback
from infra.stack.programs import Program
from tasks.errors import InvalidSettings


def require_log_in(host: str, wanted: Iterable[Program]) -> None:
    """Check that no program without a log-in would be open to other machines.

    Raises:
        InvalidSettings: one would.
    """
    bare = [program for program in wanted if program.ports and not program.asks_for]
    if bare and not is_loopback(host):
        raise InvalidSettings(
            f"SLIPWAY_HOST={host!r} would open {_listed(bare)} to everyone who reaches that address: no log-in is "
            "asked for there, and a model server unloads every model if it is told to. Unset it, and put a proxy or a "
            "firewall of yours in front of what is to be reached from elsewhere; or name model servers that run "
            "elsewhere in SLIPWAY_REPLICA_ADDRESSES, so that none is started here."
        )


def reach(host: str, wanted: Iterable[Program]) -> str:
    """What is open to whom, in a sentence."""
    if is_loopback(host):
        return f"only programs of this machine reach {host}"
    doors = "; ".join(
        f"{_listed([program])}, with {program.asks_for or 'nothing'}" for program in wanted if program.ports
    )
    return f"everyone who reaches {host} gets, unencrypted, to {doors}"


def _listed(found: Iterable[Program]) -> str:
    return " and ".join(f"{program.name} ({_ports(program)})" for program in found)


def _ports(program: Program) -> str:
    return f"port{'s' if len(program.ports) > 1 else ''} {', '.join(str(use.port) for use in program.ports)}"
