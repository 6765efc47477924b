"""Which user's process is at the other end of a connection on this machine."""

import ipaddress
import sys
from pathlib import Path

_PROC = Path("/proc/net")
_ESTABLISHED = "01"  # in other states the kernel may name root as the owner of any user's socket
_OVERFLOW_UID = 65534  # how the kernel shows users of other namespaces

Address = tuple[str, int]


def owner(client: Address, server: Address, proc: Path = _PROC) -> int | None:
    """The user whose process holds the `client` end of a TCP connection with `server`; None if it is unknown.

    The kernel lists all sockets of this network namespace (proc_pid_net(5)); a client elsewhere is not among them.
    """
    for table in ("tcp", "tcp6"):
        try:
            ends = f" {_end(client, table)} {_end(server, table)} {_ESTABLISHED} "
            lines = (proc / table).read_text().splitlines()
        except (OSError, ValueError):
            continue
        for line in lines:
            if ends in line:
                fields = line.split()
                uid, inode = int(fields[7]), int(fields[9])
                return uid if inode and uid != _OVERFLOW_UID else None
    return None


def _end(address: Address, table: str) -> str:
    """One end of a connection as in the kernel's table: 32 bits at a time in this machine's byte order.

    Raises:
        ValueError: such an address cannot be in that table.
    """
    ip = ipaddress.ip_address(address[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    packed = ip.packed
    if table == "tcp6" and len(packed) == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    if len(packed) != (4 if table == "tcp" else 16):
        raise ValueError(f"{address[0]} cannot be in the table {table}")
    words = (int.from_bytes(packed[n : n + 4], sys.byteorder) for n in range(0, len(packed), 4))
    return f"{''.join(f'{word:08X}' for word in words)}:{address[1]:04X}"
