import pytest

from tasks.savedmodel.messages import reason


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Graph execution error:\n\ntoo dark\n\t [[{{node a}}]]", "too dark"),
        ("{{function_node f}} {{node g}} too dark [Op:g]", "too dark [Op:g]"),
        (
            "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n"
            '  File "m.py", line 1, in f\n\n    call()\n\ntoo dark\n\t [[{{node a}}]] [Op:f]',
            "too dark",
        ),
        (
            "Graph execution error:\n\n2 root error(s) found.\n  (0) INVALID_ARGUMENT:  too dark\n\t [[{{node a}}]]\n"
            "  (1) INVALID_ARGUMENT:  too bright",
            "(0) INVALID_ARGUMENT:  too dark",
        ),
        (
            "Exception encountered when calling Sequential.call().\n\n\x1b[1mInput 0 is incompatible.\x1b[0m\n\n"
            "Arguments received by Sequential.call():",
            "Input 0 is incompatible",
        ),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_is_what_is_said_without_headings_and_traces(message: str, expected: str) -> None:
    assert reason(RuntimeError(message)) == expected
