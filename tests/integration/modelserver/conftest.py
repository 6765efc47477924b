"""A model server whose REST half is under test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.modelserver.rest_server import RestServer, make_rest_models


@pytest.fixture(scope="session")
def rest_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models `kinds`, `examples` and `digits`."""
    return make_rest_models(tmp_path_factory.mktemp("rest-models"))


@pytest.fixture(scope="session")
def rest_server(rest_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    """A server of those models; a request may take 3 seconds."""
    server = RestServer(rest_models, tmp_path_factory.mktemp("rest-server"), "--rest_api_timeout_in_ms=3000")
    yield server
    assert server.is_alive, server.log.read_text()[-3000:]
    server.stop()
