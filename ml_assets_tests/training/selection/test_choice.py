"""The choice: within noise of the best macro-F1 the least log loss, then the cheaper."""

import numpy as np
import pytest

from ml_assets.training.evaluation import evaluate
from ml_assets.training.model import Candidate
from ml_assets.training.selection.choice import (
    RESAMPLES,
    choose,
    is_to_refit,
    noise,
    resampled_macro_f1,
)

DRAWS = np.random.default_rng(0).normal(0.7, 0.02, RESAMPLES)


def candidate(
    family: str,
    macro_f1: float,
    log_loss: float,
    seconds: float = 1.0,
    resampled: tuple[float, ...] = (),
    refitted_uri: str = "",
) -> Candidate:
    metrics = {
        "validation_macro_f1": macro_f1,
        "validation_log_loss": log_loss,
        "seconds": seconds,
        "test_macro_f1": 1 - macro_f1,
    }
    return Candidate(
        run_id=family,
        training_set_hash="",
        family=family,
        fingerprint=family,
        parameters={},
        metrics=metrics,
        model_uri="",
        refitted_uri=refitted_uri,
        resampled=resampled,
    )


def draws(macro_f1: float, spread: float, seed: int = 1) -> tuple[float, ...]:
    """Draws about a score, which differ from those of others by `spread`."""
    own = np.random.default_rng(seed).normal(0, spread, RESAMPLES)
    return tuple((DRAWS - 0.7 + macro_f1 + own).tolist())


def test_within_noise_the_least_log_loss_is_chosen() -> None:
    best = candidate("a", 0.76, 0.60, resampled=draws(0.76, 0))
    sure = candidate("b", 0.75, 0.50, resampled=draws(0.75, 0.02))
    assert choose([best, sure]) == choose([sure, best]) == sure


def test_beyond_noise_the_better_macro_f1_is_chosen() -> None:
    """Their draws go up and down together: what is left of the difference is small."""
    best = candidate("a", 0.76, 0.60, resampled=draws(0.76, 0))
    worse = candidate("b", 0.75, 0.50, resampled=draws(0.75, 0.002))
    assert choose([best, worse]) == best


def test_of_equal_losses_the_cheaper_is_chosen() -> None:
    slow = candidate("a", 0.76, 0.5001, seconds=9, resampled=draws(0.76, 0))
    quick = candidate("b", 0.76, 0.5003, seconds=2, resampled=draws(0.76, 0))
    assert choose([slow, quick]) == quick


def test_a_baseline_is_never_chosen() -> None:
    baseline = candidate("tfidf_baseline", 0.9, 0.1)
    assert choose([baseline]) is None
    assert choose([]) is None
    assert choose([baseline, candidate("a", 0.2, 2.0)]) == candidate("a", 0.2, 2.0)


def test_without_draws_the_best_macro_f1_is_chosen() -> None:
    assert choose([candidate("a", 0.76, 0.6), candidate("b", 0.75, 0.1)]).family == "a"


def test_the_chosen_one_alone_is_to_be_refitted() -> None:
    other, done = candidate("a", 0.5, 1.0), candidate("b", 0.9, 0.1, refitted_uri="models:/m")
    assert not is_to_refit([])
    assert is_to_refit([other])
    assert not is_to_refit([other, done])


def test_noise_is_that_of_the_paired_difference() -> None:
    one, other = (
        candidate(n, 0.7, 1.0, resampled=draws(0.7, s)) for n, s in (("a", 0), ("b", 0.01))
    )
    assert noise(one, other) == pytest.approx(0.01, rel=0.1)
    assert noise(one, one) == 0


def test_resampled_scores_are_about_the_score() -> None:
    labels = ("a", "b", "c")
    generator = np.random.default_rng(0)
    truth = generator.choice(np.array(labels, dtype=object), 600, p=[0.6, 0.3, 0.1])
    probabilities = generator.dirichlet((1, 1, 1), 600)
    probabilities[np.arange(600), [labels.index(one) for one in truth]] += 0.5
    scores = resampled_macro_f1(labels, truth, probabilities, 0)
    measured = evaluate(labels, truth, probabilities).metrics["macro_f1"]
    assert len(scores) == RESAMPLES
    assert np.mean(scores) == pytest.approx(measured, abs=0.01)
    assert 0.005 < np.std(scores) < 0.05
    assert scores == resampled_macro_f1(labels, truth, probabilities, 0)
    assert scores != resampled_macro_f1(labels, truth, probabilities, 1)
