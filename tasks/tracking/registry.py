"""The model registry: one registered version in MLflow per published version, and the champion among them."""

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tasks.errors import NotFound, StoreUnreachable, TrackingError
from tasks.records import Manifest, Verdict
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store
from tasks.tracking.server import LONGEST_TAG, TAG_REASON, TAG_RUN, TrackingServer, log_artifact, unless
from tasks.versions import catalog

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

CHAMPION = "champion"
MANIFEST = "manifest.json"
_PATIENCE = 1.0  # seconds that a delivery waits for an MLflow that is away
TAG_VERSION = "slipway.version"
TAG_CONTENT = "slipway.content_id"
TAG_SOURCE = "slipway.source"
TAG_STATE = "slipway.state"


@dataclass(frozen=True)
class Registry:
    """An MLflow server's model registry, whose versions point at those in the object store. Nothing is ever deleted.

    Every method is idempotent.

    Raises (all methods):
        TrackingUnreachable: the server does not answer.
        TrackingError: it refuses.
    """

    server: TrackingServer

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """The registry of the server that `settings` name.

        Raises:
            InvalidSettings: what they name is not a server's URL.
        """
        return cls(TrackingServer.connect(settings))

    def register(self, manifest: Manifest, source: str) -> str:
        """Register a published version, if it is not; returns its number in MLflow's registry.

        The manifest is added to the MLflow run of the training that the version came from, if that is still there.

        Args:
            source: `s3://` address of the version's folder.
        """
        what = f"register {manifest.model} version {manifest.version}"
        return self.server.ask(what, lambda client: _register(client, manifest, source))

    def record_verdict(self, verdict: Verdict) -> None:
        """Write a verdict on the registered version; an accepted one becomes the champion.

        Raises:
            NotFound: the version is not registered.
        """
        what = f"mark {verdict.model} version {verdict.version} as {verdict.state}"
        self.server.ask(what, lambda client: _decide(client, verdict))

    def champion(self, model: str) -> int | None:
        """The version under the alias `champion`, or None."""
        return self.server.ask(f"find the champion of {model}", lambda client: _champion(client, model), tries=3)


def _register(client: "MlflowClient", manifest: Manifest, source: str) -> str:
    model, run_id = manifest.model, manifest.training.mlflow_run
    tags = {TAG_VERSION: str(manifest.version), TAG_CONTENT: manifest.content_id, TAG_SOURCE: source}
    if run_id is not None:
        with unless("RESOURCE_DOES_NOT_EXIST"):
            for name, value in tags.items():
                client.set_tag(run_id, name, value)
            log_artifact(client, run_id, MANIFEST, manifest.to_json())
    if (found := _number(client, model, manifest.version)) is not None:
        return found
    with unless("RESOURCE_ALREADY_EXISTS"):
        client.create_registered_model(model)
    client.create_model_version(model, source, run_id, tags=tags, await_creation_for=0)
    # If two registered it at once, both take the lower number, now and later.
    return _registered_number(client, model, manifest.version)


def _decide(client: "MlflowClient", verdict: Verdict) -> None:
    number = _registered_number(client, verdict.model, verdict.version)
    tags = {TAG_STATE: verdict.state, TAG_REASON: verdict.reason[:LONGEST_TAG], TAG_RUN: verdict.run}
    for name, value in tags.items():
        client.set_model_version_tag(verdict.model, number, name, value)
    if verdict.state == "accepted":
        client.set_registered_model_alias(verdict.model, CHAMPION, number)


def _champion(client: "MlflowClient", model: str) -> int | None:
    # For a missing alias MLflow answers that the parameter is invalid, for a missing model that it does not exist.
    with unless("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
        version = client.get_model_version_by_alias(model, CHAMPION).tags.get(TAG_VERSION)
        return int(version) if version is not None else None
    return None


def _number(client: "MlflowClient", model: str, version: int) -> str | None:
    """Number that `version` has in MLflow's registry, the lowest if several."""
    found = client.search_model_versions(f"name = '{model}' and tags.`{TAG_VERSION}` = '{version}'")
    return min((str(v.version) for v in found), key=int, default=None)


def _registered_number(client: "MlflowClient", model: str, version: int) -> str:
    number = _number(client, model, version)
    if number is None:
        raise NotFound(f"{model} version {version} is not registered in MLflow: register it before its verdict.")
    return number


def record_in_mlflow(store: Store, settings: Settings, model: str, version: int) -> None:
    """Register a published version in MLflow and, if rollouts have decided about it, record their verdict.

    By now the store says what is published and what serves, so an MLflow or a store that is away does not delay a
    delivery: what MLflow missed is recorded when something is next decided about the version.
    """
    source = store.uri(keys.version_prefix(model, version)).rstrip("/")
    registry = Registry(dataclasses.replace(TrackingServer.connect(settings), patience=_PATIENCE))
    try:
        manifest, verdict = catalog.manifest(store, model, version), catalog.verdict(store, model, version)
        registry.register(manifest, source)
        if verdict is not None:
            registry.record_verdict(verdict)
    except (TrackingError, StoreUnreachable) as error:
        log.warning("%s version %d is not recorded in MLflow yet: %s", model, version, error)
