"""Servers that integration tests share: started once a session, each in a folder of its own."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.stack.programs import settings_environment
from tasks.fleet.config import Fleet
from tasks.settings import Settings, settings
from tasks.store.base import Store
from tasks.store.connect import connect
from tasks.store.s3 import S3Store
from tests.helpers.faulty_proxy import FaultyProxy
from tests.helpers.local import LocalStack, LocalStore
from tests.helpers.models import make_models
from tests.helpers.replica import LocalReplica
from tests.helpers.stores import s3_client
from tests.helpers.three_replicas import ThreeReplicas


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    """A real SeaweedFS; `seaweedfs.settings` connect to it. Whoever stops or kills it starts it again."""
    local = LocalStore(tmp_path_factory.mktemp("seaweedfs"))
    local.start()
    yield local
    local.kill()


@contextmanager
def bucket(local: LocalStore) -> Iterator[Settings]:
    """Settings of a new bucket, which is deleted in the end."""
    settings = local.settings.model_copy(update={"bucket": f"test-{uuid.uuid4().hex[:12]}"})
    S3Store.connect(settings).ensure_bucket()
    yield settings
    # SeaweedFS keeps volumes for each bucket, and looks after them all the time.
    s3_client(settings).delete_bucket(Bucket=settings.bucket)


@pytest.fixture
def store_settings(seaweedfs: LocalStore, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings of a real store without versions, for this test alone: that of `replica` where a test uses one."""
    if "replica" in request.fixturenames:
        yield request.getfixturevalue("replica").store_settings
    else:
        with bucket(seaweedfs) as settings:
            yield settings


@pytest.fixture
def store(store_settings: Settings) -> Store:
    """A real store without versions, for this test alone."""
    return connect(store_settings)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A whole stack, up and ready: `stack.settings`, and `stack.env` for processes that work with it."""
    local = LocalStack(tmp_path_factory.mktemp("stack"))
    try:
        local.up()
        yield local
        local.down()
    finally:
        local.end()


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels with fixed weights: `affine` version v answers 0.5·x + v."""
    return make_models(tmp_path_factory.mktemp("small-models"))


@pytest.fixture
def fleet(store_settings: Settings) -> Fleet:
    """A fleet that serves nothing, for this test alone; without replicas, but for `replica` where a test uses it."""
    return Fleet.connect(store_settings.model_copy(update={"load_deadline": 30.0}), "test")


@pytest.fixture(scope="module")
def _running_replica(
    seaweedfs: LocalStore, small_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalReplica]:
    with bucket(seaweedfs) as settings:
        local = LocalReplica(tmp_path_factory.mktemp("replica"), settings, fleet="test", other_models=str(small_models))
        local.start()
        local.await_report()
        yield local
        local.end()


@pytest.fixture
def replica(_running_replica: LocalReplica) -> Iterator[LocalReplica]:
    """The one replica of `fleet`, the same for all tests of a module; it has served what other tests had it serve."""
    yield _running_replica
    _running_replica.forget()


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """A Prefect server that flows of this process run with."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    # Without heartbeats, whose thread keeps each flow waiting for up to a second at its end.
    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture
def flows(prefect: None, fleet: Fleet, store_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flows of this process work with the test's own store and fleet."""
    mine = store_settings.model_copy(update={"fleet": fleet.name, "load_deadline": fleet.deadline})
    for name, value in settings_environment(mine).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def _running_three_replicas(
    prefect: None, seaweedfs: LocalStore, small_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ThreeReplicas]:
    changes = {"bucket": f"test-{uuid.uuid4().hex[:12]}", "fleet": "test", "load_deadline": 60.0}
    mine = seaweedfs.settings.model_copy(update=changes)
    S3Store.connect(mine).ensure_bucket()
    proxy = FaultyProxy(seaweedfs.settings.store_port, seed=20261122)
    with ThreeReplicas(tmp_path_factory.mktemp("three"), mine, small_models, proxy).running() as found:
        yield found
    proxy.close()


@pytest.fixture
def three_replicas(_running_three_replicas: ThreeReplicas) -> Iterator[ThreeReplicas]:
    """A fleet of three that serves some version of `affine`, the same for all tests, and flows that reach it."""
    with _running_three_replicas.reached_by_flows():
        yield _running_three_replicas
