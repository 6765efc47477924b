"""Asking a model for what its version is scored by."""

import re
import tracemalloc
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pytest

from tasks.errors import InvalidData, NotServable
from tasks.evaluation import questions
from tasks.records import Comparison, Manifest, Scored, ScoredOutput, SignatureSpec, TensorSpec, Training
from tasks.serving.client import Answer, Target
from tasks.wire.dtypes import Array

Shape = tuple[int | None, ...] | None
DIGITS = {"x": np.zeros((3, 28, 28, 1), np.float32)}
CLASSES = tuple(map(str, range(10)))


def spec(
    inputs: Mapping[str, Shape], outputs: Mapping[str, tuple[str, Shape]], dtype: str = "float32"
) -> SignatureSpec:
    return SignatureSpec(
        {name: TensorSpec("float32", shape) for name, shape in inputs.items()},
        {name: TensorSpec(*gives) for name, gives in outputs.items()},
    )


def image(**outputs: tuple[str, Shape]) -> SignatureSpec:
    return spec({"inputs": (None, 28, 28, 1)}, outputs)


class Doubling:
    """A model server that answers twice the sum of a row, and remembers how many rows each request had."""

    def __init__(self, output: str = "out") -> None:
        self.asked: list[int] = []
        self._output = output

    def predict_rest(self, target: Target, signature: str, inputs: Mapping[str, Array], spec: SignatureSpec) -> Answer:
        raise AssertionError("held-out examples are asked over gRPC")

    def predict_grpc(
        self, target: Target, signature: str, inputs: Mapping[str, Array], outputs: Collection[str] = ()
    ) -> Answer:
        rows = next(iter(inputs.values()))
        self.asked.append(len(rows))
        return Answer({self._output: 2 * rows.reshape(len(rows), -1).sum(axis=1)}, 1, 0.0)


def asked(server: Doubling, rows: Array, shape: Shape) -> Array:
    signatures = {"call": spec({"in": shape}, {"out": ("float32", (None,))})}
    scored = Scored("call", {"in": "feature"}, {"price": ScoredOutput("out", "numbers")})
    return questions.answers(server, Target("M"), scored, signatures, {"feature": rows, "other": rows})["price"]


@pytest.mark.parametrize(
    ("rows", "shape", "requests"),
    [
        (np.arange(450.0), (None, 1), [200, 200, 50]),
        (np.ones((30, 224, 224, 3), np.uint8), (None, 224, 224, 3), [13, 13, 4]),
        (np.arange(7.0), (3, 1), [3, 3, 3]),
        (np.ones((2, 4_000_000)), (None, None), [1, 1]),
    ],
    ids=["many rows", "large rows", "a fixed number of rows", "rows too large for the budget"],
)
def test_rows_are_asked_in_requests_of_a_size_that_fits(rows: Array, shape: Shape, requests: Sequence[int]) -> None:
    server = Doubling()
    found = asked(server, rows, shape)
    assert server.asked == requests
    assert found == pytest.approx(2 * rows.reshape(len(rows), -1).sum(axis=1), rel=1e-5)


def test_rows_are_made_inputs_request_by_request() -> None:
    rows = np.ones((2000, 10_000), np.uint8)
    tracemalloc.start()
    try:
        asked(Doubling(), rows, (None, 10_000))
        assert tracemalloc.get_traced_memory()[1] < rows.nbytes * 4 / 2, "all as float32 have four times its bytes"
    finally:
        tracemalloc.stop()


def test_features_that_do_not_fit_and_outputs_that_are_missing_are_said() -> None:
    with pytest.raises(InvalidData, match="Input 'in' takes float32"):
        asked(Doubling(), np.ones((2, 5)), (None, 3))
    with pytest.raises(NotServable, match=r"Signature 'call' gives no output 'out' .* 'price' is scored"):
        asked(Doubling("another"), np.ones(2), (None, 1))


# Versions of earlier releases


def test_of_an_earlier_release_the_class_is_asked_and_no_output_that_comes_first_in_the_alphabet() -> None:
    probabilities, pixels = ("float32", (None, 10)), ("float32", (None, 784))
    found = questions.scored_of_digits({"attribution": image(a=pixels), "call": image(output_0=probabilities)}, DIGITS)
    assert found == Scored("call", {"inputs": "x"}, {"y": ScoredOutput("output_0", "classes", CLASSES)})
    assert questions.scored_of_digits({"attribution": image(a=pixels)}, DIGITS) is None
    number = image(**{"class": ("int64", (None,)), "score": ("float32", (None,))})
    found = questions.scored_of_digits({"call": image(p=probabilities), "classify": number}, DIGITS)
    assert found is not None
    assert (found.signature, found.outputs["y"].output) == ("classify", "class")
    several = {"a": image(p=probabilities), "serving_default": image(p=probabilities)}
    assert getattr(questions.scored_of_digits(several, DIGITS), "signature", None) == "serving_default"
    assert questions.scored_of_digits({"call": image(p=probabilities)}, {"rooms": DIGITS["x"]}) is None
    raw = {"x": DIGITS["x"].astype(np.uint8)}
    assert questions.scored_of_digits({"call": image(p=probabilities)}, raw) is None, "it took 0..1, not 0..255"


