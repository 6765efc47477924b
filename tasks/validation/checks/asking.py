"""Asking golden examples, and measuring how long the answers take."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.errors import ServingUnreachable, SlipwayError
from tasks.savedmodel import golden
from tasks.savedmodel.golden import GoldenExample
from tasks.serving.client import Answer
from tasks.wire.dtypes import Array

Ask = Callable[[Mapping[str, Array]], Answer]  # an example's inputs, answered


@dataclass(frozen=True)
class Answers:
    """What came of asking one signature's golden examples."""

    examples: int  # rows of all
    seconds: float  # median time of an answer
    wrong: str | None  # what is wrong with the first wrong one, or None


def ask_examples(examples: Sequence[GoldenExample], ask: Ask, version: int, tolerance: float) -> Answers:
    """Ask the examples of one signature, up to the first wrong answer.

    Args:
        version: the one that must answer.
        tolerance: of floats, absolute and relative.

    Raises:
        ServingUnreachable: no answer, which says nothing about the version.
    """
    times: list[float] = []
    wrong = None
    for example in examples:
        try:
            answer = ask(example.inputs)
        except ServingUnreachable:
            raise
        except SlipwayError as error:
            wrong = " ".join(str(error).split())
            break
        times.append(answer.seconds)
        if answer.version not in (None, version):
            wrong = f"version {answer.version} answered, not {version}"
            break
        wrong = next(iter(golden.compare(example.outputs, answer.outputs, tolerance)), None)
        wrong = wrong or golden.without_answer(example.inputs, answer.outputs)
        if wrong is not None:
            break
    return Answers(sum(map(_rows, examples)), statistics.median(times) if times else 0.0, wrong)


def median_seconds(examples: Sequence[GoldenExample], ask: Ask) -> float:
    """Median time of the answers in seconds, right or wrong; infinity if there are none."""
    try:
        return statistics.median(ask(example.inputs).seconds for example in examples)
    except SlipwayError:
        return math.inf


def _rows(example: GoldenExample) -> int:
    first = next(iter(example.inputs.values()), None)
    return len(first) if first is not None and first.ndim else 1
