"""TensorFlow's wire formats, for the steps and the embedded model server: messages, dtypes, tensors, TFRecord.

Imports nothing else of Slipway. Callers translate a WireError into an error of their own (`raised_as`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class WireError(ValueError):
    """Values that TensorFlow's formats cannot hold, or bytes that are not in their format."""


@contextmanager
def raised_as(error: Callable[[str], Exception]) -> Iterator[None]:
    """Turn a WireError into `error` with the same message; also as a decorator."""
    try:
        yield
    except WireError as problem:
        raise error(str(problem)) from problem
