"""How far apart two samples are, and how likely chance puts them so: effect sizes and tests.

Large samples make any difference significant, and small ones make chance look large; so a drift
needs both. All functions are pure; counts are those of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.features.drift.summary import Summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 10
"""Quantiles of the reference that are the bins of the PSI of a number."""

EXPECTED = 5
"""Rows that a category must be expected to have in the smaller sample, to be tested by itself."""

_ROUNDING = 1e-9
"""A deviation that is a smaller part of the mean comes of adding up equal numbers."""

_FOLDS = 5
_VECTORS = 50
_DIRECTIONS = 32
"""Principal directions that the domain classifier sees, each with its square."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Effect sizes of two samples, and the probability of so much between samples of one kind."""

    test: str
    p_value: float
    psi: float | None = None
    wasserstein: float | None = None
    effect: float | None = None


def numeric_difference(reference: Summary, current: Summary) -> Difference:
    """Compare two samples of a number: PSI, Wasserstein, Kolmogorov-Smirnov.

    PSI over the deciles of the reference. Wasserstein-1 in standard deviations of the reference, of
    both where that one is constant. The p-value is asymptotic, on the effective number of rows;
    values that repeat make it larger than it is.
    """
    import numpy as np
    from scipy.stats import kstwo, wasserstein_distance

    (first, before), (second, now) = reference.distribution(), current.distribution()
    values = np.unique(np.concatenate([first, second]))
    shares = [
        np.bincount(np.searchsorted(values, each), counts, len(values)) / counts.sum()
        for each, counts in ((first, before), (second, now))
    ]
    cumulative = [each.cumsum() for each in shares]
    distance = float(np.abs(cumulative[0] - cumulative[1]).max())
    effective = reference.known * current.known / (reference.known + current.known)
    spread = reference.deviation
    if spread <= _ROUNDING * abs(reference.mean):
        spread = _deviation(values, shares[0] + shares[1])
    return Difference(
        test="Kolmogorov-Smirnov",
        p_value=float(kstwo.sf(distance, max(1, round(effective)))),
        psi=psi(*binned(first, before, second, now)),
        wasserstein=float(wasserstein_distance(first, second, before, now)) / spread
        if spread
        else 0.0,
    )


