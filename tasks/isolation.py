"""Running models where keys and credentials cannot be read: a launcher that confines itself, then becomes the program.

A model is a program that somebody else may have written. What runs one reads the models, Python and the system's
libraries, and nothing else of this machine's files; it writes only where it is told to; it opens no connections; and
its environment holds what an allow-list names. Landlock does this without privileges, for root and for others alike
(https://docs.kernel.org/userspace-api/landlock.html). Root's rights are left behind for a user who owns nothing.

Where the kernel has no Landlock, programs run as they are, only with the smaller environment; `slipway doctor` says so.

Usage: `python -P -m slipway_entry tasks.isolation [--read PATH]… [--write PATH]… [--end-with PID] -- COMMAND…`. It
imports little, since it runs before each model server starts.
"""

import argparse
import contextlib
import ctypes
import errno
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

PYTHON = str(Path(sys.prefix, "bin", "python"))
USER = 61_000  # in the range that systemd keeps unused (https://systemd.io/UIDS-GIDS), so that it owns no file

_PACKAGES = Path(__file__).parents[1]  # the folder that holds Slipway's own
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store", "/proc", "/sys"),
    *("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/etc/timezone", "/etc/mime.types"),
    *("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services"),
    *("/etc/protocols", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"),
)
_DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "kfd", "dri")
# No prefix that somebody keeps secrets under, such as TF_VAR_ or NVIDIA_API_KEY.
_ENVIRONMENT = re.compile(
    r"HOME|PATH|LANG|LANGUAGE|LC_[A-Z]+|TZ|NO_COLOR|SLIPWAY_SUPERVISED|PYTHON[A-Z]+|LD_LIBRARY_PATH|LD_PRELOAD|"
    r"GLIBC_TUNABLES|(MALLOC|OMP|KMP|MKL|OPENBLAS|CUDA|TF_(CPP|XLA|NUM|GPU|CUDNN|ENABLE|FORCE|DISABLE))_\w+|"
    r"CUDA|XLA_FLAGS|NVIDIA_(VISIBLE_DEVICES|DRIVER_CAPABILITIES)|GRPC_(VERBOSITY|TRACE)"
)

# linux/landlock.h
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}  # by version; ioctls on devices stay free, for GPUs
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_CONNECT_TCP, _NET_VERSION = 1 << 1, 4
_ABSTRACT_SOCKETS_AND_SIGNALS, _SCOPE_VERSION = 0b11, 6
# linux/prctl.h, linux/capability.h
_SET_PDEATHSIG, _SET_SECUREBITS, _SET_NO_NEW_PRIVS, _CAP_AMBIENT, _CAP_AMBIENT_RAISE = 1, 28, 38, 47, 2
_NO_SETUID_FIXUP = 1 << 2
_CAP_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH, _NET_BIND_SERVICE = 1, 2, 10

