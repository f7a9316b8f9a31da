"""How good answers are on parts of the documents: by collection, by length, by time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import label_f1, positions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_THIRDS = ("least", "middle", "most")


def thirds(values: Sequence[Any]) -> list[str]:
    """Whether each value is among the `least`, the `middle` or the `most` third, by rank."""
    import numpy as np

    ordered = np.sort(np.asarray(values))
    bounds = [ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]]
    return [_THIRDS[place] for place in np.searchsorted(bounds, np.asarray(values), side="right")]


def slices(
    labels: Sequence[str],
    truth: NDArray[np.object_],
    probabilities: NDArray[np.floating],
    by: Mapping[str, NDArray[np.object_]],
) -> Iterator[dict[str, Any]]:
    """Accuracy and macro-F1 of each value of each key, macro-F1 over the labels that are there."""
    import numpy as np

    right, given = positions(labels, truth), probabilities.argmax(axis=1)
    for key, values in by.items():
        for value in sorted(set(values)):
            rows = values == value
            yield {
                "by": key,
                "value": value,
                "documents": int(rows.sum()),
                "accuracy": float((right[rows] == given[rows]).mean()),
                "macro_f1": float(np.nanmean(label_f1(right[rows], given[rows], len(labels)))),
            }
