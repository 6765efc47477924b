"""Which model versions are loaded, and who may use them now."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum

from infra.modelserver.errors import Code
from infra.modelserver.servable import Servable


class State(IntEnum):
    """A version's state, numbered as in GetModelStatus."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What GetModelStatus says of one version."""

    version: int
    state: State
    code: Code
    message: str


class Manager:
    """Loads, serves and unloads versions. Thread-safe."""

    def acquire(self, name: str, version: int | None, label: str | None) -> AbstractContextManager[Servable]:
        """A version held for one request; it is not unloaded before the context ends.

        version wins over label; neither means the highest loaded version.
        Raises ServingError on entering: NOT_FOUND "Servable not found for request: Latest(absent)",
        INVALID_ARGUMENT "Unrecognized servable version label: x", "Missing ModelSpec" for an empty name, …
        """
        raise NotImplementedError

    def statuses(self, name: str, version: int | None) -> list[VersionStatus]:
        """Status of all versions of a model (highest first), or of one.

        Raises ServingError: NOT_FOUND "Could not find any versions of model absent" or
        "Could not find version 2 of model affine".
        """
        raise NotImplementedError
