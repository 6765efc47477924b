"""The errors of TensorFlow and Keras in one line each, and what to do about them."""

import re
from dataclasses import dataclass

# Colours, names of the graph's nodes, and what Keras says at the end.
_NOISE = re.compile(r"\x1b\[[0-9;]*m|\[\[\{\{.*?\}\}\]\]|\{\{.*?\}\} *|\n\s*Arguments received by[\s\S]*")
# Lines of a trace are indented. Of several errors TensorFlow lists each, also indented; the first begins with (0).
_HEADING = re.compile(
    r"Graph execution error|Detected at node|<stack traces|\d+ root error|Exception encountered when calling"
    r"|\s(?!\s*\(0\))"
)
# AutoGraph's message: this heading, then a trace, then the error's type and message, all of it indented.
_USER_CODE = "in user code:"
_FRAME = re.compile(r'^[ \t]*File ".*", line \d+.*\n(?:(?![ \t]*File ")[ \t]+\S.*\n)?', re.MULTILINE)


def reason(error: BaseException) -> str:
    """The message of `error` without headings, traces of the graph or of code, names of nodes and the full stop."""
    kind = type(error).__name__
    text = _NOISE.sub("", str(getattr(error, "message", error)))
    _, traced, told = text.rpartition(_USER_CODE)
    lines = _FRAME.sub("", told).splitlines()
    if traced:
        lines = [line.strip().removeprefix(f"{kind}:").strip() for line in lines]
    said = [line for line in lines if line.strip() and not _HEADING.match(line)]
    return said[0].strip().removesuffix(".") if said else kind


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
