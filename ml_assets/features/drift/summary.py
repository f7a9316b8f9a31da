"""Summaries of a feature's values that can be merged: counts by value, in a sketch for numbers.

The sketch is a histogram over the logarithm: a value x has the key round(1000 ln |x|) + 21000, with
the sign of x, and 0 below 1e-9. So keys sort as values do, a value is known to .05 %, and merging
adds up counts, without loss. The idea is that of DDSketch, Masson, Rim & Lee (2019), "DDSketch: a
fast and fully-mergeable quantile sketch with relative-error guarantees", PVLDB 12(12).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PER_UNIT = 1000
"""Keys for each unit of the natural logarithm."""

OFFSET = 21_000
"""The key of 1; the logarithm of `TINY` has a key above 0 with it."""

TINY = 1e-9
"""What is nearer to zero counts as zero."""

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""The quantiles that are kept of a day."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What `rows` values of one feature were; `missing` of them are not known.

    `counts` of a number (`numeric`) are by the key of the sketch, of a category by its name. `mean`
    and `deviation` (of the population) are those of the numbers themselves, nan without any.
    """

    numeric: bool
    rows: int
    missing: int
    counts: Mapping[Any, int]
    mean: float = nan
    deviation: float = nan

    @property
    def known(self) -> int:
        """How many values there are."""
        return self.rows - self.missing

    def distribution(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The values of a number's keys, ascending, (k,), and how many rows have each, (k,)."""
        import numpy as np

        keys = np.array(sorted(self.counts), np.int64)
        counts = np.array([self.counts[key] for key in keys.tolist()], np.int64)
        return values_of(keys), counts

    def quantiles(self, shares: Sequence[float] = QUANTILES) -> list[float]:
        """The values below which these shares of the known ones lie; empty without any."""
        import numpy as np

        values, counts = self.distribution()
        if not len(values):
            return []
        ranks = np.ceil(np.asarray(shares) * self.known).clip(1)
        quantiles: list[float] = values[np.searchsorted(counts.cumsum(), ranks)].tolist()
        return quantiles


def summarize_numbers(values: NDArray[np.float64]) -> Summary:
    """Summarize numbers, (n,); what is not finite is missing."""
    import numpy as np

    known = values[np.isfinite(values)]
    keys, counts = np.unique(keys_of(known), return_counts=True)
    return Summary(
        numeric=True,
        rows=len(values),
        missing=len(values) - len(known),
        counts=dict(zip(keys.tolist(), counts.tolist(), strict=True)),
        mean=float(known.mean()) if len(known) else nan,
        deviation=float(known.std()) if len(known) else nan,
    )


def summarize_categories(values: Iterable[str | None]) -> Summary:
    """Summarize names; None is missing."""
    counts = Counter(values)
    missing = counts.pop(None, 0)
    named = {str(name): count for name, count in counts.items()}
    return Summary(False, missing + sum(named.values()), missing, named)


def merge(summaries: Sequence[Summary]) -> Summary:
    """One summary of the values of all of them, which are of one kind; at least one.

    Mean and deviation: Chan, Golub & LeVeque (1983), "Algorithms for computing the sample
    variance", The American Statistician 37(3).
    """
    counts: Counter[int | str] = Counter()
    for each in summaries:
        counts.update(each.counts)
    filled = [each for each in summaries if each.known and each.numeric]
    known, mean, deviation = sum(each.known for each in filled), nan, nan
    if known:
        mean = sum(each.mean * each.known for each in filled) / known
        squares = sum((each.deviation**2 + (each.mean - mean) ** 2) * each.known for each in filled)
        deviation = sqrt(squares / known)
    return Summary(
        numeric=summaries[0].numeric,
        rows=sum(each.rows for each in summaries),
        missing=sum(each.missing for each in summaries),
        counts=counts,
        mean=mean,
        deviation=deviation,
    )


def keys_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The keys of finite numbers, (n,)."""
    import numpy as np

    sizes = np.abs(values)
    logarithms = np.log(np.maximum(sizes, TINY))
    keys = np.sign(values) * (np.rint(PER_UNIT * logarithms) + OFFSET)
    return np.where(sizes < TINY, 0, keys).astype(np.int64)


def values_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values that keys, (n,), stand for."""
    import numpy as np

    # Rounded up, the largest key would be more than a float holds.
    sizes = np.exp(np.minimum((np.abs(keys) - OFFSET) / PER_UNIT, 709.782))
    return np.where(keys == 0, 0.0, np.sign(keys) * sizes)
