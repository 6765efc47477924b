"""TensorFlow's own forms, once for the steps and for the embedded model server: messages, dtypes, tensors, TFRecord.

Nothing else of Slipway is imported here. Whoever asks translates a WireError into an error of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]  # of any shape and dtype; where it matters, a docstring says which


class WireError(ValueError):
    """Values that TensorFlow's forms cannot hold, or bytes that are not what they claim to be."""


@contextmanager
def raised_as(error: Callable[[str], Exception]) -> Iterator[None]:
    """Turn a WireError into `error` with the same message; also as a decorator."""
    try:
        yield
    except WireError as problem:
        raise error(str(problem)) from problem
