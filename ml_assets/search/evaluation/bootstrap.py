"""How sure a measured quality is: bootstrap intervals over queries, and methods query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml_assets.search.evaluation.measurement import Comparison, Interval
from ml_assets.search.evaluation.metrics import Metrics

RESAMPLES = 2000
CONFIDENCE = 0.95

_EQUAL = 1e-9


def bootstrap_interval(values: Sequence[float], seed: int) -> Interval:
    """The 95 % interval of the mean of `values`, one per query; the same for the same seed.

    The queries are drawn again with replacement, 2,000 times; the interval is that of the
    percentiles. There must be a value.

    Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; for
    retrieval: T. Sakai, "Evaluating Evaluation Metrics based on the Bootstrap", SIGIR 2006.
    """
    (interval,) = _intervals(np.asarray(values, dtype=np.float64)[:, None], seed)
    return interval


def mean_metrics(rows: Sequence[Metrics]) -> Metrics:
    """The mean of each metric over queries, and how many `queries` there are."""
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**means, "queries": len(rows)}


def metric_intervals(rows: Sequence[Metrics], seed: int) -> dict[str, Interval]:
    """The interval of each metric's mean over queries."""
    values = np.array([list(row.values()) for row in rows])
    return dict(zip(rows[0], _intervals(values, seed), strict=True))


def compare(
    values: Mapping[str, Mapping[str, float]], method: str, others: Sequence[str], seed: int
) -> Comparison:
    """Compare `method` with that one of `others` whose mean is best; all on the same queries.

    `values` is, by method, a metric by query.
    """
    means = {name: np.mean(list(values[name].values())) for name in others}
    against = max(others, key=lambda name: means[name])
    differences = [value - values[against][query_id] for query_id, value in values[method].items()]
    wins = sum(gain > _EQUAL for gain in differences)
    losses = sum(gain < -_EQUAL for gain in differences)
    return Comparison(
        method,
        against,
        float(np.mean(differences)),
        bootstrap_interval(differences, seed),
        wins,
        len(differences) - wins - losses,
        losses,
    )


def _intervals(values: NDArray[np.float64], seed: int) -> list[Interval]:
    """One interval per column of `values`, of shape (queries, columns)."""
    queries = len(values)
    generator = np.random.default_rng(seed)
    # How often each resample holds each query.
    draws = generator.multinomial(queries, np.full(queries, 1 / queries), RESAMPLES)
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws @ values / queries, [rest, 1 - rest], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
