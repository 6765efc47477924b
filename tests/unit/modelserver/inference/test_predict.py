"""The one path from a signature's inputs to its outputs: what is checked first, and what becomes of the tensors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from infra.modelserver.errors import Code, StatusError, invalid_argument
from infra.modelserver.inference.predict import predict
from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.servable import PREDICT_METHOD, Signature, TensorInfo
from tasks.wire import tensors
from tasks.wire.dtypes import DataType

DEFAULT = tensors.to_proto(np.float32(7)).SerializeToString()


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The tensors that have been made and not yet been given back."""
    c_api.load()
    every: list[int] = []
    for name in ("tensor_from_array", "tensor_from_proto"):
        make = getattr(c_api, name)

        def counted(*args: Any, make: Callable[..., int] = make) -> int:
            every.append(make(*args))
            return every[-1]

        monkeypatch.setattr(c_api, name, counted)
    delete = c_api.delete

    def give_back(tensor: int) -> None:
        every.remove(tensor)
        delete(tensor)

    monkeypatch.setattr(c_api, "delete", give_back)
    yield every
    for tensor in every:
        delete(tensor)


def info(alias: str) -> TensorInfo:
    return TensorInfo(f"{alias}:0", np.dtype(np.float32), DataType.FLOAT, ())


def signature(method: str = PREDICT_METHOD, defaults: Mapping[str, bytes] | None = None) -> Signature:
    inputs, outputs = ({alias: info(alias) for alias in aliases} for aliases in ("ab", "yz"))
    return Signature("serving_default", method, inputs, outputs, defaults or {})


class Adder:
    """A model whose every output is the sum of its inputs; each answer is a new tensor."""

    check_method_names = True

    def __init__(self, error: StatusError | None = None) -> None:
        self.error = error
        self.ran: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def run(
        self, api: str, feeds: tuple[str, ...], given: Sequence[int], fetches: tuple[str, ...], timeout: float | None
    ) -> list[int]:
        self.ran.append((feeds, fetches))
        if self.error is not None:
            raise self.error
        return [number(sum(map(value, given))) for _ in fetches]


def number(of: float) -> int:
    return c_api.tensor_from_array(np.array(of, np.float32), DataType.FLOAT)


def value(tensor: int) -> float:
    return float(c_api.array_from_tensor(tensor))


def answer(servable: Adder, asked: Signature, outputs: Sequence[str] = (), **numbers: float) -> dict[str, float]:
    feeds = {alias: lambda of=of: number(of) for alias, of in numbers.items()}
    with predict(servable, asked, feeds, outputs) as found:  # type: ignore[arg-type]
        return {alias: value(tensor) for alias, tensor in found.items()}


def test_outputs_are_there_by_alias_and_everything_is_freed(alive: list[int]) -> None:
    servable = Adder()
    assert answer(servable, signature(), b=2, a=1) == {"y": 3, "z": 3}
    assert answer(servable, signature(), ["z"], a=1, b=2) == {"z": 3}
    assert servable.ran == [(("a:0", "b:0"), ("y:0", "z:0")), (("a:0", "b:0"), ("z:0",))]
    assert not alive


def test_an_input_that_is_not_sent_has_its_default(alive: list[int]) -> None:
    assert answer(Adder(), signature(defaults={"b": DEFAULT}), a=1) == {"y": 8, "z": 8}
    assert not alive


@pytest.mark.parametrize(
    ("asked", "outputs", "numbers", "code", "text"),
    [
        (signature(), [], {"a": 1}, Code.INVALID_ARGUMENT, "Missing but required: {b}."),
        (
            signature(),
            [],
            {"a": 1, "c": 2},
            Code.INVALID_ARGUMENT,
            "Signature input alias: b(feed name: b:0) not found",
        ),
        (signature(defaults={"b": DEFAULT}), [], {"a": 1, "c": 2}, Code.INVALID_ARGUMENT, "contains invalid name"),
        (signature(), ["x"], {"a": 1, "b": 2}, Code.INVALID_ARGUMENT, "output tensor alias not found"),
        (signature(), ["y", "y"], {"a": 1, "b": 2}, Code.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
        (signature("other"), [], {"a": 1, "b": 2}, Code.INTERNAL, "Was: other"),
    ],
)
def test_what_does_not_fit_the_signature_is_not_run(
    alive: list[int], asked: Signature, outputs: list[str], numbers: dict[str, float], code: Code, text: str
) -> None:
    servable = Adder()
    with pytest.raises(StatusError) as refused:
        answer(servable, asked, outputs, **numbers)
    assert refused.value.code is code
    assert text in refused.value.message
    assert not servable.ran
    assert not alive


def test_aliases_are_checked_before_any_tensor_is_made() -> None:
    feeds = {"a": lambda: pytest.fail("made"), "c": lambda: pytest.fail("made")}
    with (
        pytest.raises(StatusError, match="Signature input alias: b"),
        predict(Adder(), signature(), feeds),  # type: ignore[arg-type]
    ):
        pass


def test_a_tensor_that_cannot_be_made_is_named_by_its_alias(alive: list[int]) -> None:
    def fail() -> int:
        raise invalid_argument("Cannot parse tensor from proto")

    feeds = {"a": lambda: number(1), "b": fail}
    with (
        pytest.raises(StatusError, match="tensor parsing error: b"),
        predict(Adder(), signature(), feeds),  # type: ignore[arg-type]
    ):
        pass
    assert not alive


def test_a_run_that_fails_frees_what_it_was_fed(alive: list[int]) -> None:
    with pytest.raises(StatusError, match="no"):
        answer(Adder(invalid_argument("no")), signature(), a=1, b=2)
    assert not alive
