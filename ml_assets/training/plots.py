"""Pictures of an evaluation, as matplotlib figures that need no display."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.training.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_plot(evaluation: Evaluation) -> Figure:
    """The confusion matrix, each row in shares of its label, with the counts written in."""
    import numpy as np
    from matplotlib.figure import Figure

    labels, confusion = evaluation.labels, evaluation.confusion
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    size = max(3.5, 0.35 * len(labels))
    figure = Figure(figsize=(size + 1.5, size + 1))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=7)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set(xlabel="answered", ylabel="right answer")
    return figure


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
