"""`slipway-model-server`: the embedded model server, with tensorflow_model_server's flags."""

import logging
import os
import sys

from infra.modelserver import flags as command_line
from infra.modelserver.errors import StartupError
from tasks.wire import WireError


def main() -> None:
    """Serve until stopped; exit with 1, and one line, if the server cannot start."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
    )
    try:
        code = _run(sys.argv[1:])
    except (StartupError, WireError) as error:
        print(f"slipway-model-server: {error}", file=sys.stderr)  # noqa: T201
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's and gRPC's threads do not survive the interpreter's own teardown; there is nothing left to tear down.
    os._exit(code)


def _run(arguments: list[str]) -> int:
    flags, warnings = command_line.parse(arguments)
    if flags.help:
        print(command_line.usage())  # noqa: T201
        return 0
    if flags.version:
        print(_versions())  # noqa: T201
        return 0
    command_line.check(flags)
    for warning in warnings:
        logging.getLogger(__name__).warning("%s", warning)
    # Wrong flags are answered before these are loaded.
    from infra.modelserver.config import read_config
    from infra.modelserver.server import ModelServer

    ModelServer(read_config(flags)).run()
    return 0


def _versions() -> str:
    from importlib.metadata import version

    from infra.modelserver.runtime import c_api

    c_api.load()
    return f"Slipway model server {version('slipway')}\nTensorFlow Library: {c_api.version()}"


if __name__ == "__main__":
    main()