# Ways to a TCP connection that Landlock's rule for connect(2) does not see, closed by a filter of system calls:
# a name in `_SYSTEM_CALLS`, and for each argument that decides (by place) how it is compared, and with what.
_EQUAL, _HAS = 0x15, 0x45  # BPF_JMP|BPF_JEQ, BPF_JMP|BPF_JSET, each with a constant (linux/bpf_common.h)
_FAST_OPEN = 0x2000_0000  # MSG_FASTOPEN: connects while it sends (linux/socket.h)
_SIDE_DOORS: tuple[tuple[str, tuple[tuple[int, int, int], ...]], ...] = (
    *(("socket", ((2, _EQUAL, protocol),)) for protocol in (33, 132, 256, 262)),  # DCCP, SCTP, SMC, MPTCP
    *(("socket", ((0, _EQUAL, family),)) for family in (21, 30, 40, 41, 43)),  # RDS, TIPC, VSOCK, KCM, SMC
    ("sendto", ((3, _HAS, _FAST_OPEN),)),
    ("sendmsg", ((2, _HAS, _FAST_OPEN),)),
    ("sendmmsg", ((3, _HAS, _FAST_OPEN),)),
    ("setsockopt", ((1, _EQUAL, 6), (2, _EQUAL, 30))),  # TCP_FASTOPEN_CONNECT (linux/tcp.h)
    ("io_uring_setup", ()),  # does all of this without system calls of its own
)
# By machine: its number (linux/audit.h), and those of the system calls (asm/unistd.h).
_NAMES = ("socket", "sendto", "sendmsg", "sendmmsg", "setsockopt", "io_uring_setup")
_SYSTEM_CALLS = {
    "x86_64": (0xC000_003E, dict(zip(_NAMES, (41, 44, 46, 307, 54, 425), strict=True))),
    "aarch64": (0xC000_00B7, dict(zip(_NAMES, (198, 206, 211, 269, 208, 425), strict=True))),
}
_X32 = 0x4000_0000  # on x86_64: the same calls under other numbers
# linux/filter.h, linux/seccomp.h
_LOAD, _RETURN, _AT_LEAST = 0x20, 0x06, 0x35  # BPF_LD|BPF_W|BPF_ABS, BPF_RET|BPF_K, BPF_JMP|BPF_JGE
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16  # within struct seccomp_data; arguments have 8 bytes each
_REFUSE, _ALLOW = 0x0005_0000 | errno.EACCES, 0x7FFF_0000  # SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW
_SET_SECCOMP, _FILTER = 22, 2  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def isolated(
    command: Sequence[str], *, read: Iterable[Path] = (), write: Iterable[Path] = (), end_with: int | None = None
) -> tuple[str, ...]:
    """`command` preceded by the launcher.

    Args:
        read: files and folders that it may read besides Python, the packages, the system's libraries and itself.
        write: folders in which it may also write.
        end_with: process at whose end it is killed; it must be the one that starts the command.
    """
    grants = [*(("--read", p) for p in read), *(("--write", p) for p in write)]
    flags = [part for flag, path in grants for part in (flag, str(path.absolute()))]
    if end_with is not None:
        flags += ["--end-with", str(end_with)]
    return (PYTHON, "-P", "-m", "slipway_entry", "tasks.isolation", *flags, "--", *command)


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables that a program that runs models may see: by an allow-list, since a secret can have any name."""
    return {name: value for name, value in inherited.items() if _ENVIRONMENT.fullmatch(name)}


def landlock_version() -> int:
    """The version of Landlock that this kernel offers; 0: none."""
    found: int = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(found, 0)


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def main(arguments: Sequence[str]) -> None:
    """Confine this process as the arguments say, and become the command. Returns only by an exception."""
    parser = argparse.ArgumentParser(prog="tasks.isolation")
    parser.add_argument("--read", action="append", default=[], type=Path)
    parser.add_argument("--write", action="append", default=[], type=Path)
    parser.add_argument("--end-with", type=int)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    missing = [str(path) for path in (*given.read, *given.write) if not path.exists()]
    if missing:  # made later, it would be closed to the program
        sys.exit(f"tasks.isolation: {', '.join(missing)} must exist before a program is started that may use it")
    variables = environment(os.environ)
    if given.write:
        variables["TMPDIR"] = str(given.write[0])
    version = landlock_version()
    if version:
        ruleset = _ruleset(version, _grants([Path(given.command[0]), *given.read], given.write))
        if os.geteuid() == 0:
            _leave_root(given.write)
        _call("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _call("syscall", _RESTRICT_SELF, ruleset, 0)
        if version >= _NET_VERSION:
            _close_side_doors(os.uname().machine)
    if given.end_with is not None:
        _call("prctl", _SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # last, since a change of user resets it
        if os.getppid() != given.end_with:
            sys.exit("the process that started this one has ended")
    os.execve(given.command[0], given.command, variables)  # noqa: S606


def _grants(read: Iterable[Path], write: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """What may be done where, and below it."""
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    packages = [_PACKAGES / name for name in ("infra", "slipway_entry", "tasks")]
    packages += [Path(folder) for folder in sys.path if folder.endswith("-packages")]  # some lie in a user's home
    for path in (*map(Path, _SYSTEM), Path(sys.prefix), Path(sys.base_prefix), *packages, *map(Path, libraries), *read):
        yield path, _READ
    yield _PACKAGES, _READ_DIR  # Python finds packages by listing the folder that holds them
    for pattern in _DEVICES:
        for device in Path("/dev").glob(pattern):
            yield device, _READ_FILE | _READ_DIR | _WRITE_FILE
    for path in write:
        yield path, _ALL[3] & ~_EXECUTE


def _ruleset(version: int, grants: Iterable[tuple[Path, int]]) -> int:
    """A Landlock ruleset that allows only the grants; what does not exist is left out."""
    handled = _ALL[min(version, max(_ALL))]
    attributes = _RulesetAttr(
        handled,
        _CONNECT_TCP if version >= _NET_VERSION else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPE_VERSION else 0,
    )
    ruleset = _call("syscall", _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), 0)
    for path, access in grants:
        with contextlib.suppress(OSError):
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = access & handled & (-1 if path.is_dir() else _OF_FILES)
            rule = _PathBeneathAttr(allowed, beneath)
            _call("syscall", _ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)
            os.close(beneath)
    return ruleset


def _close_side_doors(machine: str) -> None:
    """Refuse this process the system calls of `_SIDE_DOORS` (EACCES), for good; nothing where `machine` is not known.

    A kernel without such filters (CONFIG_SECCOMP_FILTER) leaves them open.
    """
    if machine not in _SYSTEM_CALLS:
        return
    instructions = _filter(*_SYSTEM_CALLS[machine])
    program = _Program(len(instructions), (_Instruction * len(instructions))(*(_Instruction(*i) for i in instructions)))
    with contextlib.suppress(OSError):
        _call("prctl", _SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)


def _filter(machine: int, numbers: Mapping[str, int]) -> list[tuple[int, int, int, int]]:
    """A program for the kernel's filter: each instruction with how many to skip if it compares equal, and if not."""
    refuse = (_RETURN, 0, 0, _REFUSE)
    # Calls of another machine's kind, such as those of 32 bits, have other numbers: all are refused.
    program = [(_LOAD, 0, 0, _MACHINE_AT), (_EQUAL, 1, 0, machine), refuse]
    program += [(_LOAD, 0, 0, _NUMBER_AT), (_AT_LEAST, 0, 1, _X32), refuse]
    for name, conditions in _SIDE_DOORS:
        program += [(_LOAD, 0, 0, _NUMBER_AT), (_EQUAL, 0, 2 * len(conditions) + 1, numbers[name])]
        for place, (argument, comparison, value) in enumerate(conditions):
            left = 2 * (len(conditions) - place - 1)
            program += [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), (comparison, 0, left + 1, value)]
        program.append(refuse)
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _leave_root(write: Iterable[Path]) -> None:
    """Become `USER`, with no other of root's rights than to read what Landlock leaves, and to bind low ports.

    That right is what lets it read below folders such as /root, which are closed to others. If it cannot be kept,
    or there is no such user (in some containers), root stays, and Landlock alone confines it.
    """
    header = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
    held = (_Capabilities * 2)()
    _call("capget", header, held)
    reading = next((c for c in (_DAC_READ_SEARCH, _DAC_OVERRIDE) if held[0].permitted & 1 << c), None)
    if reading is None:
        return
    keep = [c for c in (reading, _NET_BIND_SERVICE) if held[0].permitted & 1 << c]
    try:
        # Else the kernel answers access(2), which TensorFlow asks before it opens a file, as if nothing had been kept.
        _call("prctl", _SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0)
        for folder in write:
            os.chown(folder, USER, USER)
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    except OSError:
        return
    mask = sum(1 << c for c in keep)
    _call("capset", header, (_Capabilities * 2)(_Capabilities(mask, mask, mask)))
    for capability in keep:
        _call("prctl", _CAP_AMBIENT, _CAP_AMBIENT_RAISE, capability, 0, 0)


def _call(function: str, *arguments: object) -> int:
    """Call the C library's function; OSError if it fails."""
    widened = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = getattr(_libc, function)(*widened)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
