from pathlib import Path

import numpy as np
import pytest

from tasks.errors import DeadlineExceeded, NotServable
from tasks.savedmodel.messages import Failure
from tasks.savedmodel.session import Question, ask

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with a signature for each kind of value."""
    import tensorflow as tf

    class Kinds(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(3.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def scaled(self, x):  # type: ignore[no-untyped-def]
            return {"y": x * self.weight, "half": tf.cast(x, tf.bfloat16)}

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
        def scalar(self, x):  # type: ignore[no-untyped-def]
            return {"y": x + 1.0}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def upper(self, text):  # type: ignore[no-untyped-def]
            return {"shout": tf.strings.upper(text), "first": tf.strings.upper(text)[0]}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="x")])
        def positive(self, x):  # type: ignore[no-untyped-def]
            tf.debugging.assert_positive(x, message="x must be positive")
            return {"y": x}

    path = tmp_path_factory.mktemp("kinds") / "1"
    module = Kinds()
    names = ("scaled", "scalar", "upper", "positive")
    tf.saved_model.save(module, str(path), signatures={name: getattr(module, name) for name in names})
    return path


def test_each_question_is_answered_or_says_why_not(kinds: Path) -> None:
    texts = np.array([b"a\0", b"b"], object)
    scaled, scalar, upper, refused, again = ask(
        kinds,
        [
            Question("scaled", {"x": np.array([1, 2], np.float32)}),
            Question("scalar", {"x": np.array(1, np.float32)}),
            Question("upper", {"text": texts}),
            Question("positive", {"x": np.array([1, -1])}),
            Question("positive", {"x": np.array([5])}),
        ],
    )
    assert not isinstance(scaled, Failure | None)
    assert scaled["y"].tolist() == [3, 6]
    assert (scaled["y"].dtype, scaled["half"].dtype.name) == (np.float32, "bfloat16")
    assert not isinstance(scalar, Failure)
    assert (scalar["y"].shape, scalar["y"]) == ((), 2)
    assert not isinstance(upper, Failure)
    assert upper["shout"].tolist() == [b"A\0", b"B"]
    assert upper["first"].item() == b"A\0"
    assert isinstance(refused, Failure)
    assert refused.kind == "InvalidArgumentError"
    assert "x must be positive" in refused.message
    assert "\n" not in refused.message
    assert not isinstance(again, Failure)
    assert again["y"].tolist() == [5]


def test_a_folder_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotServable, match=r"cannot be loaded: .*SavedModel"):
        ask(tmp_path, [])


def test_what_takes_too_long_is_given_up(kinds: Path) -> None:
    with pytest.raises(DeadlineExceeded, match=r"was not loaded and asked within 0\.05 s"):
        ask(kinds, [], deadline=0.05)
