import hashlib
import io
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tasks.data import sources
from tasks.data.download import download_once
from tasks.data.sources import load_dataset
from tasks.errors import InvalidData
from tests.unit.data.cases import images, labels


class Answers(BaseHTTPRequestHandler):
    """Answers every request alike."""

    def __init__(self, code: int, body: bytes, *args: Any) -> None:
        self.code, self.body = code, body
        super().__init__(*args)

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web(request: pytest.FixtureRequest) -> Any:
    code, body = request.param
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Answers, code, body)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/mnist.npz"
        server.shutdown()


def whole_mnist() -> bytes:
    buffer = io.BytesIO()
    x, y = images()[..., 0], labels().astype(np.uint8)
    np.savez(buffer, x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    return buffer.getvalue()


@pytest.fixture
def mnist_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Says where the whole of MNIST lies, and that nothing was downloaded before."""
    monkeypatch.chdir(tmp_path)

    def at(url: str) -> None:
        monkeypatch.setattr(sources, "MNIST_URL", url)
        monkeypatch.setattr(sources, "MNIST_SHA256", hashlib.sha256(whole_mnist()).hexdigest())

    return at


@pytest.mark.parametrize("web", [(200, whole_mnist())], indirect=True)
def test_the_whole_of_mnist_is_downloaded_once(web: str, mnist_at: Callable[[str], None]) -> None:
    mnist_at(web)
    first = load_dataset("mnist", 0, Path("downloads"))
    mnist_at("http://127.0.0.1:1/nothing-listens-here")
    again = load_dataset("mnist", 0, Path("downloads"))
    assert len(first.test) == 20
    assert first.train.features["x"].shape[1:] == (28, 28, 1)
    assert again.sha256 == first.sha256


def test_without_a_network_the_whole_of_mnist_says_what_to_do(mnist_at: Callable[[str], None]) -> None:
    mnist_at("http://127.0.0.1:1/mnist.npz")
    with pytest.raises(InvalidData, match=r"could not be downloaded: no connection .* use mnist-5k, or give the path"):
        load_dataset("mnist", 0, Path("downloads"))


@pytest.mark.parametrize(
    ("web", "message"),
    [((404, b"no"), "the server answered 404"), ((200, b"other"), "has changed: sha256 .*, expected")],
    indirect=["web"],
)
def test_other_answers_are_not_taken_for_mnist(web: str, message: str, mnist_at: Callable[[str], None]) -> None:
    mnist_at(web)
    with pytest.raises(InvalidData, match=message):
        load_dataset("mnist", 0, Path("downloads"))


@pytest.mark.parametrize("web", [(200, b"body")], indirect=True)
def test_a_download_that_takes_too_long_is_given_up(web: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="could not be downloaded within -1 s"):
        download_once(web, hashlib.sha256(b"body").hexdigest(), tmp_path / "file", deadline=-1)
    assert not list(tmp_path.iterdir())
