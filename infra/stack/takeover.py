"""Become a program of the stack, in its own environment, after ending what its predecessor left on its ports.

A killed program leaves its child processes behind: MLflow's server process would keep the port, and the new one would
fail to start again and again.

Usage: `python -m infra.stack.takeover HOME PORT,PORT NAME,NAME COMMAND ARGUMENT…`, where a NAME is a variable that the
program may see besides the ordinary ones (`AWS_*` for several).
"""

import os
import sys
from pathlib import Path

from infra.stack import members
from infra.stack.environment import visible

_SECONDS = 5.0  # to end by themselves


def main() -> None:
    """End members of the stack in HOME that listen on the ports, then replace this process by the command."""
    home, ports, names, *command = sys.argv[1:]
    wanted = {int(port) for port in ports.split(",")}
    left = [process for process in members.members(Path(home)) if wanted & members.listening([process])]
    if left:
        print(f"ending {[process.pid for process in left]}, which listen on {ports}", flush=True)  # noqa: T201
        members.end(left, _SECONDS)
    os.execve(command[0], command, visible(os.environ, names.split(",")))  # noqa: S606


if __name__ == "__main__":
    main()
