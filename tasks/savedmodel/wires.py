"""What REST and gRPC can carry of a signature: JSON lacks some dtypes, and no client reads a variant."""

from tasks.records import SignatureSpec, TensorSpec
from tasks.wire.dtypes import data_type


def unaskable(spec: SignatureSpec) -> str | None:
    """Why a signature can be asked over neither protocol; None if it can."""
    for name, tensor in spec.inputs.items():
        if not data_type(tensor.dtype).is_array:
            return f"input {_described(name, tensor)} cannot be sent"
    if not readable_outputs(spec):
        given = ", ".join(_described(name, tensor) for name, tensor in spec.outputs.items())
        return f"it gives nothing that a client can read, only {given}" if given else "it has no output"
    return None


def readable_outputs(spec: SignatureSpec) -> list[str]:
    """The outputs that a client can read: all but variants and handles of resources."""
    return [name for name, tensor in spec.outputs.items() if data_type(tensor.dtype).is_array]


def unread_note(spec: SignatureSpec) -> str | None:
    """What a reader should know of outputs that nobody can read; None if there are none."""
    others = [_described(n, t) for n, t in spec.outputs.items() if not data_type(t.dtype).is_array]
    if not others:
        return None
    return f"output {', '.join(others)} cannot be read: clients leave it out (output_filter), and so did validation"


def rest_note(spec: SignatureSpec) -> str | None:
    """Why a signature cannot be asked over REST, and what to do if it should be; None if it can."""
    for what, tensors in (("input", spec.inputs), ("output", spec.outputs)):
        lacking = {name: tensor for name, tensor in tensors.items() if not data_type(tensor.dtype).in_json}
        if lacking:
            named = ", ".join(_described(name, tensor) for name, tensor in lacking.items())
            half = {tensor.dtype for tensor in lacking.values()} <= {"float16", "bfloat16"}
            advice = '; a Keras model gives float32 if its last layer has dtype="float32"' if half else ""
            return f"REST cannot carry {what} {named}{advice if what == 'output' else ''}"
    return None


def _described(name: str, tensor: TensorSpec) -> str:
    return f"{name!r} ({tensor.dtype})"
