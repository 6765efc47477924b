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
        (
            "Exception encountered when calling M.call().\n\n\x1b[1min user code:\n\n"
            '    File "m.py", line 10, in call  *\n        return self.scaled(inputs)\n'
            '    File "m.py", line 7, in scaled  **\n\n'
            "    RuntimeError: module 'shop' has no attribute 'SCALE'\n\x1b[0m\n\n"
            "Arguments received by M.call():\n  • inputs=tf.Tensor(shape=(None, 28, 28, 1), dtype=float32)",
            "module 'shop' has no attribute 'SCALE'",
        ),
        (
            'in user code:\n\n    File "m.py", line 3, in step  **\n        self(x)\n\n'
            "    RuntimeError: Exception encountered when calling M.call().\n    \n    in user code:\n    \n"
            '        File "m.py", line 10, in call  *\n            d["scale"]\n    \n'
            "        KeyError: 'scale'\n    \n"
            "    Arguments received by M.call():\n      • training=True",
            "KeyError: 'scale'",
        ),
        (
            'in user code:\n\n    File "m.py", line 10, in call  *\n        raise RuntimeError\n\n    RuntimeError: \n',
            "RuntimeError",
        ),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_is_what_is_said_without_headings_and_traces(message: str, expected: str) -> None:
    assert reason(RuntimeError(message)) == expected
