"""One loaded model version: its signatures, and running them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a signature.

    dtype is NumPy's (object for strings, whose elements are bytes); data_type is TensorFlow's DataType number;
    shape holds -1 for an unknown dimension and is None for an unknown rank.
    """

    name: str
    dtype: np.dtype[Any]
    data_type: int
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """One entry of the SavedModel's signature map; aliases of inputs and outputs in alphabetical order."""

    name: str
    method_name: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]


class Servable:
    """A model version in memory. Thread-safe."""

    name: str
    version: int
    signatures: Mapping[str, Signature]
    signature_map_proto: Any  # tensorflow.serving.SignatureDefMap

    def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Array]:
        """Run a signature, blocking, with TensorFlow Serving's own checks of aliases first (predict_util.cc).

        inputs maps aliases to arrays (strings: object arrays of bytes); dtype and shape are the session's to judge.
        outputs filters by alias; None or empty means all. timeout is in seconds, None for no limit.
        Raises ServingError with TensorFlow's own code and text.
        """
        raise NotImplementedError
