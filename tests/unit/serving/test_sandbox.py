"""The sandbox: its ports, and what its model server said before it ended."""

import random

from tasks.serving.sandbox import _free_ports, last_log_lines

OUT_OF_MEMORY = """\
12:00:01 I loading models
server: the models did not load: RESOURCE_EXHAUSTED: OOM when allocating tensor with shape[600,262144]
\t [[{{node RestoreV2}}]]
Hint: If you want to see a list of allocated tensors, add report_tensor_allocations_upon_oom to RunOptions.
}, }
"""


def test_trainings_with_one_seed_draw_different_ports() -> None:
    drawn = []
    for _ in range(2):
        random.seed(42)
        drawn += _free_ports(4)
    assert len(set(drawn)) > 4
    assert all(port < 32768 for port in drawn)


def test_what_went_wrong_is_not_lost_behind_hints_and_traces() -> None:
    assert last_log_lines(OUT_OF_MEMORY) == (
        "12:00:01 I loading models server: the models did not load: RESOURCE_EXHAUSTED: OOM when allocating tensor "
        "with shape[600,262144]"
    )
    assert last_log_lines("") == ""
    assert last_log_lines("a\nb\nc\nd\n") == "b c d"
