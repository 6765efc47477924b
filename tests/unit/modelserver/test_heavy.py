"""Turns of heavy requests."""

import threading
import time
from itertools import pairwise

import pytest

from infra.modelserver.errors import StatusError
from infra.modelserver.heavy import Turns


def test_one_reads_at_a_time_and_rests_as_long_as_it_took() -> None:
    turns, spans = Turns(), list[tuple[float, float]]()

    def read() -> None:
        with turns.turn(30.0):
            began = time.monotonic()
            time.sleep(0.05)
            spans.append((began, time.monotonic()))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (began, ended), (next_began, _) in pairwise(spans):
        assert next_began - ended >= 0.9 * (ended - began)


def test_a_turn_that_does_not_come_in_time_is_refused_and_later_ones_come() -> None:
    turns = Turns()
    with turns.turn(None), pytest.raises(StatusError, match="Timed out"), turns.turn(0.01):
        pass
    with turns.turn(5.0):
        pass


def test_the_turn_ends_with_an_error_too() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="bad"), turns.turn(None):
        raise ValueError("bad")
    with turns.turn(5.0):
        pass
