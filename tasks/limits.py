"""What the parameters of a deployment's run may name: anyone who reaches the Prefect API can set them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from slipway_entry import ROOT
from tasks.errors import InvalidInput
from tasks.settings import Settings

EXAMPLES = "tasks.models"
DECLARATION = ROOT / "infra" / "stack" / "prefect.yaml"  # in an installation without the repository, too
PROJECT_SETTING = "`slipway up` sets it to the folder that it is run from, unless SLIPWAY_PROJECT names another."
_PATHS = ("data", "saved_model", "inputs")  # parameters that are paths


@dataclass(frozen=True)
class Limits:
    """The factories that runs may call, and the folders that they may read."""

    factories: tuple[str, ...]  # packages, modules, or `package.module:function`
    roots: tuple[Path, ...]  # absolute, without links
    project: Path  # where relative paths begin

    @classmethod
    def of(cls, settings: Settings, declaration: Path = DECLARATION) -> Self:
        """What `settings` say; if they say nothing: the example models, the project, and what `declaration` names."""
        project, named = settings.project.absolute(), list(_parameters(declaration))
        factories = [name.strip() for name in settings.factories.split(",") if name.strip()]
        roots = [root.strip() for root in settings.data_roots.split(",") if root.strip()]
        return cls(
            factories=tuple(factories or [EXAMPLES, *(value for name, value in named if name == "factory")]),
            roots=tuple(
                (project / root).resolve() for root in roots or ["", *(v for name, v in named if name in _PATHS)]
            ),
            project=project,
        )

    def require_factory(self, spec: str) -> None:
        """Raise unless runs may call the factory `spec`.

        Raises:
            InvalidInput: names the setting, and what it allows.
        """
        module = spec.partition(":")[0]
        if not any(spec == allowed or f"{module}.".startswith(f"{allowed}.") for allowed in self.factories):
            raise InvalidInput(
                f"Factory {spec!r} is not among those that a deployment's run may call "
                f"(SLIPWAY_FACTORIES: {', '.join(self.factories)}). If it should be, add its package to "
                "SLIPWAY_FACTORIES and run `slipway up`; `slipway release --factory` takes any."
            )

    def path(self, parameter: str, given: str) -> str:
        """The absolute path that `parameter`, a file or a folder, names.

        Raises:
            InvalidInput: it leads out of the folders that runs may read, or is not in the project; names the setting.
        """
        place = self.project / given
        try:
            real = place.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a null byte
            raise InvalidInput(
                f"The parameter {parameter}={given!r} is not a path that can be read: {error}."
            ) from None
        if not any(real.is_relative_to(root) for root in self.roots):
            leads = f", which leads to {real}," if real != place else ""
            raise InvalidInput(
                f"The parameter {parameter}={given!r}{leads} lies outside the folders that a deployment's run may read "
                f"(SLIPWAY_DATA_ROOTS: {', '.join(map(str, self.roots))}). Copy it there, or add its folder to "
                f"SLIPWAY_DATA_ROOTS and run `slipway up`; `slipway release` takes any path."
            )
        if not Path(given).is_absolute() and not real.exists():
            raise InvalidInput(
                f"The parameter {parameter}={given!r} is not found in {self.project}, the project of a deployment's "
                f"runs (SLIPWAY_PROJECT): put it there, or name it by an absolute path. {PROJECT_SETTING}"
            )
        return str(place)


def _parameters(declaration: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of the parameters that a prefect.yaml gives its deployments, without templates."""
    content = yaml.safe_load(declaration.read_text()) if declaration.exists() else None
    for deployment in (content or {}).get("deployments") or []:
        for giver in (deployment, *(deployment.get("schedules") or []), *(deployment.get("triggers") or [])):
            given: Mapping[str, Any] = giver.get("parameters") or {}
            yield from ((n, v) for n, v in given.items() if isinstance(v, str) and "{{" not in v)
