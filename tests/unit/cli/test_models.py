"""What `slipway predict` says when the server refuses."""

from pathlib import Path

import pytest

from infra.cli.models import predict
from tasks.errors import ServingRefused
from tasks.serving.client import ServingClient


@pytest.mark.parametrize(
    ("content", "code", "advised"),
    [
        (b"\x89PNG not JSON", "400", True),
        (b"\x89PNG not JSON", "404", False),
        (b"[[1.0]]", "400", False),
        (b'{"instances": [1, 2]}', "400", False),
    ],
)
def test_an_image_that_is_refused_needs_another_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, code: str, advised: bool
) -> None:
    def refuse(*_: object) -> None:
        raise ServingRefused("it answered so", code)

    monkeypatch.setattr(ServingClient, "rest", refuse)
    (tmp_path / "digit.png").write_bytes(content)
    with pytest.raises(ServingRefused, match="it answered so") as told:
        predict("MLP", tmp_path / "digit.png")
    assert ("needs a signature that takes bytes, such as from_png" in str(told.value)) is advised
    assert told.value.code == code