def test_a_version_is_scored_as_its_training_records_or_as_the_gate_found() -> None:
    own = Scored("call", {"in": "x"}, {"price": ScoredOutput("out", "numbers")})
    manifest = Manifest("M", 1, "", (), {}, None, Training(scored=own))
    assert questions.scored_of(manifest, DIGITS) == own
    elsewhere = Manifest("M", 1, "", (), {}, None, Training(), Comparison({}, {}, None, scored=own))
    assert questions.scored_of(elsewhere, DIGITS) == own
    assert questions.scored_of(Manifest("M", 1, "", (), {}, None, Training()), DIGITS) is None


# SavedModels that were made elsewhere

HOUSES = {"area": np.ones(2), "rooms": np.ones(2)}
LIVE = Scored("call", {"area": "area", "rooms": "rooms"}, {"price": ScoredOutput("price", "numbers")})
TAKES: Mapping[str, Shape] = {"area": (None, 1), "rooms": (None, 1)}


@pytest.mark.parametrize(
    ("signatures", "found"),
    [
        ({"call": spec(TAKES, {"price": ("float32", (None, 1)), "sure": ("float32", (None, 1))})}, ("call", "price")),
        ({"serve": spec(TAKES, {"output_0": ("float32", (None, 1))})}, ("serve", "output_0")),
        ({"serve": spec(TAKES, {"name": ("string", (None,)), "p": ("float32", (None,))})}, ("serve", "p")),
        (
            {"call": spec(TAKES, {"a": ("float32", (None,)), "b": ("float32", (None,))})},
            r"several outputs could be .* \('a' of 'call', 'b' of 'call'\)",
        ),
        (
            {n: spec(TAKES, {"output_0": ("float32", (None, 1))}) for n in ("serve", "serving_default")},
            ("serving_default", "output_0"),
        ),
        ({"call": spec({"z": (None, 1)}, {"price": ("float32", (None, 1))})}, "no signature takes area, rooms and"),
    ],
    ids=[
        "the live version's",
        "the only one",
        "the only number",
        "two that could be",
        "as Keras exports",
        "other inputs",
    ],
)
def test_a_model_made_elsewhere_is_scored_as_the_live_version_or_by_the_only_output_that_can_be(
    signatures: Mapping[str, SignatureSpec], found: tuple[str, str] | str
) -> None:
    scored = questions.scored_like(LIVE, signatures, HOUSES)
    if isinstance(found, tuple):
        assert isinstance(scored, Scored)
        assert (scored.signature, scored.outputs["price"].output) == found
        assert scored.inputs == {"area": "area", "rooms": "rooms"}
    else:
        assert isinstance(scored, str)
        assert re.search(found, scored)


def test_scores_of_classes_have_as_many_columns_as_the_live_version_has_classes() -> None:
    live = Scored("call", {"in": "x"}, {"y": ScoredOutput("out", "classes", ("a", "b", "c"))})
    both = image(three=("float32", (None, 3)), four=("float32", (None, 4)))
    scored = questions.scored_like(live, {"other": both}, DIGITS)
    assert isinstance(scored, Scored)
    assert scored.outputs["y"] == ScoredOutput("three", "classes", ("a", "b", "c"))


def test_several_labels_are_found_by_the_names_of_their_outputs_alone() -> None:
    outputs = {"price": ScoredOutput("p", "numbers"), "sold": ScoredOutput("s", "binary", ("no", "yes"))}
    live = Scored("call", {"area": "area", "rooms": "rooms"}, outputs)
    gives = {"p": ("float32", (None, 1)), "s": ("float32", (None, 1))}
    scored = questions.scored_like(live, {"serve": spec(TAKES, gives)}, HOUSES)
    assert isinstance(scored, Scored)
    assert (scored.signature, scored.outputs) == ("serve", outputs)
    renamed = {"q": gives["p"], "s": gives["s"]}
    assert isinstance(questions.scored_like(live, {"serve": spec(TAKES, renamed)}, HOUSES), str)
