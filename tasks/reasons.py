"""What the errors of TensorFlow and Keras say, in one line."""

import re

_NOISE = re.compile(r"\x1b\[[0-9;]*m|\[\[\{\{.*?\}\}\]\]|\{\{.*?\}\} *")  # colours, and names of the graph's nodes
# Lines of a trace are indented. Of several errors TensorFlow lists each, also indented; the first begins with (0).
_HEADING = re.compile(
    r"Graph execution error|Detected at node|<stack traces|\d+ root error|Exception encountered when calling"
    r"|\s(?!\s*\(0\))"
)


def reason(error: BaseException) -> str:
    """What `error` says, without headings, traces of the graph, the names of its nodes and a full stop."""
    text = _NOISE.sub("", str(getattr(error, "message", error)))
    lines = [line for line in text.splitlines() if line.strip() and not _HEADING.match(line)]
    return lines[0].strip().removesuffix(".") if lines else type(error).__name__
