"""What the parameters of a deployment's run may name: anyone who reaches the Prefect API can set them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from slipway_entry import ROOT
from tasks.errors import InvalidInput
from tasks.names import is_function
from tasks.settings import Settings

EXAMPLES = "tasks.models"
DECLARATION = ROOT / "infra" / "stack" / "prefect.yaml"  # in an installation without the repository, too
PROJECT_SETTING = "`slipway up` sets it to the folder that it is run from, unless SLIPWAY_PROJECT names another."
_PATHS = ("data", "saved_model", "inputs")  # parameters that are paths
_MODULES = ("recipe", "factory")  # parameters that name what runs call
_S3 = "s3://"


@dataclass(frozen=True)
class Limits:
    """The recipes and factories that runs may call, and the places that they may read."""

    factories: tuple[str, ...]  # packages, modules, or `package.module:function`
    roots: tuple[Path, ...]  # absolute, without links
    project: Path  # where relative paths begin
    buckets: tuple[str, ...] = ()  # places in object storage, each as `s3://bucket/` or longer

    @classmethod
    def of(cls, settings: Settings, declaration: Path = DECLARATION) -> Self:
        """What `settings` say; if they say nothing: the example models, the project, and what `declaration` names."""
        project, named = settings.project.absolute(), list(_parameters(declaration))
        factories = [name.strip() for name in settings.factories.split(",") if name.strip()]
        roots = [root.strip() for root in settings.data_roots.split(",") if root.strip()]
        places = roots or ["", *(v for name, v in named if name in _PATHS and not is_function(v))]
        return cls(
            factories=tuple(factories or [EXAMPLES, *(value for name, value in named if name in _MODULES)]),
            roots=tuple((project / root).resolve() for root in places if not root.startswith(_S3)),
            project=project,
            buckets=(f"{_S3}{settings.bucket}/", *(place for place in places if place.startswith(_S3))),
        )

    def require_factory(self, spec: str) -> None:
        """Raise unless runs may call the factory `spec`.

        Raises:
            InvalidInput: names the setting, and what it allows.
        """
        module = spec.partition(":")[0]
        if not any(spec == allowed or f"{module}.".startswith(f"{allowed}.") for allowed in self.factories):
            raise InvalidInput(
                f"{spec!r} is not among the recipes and factories that a deployment's run may call "
                f"(SLIPWAY_FACTORIES: {', '.join(self.factories)}). If it should be, add its package to "
                "SLIPWAY_FACTORIES and run `slipway up`; `slipway release` takes any."
            )

    def data(self, given: str) -> str:
        """`given`, a source of data, if runs may read it: a path, made absolute, a function, or an object in a bucket.

        Raises:
            InvalidInput: they may not; names the setting.
        """
        if is_function(given):
            self.require_factory(given)
            return given
        if not given.startswith(_S3):
            return self.path("data", given)
        if not any(given.startswith(bucket) for bucket in self.buckets):
            raise InvalidInput(
                f"The parameter data={given!r} lies in no bucket that a deployment's run may read "
                f"({', '.join(self.buckets)}): add it to SLIPWAY_DATA_ROOTS and run `slipway up`."
            )
        return given

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
