"""How good a model is on examples that training never saw: figures by the kind of each label."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.errors import NotServable
from tasks.records import ScoredOutput
from tasks.wire.dtypes import Array

CLASS_ACCURACY = "accuracy_class_"
_SMALLEST = 1e-7  # probability that the loss counts with at least, so that it stays finite
_LONGEST_NAME = 80  # characters of a class's name within a metric's

Answers = Mapping[str, Array]  # by label, as the outputs give them: [N, …]

# A recipe's own score, run where its code may run: of the labels, the answers of each model, and sets of rows, each as
# row numbers int64 [n] in which a row may be repeated. It gives float64 [models, sets] by the metric's name.
Score = Callable[[Mapping[str, Array], Sequence[Answers], Sequence[Array]], Mapping[str, Array]]


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure as a function of means over rows, so that it can be had of any resample of them.

    The accuracy of bool `rows` is their mean: such rows are right or wrong.
    """

    rows: Array  # bool [N], or float64 [N, k]
    of: Callable[[Array], Array] = lambda means: means[..., 0]  # means float64 [..., k] → figures [...]

    @property
    def value(self) -> float:
        """The figure over all rows."""
        return float(self.of(self.columns.mean(axis=0)))

    @property
    def columns(self) -> Array:
        """The rows as float64 `[N, k]`."""
        return self.rows.reshape(len(self.rows), -1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often each true class was answered as which."""

    classes: tuple[str, ...]
    counts: Array  # int64 [C, C], rows the true class, columns the answered one

    @property
    def by_class(self) -> tuple[tuple[str, int, int], ...]:
        """For each class that occurs: its name, how many of its examples were recognised, and how many there are."""
        right, totals = np.diag(self.counts), self.counts.sum(axis=1)
        return tuple((name, int(r), int(n)) for name, r, n in zip(self.classes, right, totals, strict=True) if n)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model's answers held against the labels of `rows` examples."""

    rows: int
    figures: Mapping[str, Figure]
    confusions: Mapping[str, ConfusionMatrix]  # by label, of those that are classes

    def metrics(self) -> dict[str, float]:
        """By name, which is `LABEL/NAME` if there are several labels.

        Of classes `accuracy` in 0..1, `loss` (mean cross-entropy) and `accuracy_class_7` for each class that occurs; of
        flags `f1` (over all of them) and `accuracy` (share of them that are right); of numbers `mae`, `rmse`, `r2`.
        """
        return {name: figure.value for name, figure in self.figures.items()}

    @property
    def confusion(self) -> ConfusionMatrix | None:
        """That of the only label that is a class, None if there are several or none."""
        return next(iter(self.confusions.values())) if len(self.confusions) == 1 else None

    def confusion_of(self, metric: str) -> ConfusionMatrix | None:
        """That of the label which a metric of classes is for, None for any other metric."""
        label, _, name = metric.rpartition("/")
        if name != "accuracy":
            return None
        return next((found for own, found in self.confusions.items() if not label or _safe(own) == label), None)


def evaluate(
    labels: Mapping[str, Array],
    answers: Mapping[str, Array],
    outputs: Mapping[str, ScoredOutput],
    several: bool | None = None,
) -> Evaluation:
    """Hold answers against labels.

    Args:
        labels: as the data has them, each `[N]` or `[N, k]`, by name.
        answers: as the output of each label gives them, `[N, …]`.
        outputs: what these are, by label. Labels without one do not count.
        several: whether metrics have their label's name before their own; None: if there are several outputs.

    Raises:
        NotServable: the answers are not one for each row, or are no numbers.
    """
    figures: dict[str, Figure] = {}
    confusions: dict[str, ConfusionMatrix] = {}
    for label, output in outputs.items():
        truth, answer = labels[label], _numbers(answers[label], len(labels[label]), output.output)
        if output.kind in ("classes", "binary"):
            found, confusions[label] = _of_classes(truth, answer, output)
        else:
            found = _of_flags(truth, answer) if output.kind == "flags" else _of_numbers(truth, answer, output.output)
        prefix = f"{_safe(label)}/" if (len(outputs) > 1 if several is None else several) else ""
        figures |= {prefix + name: figure for name, figure in found.items()}
    return Evaluation(len(next(iter(labels.values()))), figures, confusions)


def class_names(labels: Array, classes: Sequence[str] = ()) -> Array:
    """The class of each row by its name, str `[N]`: `str(label)`, which is how classes are compared.

    Args:
        labels: `[N]` or `[N, 1]` of any dtype; or `[N, C]` with one 1 in each row.
        classes: names of the C columns, and of the classes. Whole floats and flags that are not among them are numbers.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        numbers = labels.argmax(axis=1)
        return np.array([classes[number] if classes else str(number) for number in numbers])
    flat = labels.ravel()
    names = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in flat.tolist()]
    if flat.dtype.kind in "fb" and not {*names} & {*classes} and np.array_equal(flat, flat.astype(np.int64)):
        names = [str(int(value)) for value in flat]
    return np.array(names)


def metric_names(classes: Sequence[str]) -> dict[str, str]:
    """The metric's name for the accuracy of each class, of characters that MLflow takes."""
    found: dict[str, str] = {}
    for name in sorted(classes, key=lambda name: (len(name), name)):  # numbers in their order
        plain = CLASS_ACCURACY + _safe(name)
        found[name] = plain if plain not in found.values() else f"{plain}_{len(found)}"
    return found


def metric_in_words(name: str) -> str:
    """A metric's name as a sentence needs it."""
    label, _, metric = name.rpartition("/")
    plain = f"accuracy of class {metric.removeprefix(CLASS_ACCURACY)}" if CLASS_ACCURACY in metric else metric
    return f"{plain} of {label}" if label else plain


def value_in_words(metric: str, value: float) -> str:
    """A metric's value: shares with four decimals, others with four digits."""
    return f"{value:.4f}" if is_share(metric) else f"{value:.4g}"


def is_share(metric: str) -> bool:
    """Whether a metric is the share of what is right: in 0..1, and better if it is higher."""
    return metric.rpartition("/")[2].startswith(("accuracy", "f1"))


def _safe(name: str) -> str:
    return re.sub(r"[^\w.\- ]", "_", name)[:_LONGEST_NAME]


def _numbers(answer: Array, rows: int, output: str) -> Array:
    if not answer.ndim or len(answer) != rows:
        raise NotServable(f"Output {output!r} answers {list(answer.shape)} to {rows} rows: it must give one for each.")
    if answer.dtype.kind not in "iufb":
        raise NotServable(f"Output {output!r} answers {answer.dtype}, which cannot be scored: numbers are expected.")
    wrong = int((~np.isfinite(answer.astype(np.float64)).reshape(rows, -1).all(axis=1)).sum())
    if wrong:
        raise NotServable(f"Output {output!r} answers NaN or infinity to {wrong} of {rows} held-out rows.")
    return answer


def _of_classes(truth: Array, answer: Array, output: ScoredOutput) -> tuple[dict[str, Figure], ConfusionMatrix]:
    numbers, probabilities = _classified(answer, output.kind == "binary")
    known = output.classes
    if not known:
        size = probabilities.shape[1] if probabilities is not None else int(numbers.max(initial=-1)) + 1
        known = tuple(map(str, range(size)))
    # A number beyond the classes is a name of its own, and so always wrong.
    names = {number: known[number] if 0 <= number < len(known) else f"#{number}" for number in np.unique(numbers)}
    true, said = class_names(truth, output.classes).tolist(), [names[number] for number in numbers]
    every = (*known, *sorted({*true, *said} - {*known}))
    place = {name: number for number, name in enumerate(every)}
    rows, columns = (np.array([place[name] for name in found], np.int64) for found in (true, said))
    counts = np.zeros((len(every), len(every)), np.int64)
    np.add.at(counts, (rows, columns), 1)
    right = rows == columns
    figures = {"accuracy": Figure(right)}
    if probabilities is not None:
        padded = np.pad(probabilities, ((0, 0), (0, max(0, len(every) - probabilities.shape[1]))))
        likelihood = padded[np.arange(len(rows)), rows]
        figures["loss"] = Figure(-np.log(np.clip(likelihood, _SMALLEST, 1)))
    occurring = [every[number] for number in np.unique(rows)]
    for name, metric in metric_names(occurring).items():
        figures[metric] = Figure(right[rows == place[name]])
    return figures, ConfusionMatrix(every, counts)


def _classified(answer: Array, binary: bool) -> tuple[Array, Array | None]:
    """Class numbers `[N]`, and probabilities `[N, C]` if the answer has scores; scores may be logits."""
    if binary:
        second = _probabilities(answer.reshape(len(answer), -1)[:, -1])
        return (second > 0.5).astype(np.int64), np.stack([1 - second, second], axis=1)
    if answer.ndim == 1 or answer.dtype.kind in "iub":
        return answer.reshape(len(answer), -1)[:, 0].astype(np.int64), None
    values = answer.reshape(len(answer), -1).astype(np.float64)
    numbers = values.argmax(axis=1)
    if (values < 0).any() or not np.allclose(values.sum(axis=1), 1, atol=1e-2):
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    return numbers, values


def _probabilities(scores: Array) -> Array:
    """Scores as they are if all are in 0..1, else as logits."""
    values = scores.astype(np.float64)
    if ((values < 0) | (values > 1)).any():
        values = 0.5 * (1 + np.tanh(values / 2))  # the sigmoid, without overflow
    return values


def _of_flags(truth: Array, answer: Array) -> dict[str, Figure]:
    said = _probabilities(answer.reshape(len(answer), -1)) > 0.5
    true = truth.reshape(len(truth), -1).astype(np.float64) > 0.5
    counts = np.stack([(said & true).sum(axis=1), (said != true).sum(axis=1)], axis=1)
    return {"f1": Figure(counts, _f1), "accuracy": Figure((said == true).mean(axis=1))}


def _f1(means: Array) -> Array:
    """F1 from the means of hits and mistakes; 1 where there was nothing to find and nothing was found."""
    both = 2 * means[..., 0] + means[..., 1]
    return np.where(both > 0, 2 * means[..., 0] / np.where(both > 0, both, 1), 1.0)


def _of_numbers(truth: Array, answer: Array, output: str) -> dict[str, Figure]:
    true = truth.reshape(len(truth), -1).astype(np.float64)
    said = answer.reshape(len(answer), -1).astype(np.float64)
    if said.shape != true.shape:
        raise NotServable(f"Output {output!r} answers {said.shape[1]} numbers a row, the label has {true.shape[1]}.")
    error = said - true
    centred = true - true.mean(axis=0)  # a shift changes nothing in r2, and keeps squares of large values apart
    columns = np.concatenate([error**2, centred, centred**2], axis=1)
    return {
        "mae": Figure(np.abs(error).mean(axis=1)),
        "rmse": Figure((error**2).mean(axis=1), lambda means: np.sqrt(means[..., 0])),
        "r2": Figure(columns, _r2),
    }


def _r2(means: Array) -> Array:
    """Mean over the label's columns; 0 for one whose values are all equal."""
    squared, centred, squares = np.split(means, 3, axis=-1)
    variance = squares - centred**2
    each = np.where(variance > 0, 1 - squared / np.where(variance > 0, variance, 1), 0.0)
    return np.asarray(each.mean(axis=-1))


def in_words(metrics: Mapping[str, float]) -> str:
    """Figures in a line; those of single classes are left out."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if CLASS_ACCURACY not in name)
