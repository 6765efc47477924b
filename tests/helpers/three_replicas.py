"""A fleet of three replicas under flows that a test disturbs, and what must hold of it when no run is under way."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.rollout import rollout
from infra.stack.programs import settings_environment
from tasks.errors import SlipwayError
from tasks.fleet.config import Fleet, live_version
from tasks.names import candidate_name
from tasks.records import Claim
from tasks.settings import Settings, settings
from tasks.store import keys
from tasks.versions import catalog, fetch
from tasks.versions.catalog import golden_examples
from tests.helpers.clients import Client
from tests.helpers.faulty_proxy import FaultyProxy
from tests.helpers.local import until
from tests.helpers.models import publish_affine
from tests.helpers.releases import Release, Write, quick_flows
from tests.helpers.replica import LocalReplica
from tests.helpers.versions import claimed_numbers


class ThreeReplicas:
    """The fleet `test` of three replicas, and releases of `affine` to it."""

    def __init__(self, home: Path, mine: Settings, models: Path, proxy: FaultyProxy) -> None:
        """Agents reach the store through `proxy`; flows do not, unless a test has them do so."""
        self.settings = mine
        self.proxy = proxy
        self.fleet = Fleet.connect(mine, mine.fleet)
        self.models = models
        theirs = mine.model_copy(update={"store_port": proxy.port, "call_deadline": 2.0})
        self.replicas = [LocalReplica(home, theirs, f"r{n}", fleet=self.fleet.name) for n in (1, 2, 3)]
        self.accepted: set[int] = set()  # now or once
        self._seen: dict[str, bytes] = {}  # what was once read under a number, which may never change

    @contextmanager
    def running(self) -> Iterator["ThreeReplicas"]:
        """Have it serve version 1 of `affine`."""
        try:
            with ThreadPoolExecutor(len(self.replicas)) as pool:
                list(pool.map(LocalReplica.start, self.replicas))
            with self.reached_by_flows():
                rollout("affine", publish_affine(self.fleet, self.models, 1), self.fleet.name)
            self.require_whole()
            yield self
        finally:
            for replica in self.replicas:
                replica.end()

    @contextmanager
    def reached_by_flows(self) -> Iterator[None]:
        """Have flows of this process reach it."""
        with pytest.MonkeyPatch.context() as environment, quick_flows():
            for name, value in settings_environment(self.settings).items():
                environment.setenv(name, value)
            settings.cache_clear()
            try:
                yield
            finally:
                settings.cache_clear()

    def model(self, number: int) -> Path:
        """A SavedModel, another one for the next number."""
        return self.models / "affine" / str(1 + number % 3)

    def release(
        self, number: int, *, strategy: str = "blue-green", dies_after: Write | None = None, **environment: str
    ) -> Release:
        """Begin the release of a SavedModel in a process of its own."""
        mine = {name: value for name, value in os.environ.items() if name.startswith("SLIPWAY_")} | environment
        api = str(PREFECT_API_URL.value())
        return Release(self.model(number), self.fleet.name, mine, api, strategy=strategy, dies_after=dies_after)

    def rollback(self, *, dies_after: Write | None = None) -> Release:
        """Begin a rollback in a process of its own."""
        mine = {name: value for name, value in os.environ.items() if name.startswith("SLIPWAY_")}
        return Release(None, self.fleet.name, mine, str(PREFECT_API_URL.value()), dies_after=dies_after)

    def require_whole(self) -> None:
        """Accepted versions serve everywhere, no half version is seen, no rollout is left, no number came twice."""
        store = self.fleet.store
        assert store.keys(keys.rollouts_prefix(self.fleet.name)) == []
        newest = self.fleet.newest()
        served, live = newest.versions("affine"), newest.entry("affine")
        assert live is not None
        assert [c.name for c in newest.models.model_config_list.config] == ["affine"]
        assert {self.state(v) for v in served} == {"accepted"}
        assert max(served) == live_version(newest, "affine")
        assert len(served) == 1 or live.version_labels.keys() == {"stable"}
        assert {replica.settings.replica: self.loaded(replica) for replica in self.replicas} == {
            replica.settings.replica: served for replica in self.replicas
        }
        published, claimed = catalog.published(store, "affine"), claimed_numbers(store, "affine")
        assert set(published) <= set(claimed)
        for version in published:
            if keys.manifest_key("affine", version) not in self._seen:
                fetch.require_whole(store, catalog.trusted_manifest(store, self.fleet.trust, "affine", version))
        self._require_unchanged()
        self.accepted |= {v for v in published if v not in self.accepted and self.state(v) in ("accepted", "retired")}

    def await_whole(self, seconds: float = 60.0) -> None:
        """As `require_whole`, once replicas that were away have come to the newest config by themselves."""
        served = self.fleet.newest().versions("affine")
        for replica in self.replicas:
            until(_quietly(partial(self._serves, replica, served)), f"{replica.folder.name} serves {served}", seconds)
        self.require_whole()

    def require_served(self, client: Client) -> None:
        """Every request of this client was answered, and as an accepted version does."""
        assert client.failures == []
        right: set[tuple[int | None, int]] = {(version, self.promised(version)) for version in self.accepted}
        right |= {(None, variant) for _, variant in right}  # over REST no version is told
        assert client.versions
        assert set(client.answers) <= right

    def promised(self, version: int) -> int:
        """Which `affine` a version is."""
        manifest = catalog.manifest(self.fleet.store, "affine", version)
        example = golden_examples(self.fleet.store, manifest)[0]
        return round(float((example.outputs["y"] - example.inputs["x"] / 2)[0]))

    def state(self, version: int) -> str:
        """What rollouts decided about a version."""
        return catalog.version(self.fleet.store, "affine", version).state

    def loaded(self, replica: LocalReplica) -> list[int]:
        """The versions that a replica serves, under the model's name or the candidate's."""
        with replica.client() as client:
            names = ("affine", candidate_name("affine"))
            return sorted(s.version for name in names for s in client.statuses(name) if s.state == "AVAILABLE")

    def _serves(self, replica: LocalReplica, versions: list[int]) -> bool:
        return self.loaded(replica) == versions

    def _require_unchanged(self) -> None:
        store = self.fleet.store
        claims = store.keys(keys.claims_prefix("affine"))
        for key in [*claims, *store.keys(keys.manifests_prefix("affine"))]:
            data = store.get(key)
            assert self._seen.setdefault(key, data) == data, f"{key} was written twice"
        tokens = [Claim.from_json(self._seen[key], key).token for key in claims]
        assert len(set(tokens)) == len(tokens)
        assert self._seen.keys() == {*claims, *store.keys(keys.manifests_prefix("affine"))}


def _quietly(condition: Callable[[], bool]) -> Callable[[], bool]:
    """`condition`, false where a server does not answer."""

    def asked() -> bool:
        try:
            return condition()
        except SlipwayError:
            return False

    return asked
