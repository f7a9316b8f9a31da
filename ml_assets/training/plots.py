"""Pictures of an evaluation, as matplotlib figures that need no display."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.training.evaluation import Evaluation

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_MOST_LABELS = 60
"""Of a confusion plot: more are not readable, and a thousand are a picture of gigabytes."""


def confusion_plot(evaluation: Evaluation) -> Figure:
    """The confusion matrix, each row in shares of its label, with the counts written in.

    Of many labels, those 60 that are confused most, with each other and with the rest.
    """
    import numpy as np
    from matplotlib.figure import Figure

    shown = _most_confused(evaluation.confusion)
    labels = [evaluation.labels[place] for place in shown]
    confusion = evaluation.confusion[np.ix_(shown, shown)]
    of_label = evaluation.confusion.sum(axis=1)[shown, None]
    shares = confusion / np.maximum(of_label, 1)
    size = max(3.5, 0.35 * len(labels))
    figure = Figure(figsize=(size + 1.5, size + 1))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=7)
    # A label is no formula, whatever dollar signs are in it.
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, fontsize=7, parse_math=False)
    axes.set(xlabel="answered", ylabel="right answer")
    if len(labels) < len(evaluation.labels):
        title = f"the {len(labels)} of {len(evaluation.labels)} labels that are confused most"
        axes.set_title(title, fontsize=9)
    return figure


def _most_confused(confusion: NDArray[np.int64]) -> NDArray[np.intp]:
    """The places of the labels that stand most often for another one, or another one for them."""
    import numpy as np

    wrong = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * confusion.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:_MOST_LABELS])


def reliability_plot(evaluation: Evaluation) -> Figure:
    """Accuracy against confidence; the diagonal is perfect calibration."""
    from matplotlib.figure import Figure

    bins, error = evaluation.reliability, evaluation.metrics["calibration_error"]
    figure = Figure(figsize=(4, 3.5))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], marker="o", markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    axes.set_title(f"calibration error {error:.3f}", fontsize=9)
    return figure
