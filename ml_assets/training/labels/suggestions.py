"""Which documents to label next: those that a model doubts, and that are unlike each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def uncertainty(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 - the lead of the likeliest label, shape (documents,): 0 is sure, 1 is a tie.

    Margin sampling (Scheffer, Decomain and Wrobel, "Active Hidden Markov Models", 2001).
    """
    import numpy as np

    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    margins: NDArray[np.float64] = 1 - (first - second)
    return margins


def choose(
    doubts: NDArray[np.float64], vectors: NDArray[np.float32], count: int
) -> NDArray[np.intp]:
    """The places of at most `count` documents to label, the first choice first.

    Each has the greatest product of its doubt and its distance (1 - cosine) to the nearest that was
    chosen before: a greedy cover of what is doubted, after Sener and Savarese, "Active Learning for
    Convolutional Neural Networks: A Core-Set Approach" (2018). `vectors` are units.
    """
    import numpy as np

    chosen: list[int] = []
    distances = np.ones(len(doubts))
    left = np.ones(len(doubts), dtype=bool)
    while left.any() and len(chosen) < count:
        place = int(np.argmax(np.where(left, doubts * distances, -1)))
        chosen.append(place)
        left[place] = False
        np.minimum(distances, np.clip(1 - vectors @ vectors[place], 0, 1), out=distances)
    return np.array(chosen, dtype=np.intp)
