"""Pictures of how good a model is, as PNG bytes."""

import io
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.wire.dtypes import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
_MOST_COUNTED = 25  # classes; beyond it a number no longer fits into its cell
_LONGEST_NAME = 24  # characters of a class's
_MOST_LABELS = 40  # of classes along one side
_INK, _MUTED, _GRID = "#1f2933", "#6b7785", "#d9dee3"
_RIGHT, _WRONG = "Blues", "Oranges"
_BAR, _BAR_WEAK = "#2b6ca3", "#d9822b"
_WEAK = 0.9  # share of the mean accuracy below which a class is coloured as weak


def confusion_matrix(counts: Array, title: str, classes: Sequence[str] = ()) -> bytes:
    """The confusion matrix as a picture: how often each true class was predicted as which.

    A cell's number is its count; its shade the share of the true class, to compare classes of unequal size.

    Args:
        counts: whole numbers `[C, C]`, rows the true class, columns the predicted one.
        title: what was evaluated: model, version or run. The accuracy is added.
        classes: names of the C classes; their numbers where empty.
    """
    names = _shown(classes, len(counts))
    side = min(3.4 + 0.46 * len(counts), 14.0)
    figure = _figure(side + 0.6, side)
    axes = figure.add_subplot()
    shares = _shares(counts)
    diagonal = np.eye(len(counts), dtype=bool)
    axes.imshow(np.where(diagonal, shares, np.nan), cmap=_RIGHT, vmin=0, vmax=1.2)
    # A few mistakes in a hundred are already worth seeing: the scale of mistakes ends where the worst one is.
    worst = max(float(np.where(diagonal, 0, shares).max(initial=0)), 0.05)
    axes.imshow(np.where(diagonal | (counts == 0), np.nan, shares), cmap=_WRONG, vmin=0, vmax=worst * 1.6)
    if len(counts) <= _MOST_COUNTED:
        _write_counts(axes, counts, shares)
    labelled = range(0, len(names), -(-len(names) // _MOST_LABELS))
    axes.set_xticks(labelled, [names[i] for i in labelled], rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(labelled, [names[i] for i in labelled])
    axes.set_xticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.grid(which="minor", color=_GRID, linewidth=0.6)
    axes.set_xlabel("predicted class", color=_INK, labelpad=8)
    axes.set_ylabel("true class", color=_INK, labelpad=8)
    _tidy(axes, [""])
    right, total = int(np.trace(counts)), int(counts.sum())
    _head(axes, title, f"accuracy {right / max(total, 1):.2%}: {right:,} of {total:,} held-out examples")
    return _png(figure)


def class_accuracy(right: Sequence[int], totals: Sequence[int], title: str, classes: Sequence[str] = ()) -> bytes:
    """The accuracy of each true class as bars, with the accuracy of all as a line.

    Args:
        right: how many examples of each of the C classes were recognised.
        totals: how many there are.
        title: what was evaluated: model, version or run.
        classes: names of the C classes; their numbers where empty.
    """
    names = _shown(classes, len(totals))
    shares = np.array(right) / np.maximum(totals, 1)
    mean = sum(right) / max(sum(totals), 1)
    shown = np.sort(np.argsort(shares, kind="stable")[:_MOST_LABELS])
    figure = _figure(7.2, 1.7 + 0.32 * len(shown))
    axes = figure.add_subplot()
    colors = [_BAR_WEAK if shares[i] < mean * _WEAK else _BAR for i in shown]
    axes.barh(range(len(shown)), shares[shown], color=colors, height=0.66)
    axes.axvline(mean, color=_INK, linewidth=1.0, linestyle=(0, (4, 3)))
    for place, i in enumerate(shown):
        label = f"{shares[i]:.1%}   {right[i]:,} of {totals[i]:,}" if totals[i] else "no example"
        axes.text(1.015, place, label, va="center", ha="left", fontsize=8.5, color=_INK)
    axes.set_yticks(range(len(shown)), [names[i] for i in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the class that was recognised", color=_INK, labelpad=6)
    axes.set_ylabel("true class", color=_INK, labelpad=8)
    _tidy(axes, ["bottom"])
    which = "each class" if len(shown) == len(names) else f"the {len(shown)} weakest of {len(names)} classes"
    _head(axes, title, f"accuracy of {which}; dashed: of all classes, {mean:.2%}")
    return _png(figure)


def _shown(classes: Sequence[str], count: int) -> list[str]:
    """Names short enough for a side of a picture; a dollar sign would begin a formula."""
    names = classes or tuple(map(str, range(count)))
    cut = (name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names)
    return [name.replace("$", r"\$") for name in cut]


def _shares(counts: Array) -> Array:
    """Each cell's share of its row, 0 where the row is empty."""
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _write_counts(axes: "Axes", counts: Array, shares: Array) -> None:
    for row, column in itertools.product(range(len(counts)), range(len(counts))):
        if count := int(counts[row, column]):
            dark = row == column and shares[row, column] > 0.6
            color, weight = ("white" if dark else _INK), ("bold" if row == column else "normal")
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=9, color=color, fontweight=weight)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15), facecolor="white")


def _head(axes: "Axes", title: str, below: str) -> None:
    place: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    axes.annotate(below, xytext=(0, 8), fontsize=9.5, color=_MUTED, **place)
    axes.annotate(title, xytext=(0, 24), fontsize=12.5, color=_INK, fontweight="bold", **place)


def _tidy(axes: "Axes", spines: list[str]) -> None:
    axes.tick_params(which="both", length=0, labelsize=9.5, labelcolor=_INK)
    for name, spine in axes.spines.items():
        spine.set_visible(name in spines)
        spine.set_color(_GRID)


def _png(figure: "Figure") -> bytes:
    data = io.BytesIO()
    # Without a date or a program's name in it, equal figures are equal bytes.
    figure.savefig(data, format="png", dpi=_DPI, metadata={"Software": None})
    return data.getvalue()
