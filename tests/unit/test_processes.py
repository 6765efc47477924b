"""A process is told from a later one with the same number."""

import dataclasses
import json
import subprocess
import sys

from tasks import processes


def test_the_process_that_asks_is_not_gone() -> None:
    assert not processes.is_gone(processes.this_process())


def test_a_process_that_ended_is_gone() -> None:
    ask = (
        "import dataclasses, json; from tasks.processes import *; print(json.dumps(dataclasses.asdict(this_process())))"
    )
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True, text=True).stdout
    assert processes.is_gone(processes.ProcessRef(**json.loads(told)))


def test_another_process_under_the_same_number_is_not_the_one_that_was() -> None:
    me = processes.this_process()
    assert processes.is_gone(dataclasses.replace(me, started=me.started - 1))
    assert processes.is_gone(dataclasses.replace(me, boot="an earlier boot"))


def test_a_process_on_another_machine_is_not_known_to_be_gone() -> None:
    assert not processes.is_gone(dataclasses.replace(processes.this_process(), host="elsewhere", pid=1))
