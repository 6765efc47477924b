"""Asking golden examples, and measuring how long the answers take."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.errors import ServingUnreachable, SlipwayError
from tasks.policy import Policy
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
    advice: str | None = None  # what to do about it, if that is known


def ask_examples(examples: Sequence[GoldenExample], ask: Ask, version: int, policy: Policy) -> Answers:
    """Ask the examples of one signature, up to the first wrong answer.

    Args:
        version: the one that must answer.
        policy: says how answers are compared.

    Raises:
        ServingUnreachable: no answer, which says nothing about the version.
    """
    times: list[float] = []
    wrong = advice = None
    for example in examples:
        try:
            answer = ask(example.inputs)
            times.append(answer.seconds)
            wrong = _wrong(example, answer, version, policy)
            if wrong is not None and (name := _changing(answer, ask(example.inputs), policy)) is not None:
                wrong, advice = f"{wrong}; and answers differ though the same was asked twice", _if_changing(name)
        except ServingUnreachable:
            raise
        except SlipwayError as error:
            wrong = wrong or " ".join(str(error).split())
        if wrong is not None:
            break
    return Answers(sum(map(_rows, examples)), statistics.median(times) if times else 0.0, wrong, advice)


def _wrong(example: GoldenExample, answer: Answer, version: int, policy: Policy) -> str | None:
    if answer.version not in (None, version):
        return f"version {answer.version} answered, not {version}"
    different = golden.compare(example.outputs, answer.outputs, policy.answer_tolerance, policy.compare)
    return next(iter(different), None) or golden.without_answer(example.inputs, answer.outputs)


def _changing(first: Answer, second: Answer, policy: Policy) -> str | None:
    """An output that differs though the same version was asked the same; None if there is none."""
    if first.version != second.version or first.outputs.keys() != second.outputs.keys():
        return None
    for name, array in first.outputs.items():
        if golden.compare({name: array}, {name: second.outputs[name]}, policy.answer_tolerance, policy.compare):
            return name
    return None


def _if_changing(output: str) -> str:
    line = f'compare.{json.dumps(output)} = "shape"'
    return (
        f"If output {output!r} is meant to be drawn at random, have only its shape compared, by a policy with the line "
        f"{line} (--policy FILE). If not, export the model without what makes it change: Dropout or augmentation "
        "called with training=True, or a variable that a call assigns."
    )


@dataclass(frozen=True)
class Pairs:
    """What came of asking golden examples of a version and of the live one, in turn."""

    seconds: tuple[float, ...]  # of this version's answers
    live: tuple[float, ...]  # of the live version's, to the same examples; empty if it does not answer them
    wrong: str | None  # what is wrong with this version's first wrong answer, or None


def ask_pairs(examples: Sequence[GoldenExample], ask: Ask, ask_live: Ask | None, version: int, policy: Policy) -> Pairs:
    """Ask each example of a version and then of the live one: what slows the machine down, slows both.

    Args:
        ask_live: None if there is no live version, or it cannot be asked this.
        version, policy: as for `ask_examples`.

    Raises:
        ServingUnreachable: no answer of the version, which says nothing about it.
    """
    new, live = [], []
    for example in examples:
        answer = ask_examples([example], ask, version, policy)
        new.append(answer.seconds)
        if answer.wrong is not None:
            return Pairs(tuple(new), (), answer.wrong)
        try:
            live += [ask_live(example.inputs).seconds] if ask_live is not None else []
        except SlipwayError:
            ask_live, live = None, []
    return Pairs(tuple(new), tuple(live), None)


def _rows(example: GoldenExample) -> int:
    first = next(iter(example.inputs.values()), None)
    return len(first) if first is not None and first.ndim else 1
