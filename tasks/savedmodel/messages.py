"""The errors of TensorFlow and Keras in one line each, and what to do about them."""

import re
from dataclasses import dataclass

_NOISE = re.compile(r"\x1b\[[0-9;]*m|\[\[\{\{.*?\}\}\]\]|\{\{.*?\}\} *")  # colours, and names of the graph's nodes
# Lines of a trace are indented. Of several errors TensorFlow lists each, also indented; the first begins with (0).
_HEADING = re.compile(
    r"Graph execution error|Detected at node|<stack traces|\d+ root error|Exception encountered when calling"
    r"|\s(?!\s*\(0\))"
)


def reason(error: BaseException) -> str:
    """The message of `error` without headings, traces of the graph, names of its nodes and the full stop."""
    text = _NOISE.sub("", str(getattr(error, "message", error)))
    lines = [line for line in text.splitlines() if line.strip() and not _HEADING.match(line)]
    return lines[0].strip().removesuffix(".") if lines else type(error).__name__


@dataclass(frozen=True)
class Failure:
    """Why a question was not answered."""

    kind: str  # TensorFlow's error, such as InvalidArgumentError
    message: str


def advice(failure: Failure) -> str:
    """What to do about a signature that fails."""
    if "Could not find variable" in failure.message or failure.kind in ("FailedPreconditionError", "NotFoundError"):
        return (
            "Its weights are not restored when it is loaded, as with every Keras 3 model that tf.saved_model.save "
            "wrote: export it with model.export(folder) or keras.export.ExportArchive."
        )
    return "Try the model on these inputs in Python, repair it and export it again."