def _deviation(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    import numpy as np

    mean = np.average(values, weights=weights)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def binned(
    first: NDArray[np.float64],
    before: NDArray[np.int64],
    second: NDArray[np.float64],
    now: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rows of two samples in the deciles of the first: values ascending, and rows of each.

    A bin ends with its decile, so that a value which many rows of the first share ends one.
    """
    import numpy as np

    ranks = np.arange(1, BINS) / BINS * before.sum()
    ends = np.unique(first[np.searchsorted(before.cumsum(), ranks)])
    rows = [
        np.bincount(np.searchsorted(ends, values), counts, len(ends) + 1).astype(np.float64)
        for values, counts in ((first, before), (second, now))
    ]
    some = (rows[0] + rows[1]) > 0
    return rows[0][some], rows[1][some]


def categorical_difference(reference: Summary, current: Summary) -> Difference:
    """Compare two samples of a category: PSI, chi-squared; new categories too.

    Categories with few rows are one, which is tested by itself, exactly: chi-squared does not hold
    for few, and which were unseen is known only afterwards.
    """
    from scipy.stats import chi2_contingency

    rows = _pooled(reference.counts, current.counts)
    before, now = rows
    rare = (int(before[-1]), int(now[-1]))
    chances = [shares_p_value(rare[0], reference.known, rare[1], current.known)]
    common = rows[:, :-1]
    if common.shape[1] > 1:
        chances.append(float(chi2_contingency(common, correction=False).pvalue))
    some = rows.sum(axis=0) > 0
    return Difference(
        test="chi-squared",
        p_value=min(1.0, min(chances) * len(chances)),
        psi=psi(before[some], now[some]),
    )


def _pooled(before: Mapping[str, int], now: Mapping[str, int]) -> NDArray[np.float64]:
    """Rows by category, (2, k + 1), the last one all those with few rows."""
    import numpy as np

    names = sorted({*before, *now})
    rows = np.array([[each.get(name, 0) for name in names] for each in (before, now)], np.float64)
    sizes = rows.sum(axis=1)
    enough = rows.sum(axis=0) * sizes.min() / sizes.sum() >= EXPECTED
    return np.column_stack([rows[:, enough], rows[:, ~enough].sum(axis=1)])


def psi(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Population stability index of two histograms, (k,): sum of (q - p) ln(q / p).

    Half a row is added to each bin, so that an empty one is not infinitely far.
    """
    import numpy as np

    p, q = (
        (rows + 0.5) / (rows.sum() + len(rows) / 2)
        for rows in (np.asarray(before, np.float64), np.asarray(now, np.float64))
    )
    return float(((q - p) * np.log(q / p)).sum())


def shares_difference(before: int, of_before: int, now: int, of_now: int) -> Difference:
    """Compare two shares of rows; the effect is their difference."""
    effect = now / of_now - before / of_before
    p_value = shares_p_value(before, of_before, now, of_now)
    return Difference("Fisher", p_value, effect=effect)


def shares_p_value(before: int, of_before: int, now: int, of_now: int) -> float:
    """Fisher's exact test of two shares, both sides."""
    from scipy.stats import fisher_exact

    table = [[before, of_before - before], [now, of_now - now]]
    return float(fisher_exact(table).pvalue)


def surplus_difference(
    before: Mapping[int, int], now: Mapping[int, int]
) -> tuple[Difference, tuple[float, float]]:
    """Compare the shares of rows that repeat another one, and return these too.

    `before` and `now`: how many groups of equal rows there are, by their size. A larger sample has
    more of them by chance alone: of both, what a sample of the smaller one's size is expected to
    have, as in rarefaction, with replacement: Heck, van Belle & Simberloff (1975), Ecology 56(6).
    """
    sizes = [sum(size * groups for size, groups in each.items()) for each in (before, now)]
    at = min(sizes)
    repeated = []
    for each, rows in zip((before, now), sizes, strict=True):
        distinct = sum(groups * (1 - (1 - at / rows) ** size) for size, groups in each.items())
        repeated.append(round((1 - distinct / at) * rows))
    difference = shares_difference(repeated[0], sizes[0], repeated[1], sizes[1])
    return difference, (repeated[0] / sizes[0], repeated[1] / sizes[1])


def domain_difference(
    reference: NDArray[np.float32], current: NDArray[np.float32], seed: int = 0
) -> Difference | None:
    """Compare two samples of vectors, (n, d) and (m, d), by a classifier that tells them apart.

    The effect is the AUC of its answers out of fold less .5, at least 0; the p-value is that of
    Mann and Whitney. Lopez-Paz & Oquab (2017), "Revisiting classifier two-sample tests", ICLR. It
    is a logistic regression on principal components and their squares, so that it sees what turned
    about a mean that stays. Equal vectors count once: what was learned by heart is no difference.
    None: with so few that differ a classifier learns nothing.
    """
    import numpy as np
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    samples = [np.unique(each, axis=0).astype(np.float64) for each in (reference, current)]
    generator = np.random.default_rng(seed)
    most = min(map(len, samples))
    if most < _VECTORS:
        return None
    first, second = (each[generator.choice(len(each), most, replace=False)] for each in samples)
    vectors = np.concatenate([first, second])
    vectors -= vectors.mean(axis=0)
    # On a busy machine two threads are several times slower than one.
    with threadpool_limits(1):
        _, directions = np.linalg.eigh(vectors.T @ vectors)
        placed = vectors @ directions[:, -_DIRECTIONS:]
        inputs = np.concatenate([placed, placed**2], axis=1)
        is_current = np.repeat([0, 1], most)
        answers = cross_val_predict(
            make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200)),
            inputs,
            is_current,
            cv=StratifiedKFold(_FOLDS, shuffle=True, random_state=seed),
            method="decision_function",
        )
    one, other = answers[is_current == 1], answers[is_current == 0]
    ranked = mannwhitneyu(one, other, alternative="greater")
    return Difference(
        test="domain classifier",
        p_value=float(ranked.pvalue),
        effect=max(0.0, float(ranked.statistic) / (most * most) - 0.5),
    )


def adjusted(p_values: Sequence[float]) -> list[float]:
    """The q-values of tests made together: Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57."""
    from scipy.stats import false_discovery_control

    given: list[float] = false_discovery_control(p_values).tolist() if len(p_values) else []
    return given
