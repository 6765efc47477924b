"""Where Slipway's programs start: importing this package makes Slipway's own packages the ones that are found.

Their names, such as `tasks`, are also those of many a project's own packages, which come first where they lie on
PYTHONPATH or in the working folder. So this package, whose name nobody else has, is what the console scripts, the
flows' deployments and Slipway's own subprocesses (`python -P -m slipway_entry MODULE`) import first.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("flows", "infra", "tasks")
ROOT = Path(__file__).parents[1]


class _OwnPackages:
    """Finds `PACKAGES` beside this one, and nothing else; the order of `sys.path` stays the user's."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(ROOT)], target) if name in PACKAGES and path is None else None


sys.meta_path.insert(0, _OwnPackages)


def slipway() -> None:
    """The command `slipway`."""
    from infra.cli.main import main

    main()


def slipway_agent() -> int:
    """The command `slipway-agent`; its exit code."""
    from infra.agent.__main__ import main

    return main()


def slipway_model_server() -> None:
    """The command `slipway-model-server`."""
    from infra.modelserver.__main__ import main

    main()
