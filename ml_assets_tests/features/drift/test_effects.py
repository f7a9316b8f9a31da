"""Effect sizes and tests, against their definitions and scipy's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, fisher_exact, ks_2samp, wasserstein_distance

from ml_assets.features.drift.effects import (
    adjusted,
    categorical_difference,
    domain_difference,
    numeric_difference,
    psi,
    shares_difference,
    surplus_difference,
)
from ml_assets.features.drift.summary import Summary, summarize_categories, summarize_numbers

GENERATOR = np.random.default_rng(7)


def numbers(values: NDArray[np.float64]) -> Summary:
    return summarize_numbers(np.asarray(values, np.float64))


def names(**counts: int) -> Summary:
    return summarize_categories(name for name, count in counts.items() for _ in range(count))


def test_psi_is_that_of_its_definition() -> None:
    # (.4 - .5) ln(.4 / .5) + (.6 - .5) ln(.6 / .5)
    assert psi(np.array([5e6, 5e6]), np.array([4e6, 6e6])) == pytest.approx(0.0405465, rel=1e-4)
    assert psi(np.array([10, 20]), np.array([100, 200])) == pytest.approx(0, abs=1e-3)
    assert np.isfinite(psi(np.array([10, 0]), np.array([0, 10])))


@given(st.integers(0, 1000))
def test_the_numeric_test_is_that_of_scipy_on_values_that_are_apart(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.permutation(np.arange(1, 600)) * 1.01
    first, second = values[:400], values[400:]
    found = numeric_difference(numbers(first), numbers(second))
    expected = ks_2samp(first, second, method="asymp")
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.2, abs=1e-6)
    assert found.wasserstein == pytest.approx(
        wasserstein_distance(first, second) / first.std(), rel=0.01, abs=0.001
    )


def test_a_shift_and_a_spread_are_both_seen() -> None:
    before = GENERATOR.normal(10, 2, 4000)
    same, moved, wider = (
        GENERATOR.normal(mean, deviation, 500) for mean, deviation in ((10, 2), (11, 2), (10, 4))
    )
    assert numeric_difference(numbers(before), numbers(same)).p_value > 0.01
    shift = numeric_difference(numbers(before), numbers(moved))
    assert shift.wasserstein == pytest.approx(0.5, abs=0.1)
    assert shift.psi is not None
    assert shift.psi > 0.15
    spread = numeric_difference(numbers(before), numbers(wider))
    assert spread.psi is not None
    assert spread.psi > 0.15
    assert spread.p_value < 1e-6


def test_a_constant_is_compared_with_what_it_became() -> None:
    constant, other = np.full(300, 0.1), np.full(300, 0.2)
    assert numbers(constant).deviation > 0, "which is rounding"
    assert numeric_difference(numbers(constant), numbers(constant)).wasserstein == 0
    moved = numeric_difference(numbers(constant), numbers(other))
    assert moved.wasserstein == pytest.approx(2)
    assert (moved.psi or 0) > 1
    assert moved.p_value < 1e-9


def test_a_value_that_many_rows_share_ends_a_bin() -> None:
    """Half of the rows have none of it: deciles alone would put the rest into few bins."""
    before = np.concatenate([np.zeros(500), GENERATOR.random(500) + 0.5])
    now = np.concatenate([np.zeros(250), GENERATOR.random(750) + 0.5])
    difference = numeric_difference(numbers(before), numbers(now))
    # (.25 - .5) ln(.25 / .5) + (.75 - .5) ln(.75 / .5)
    assert difference.psi == pytest.approx(0.275, abs=0.03)


def test_categories_are_compared_new_ones_too() -> None:
    before = names(a=3000, b=1500, c=500)
    assert categorical_difference(before, names(a=310, b=145, c=45)).p_value > 0.05
    moved = categorical_difference(before, names(a=200, b=250, c=50))
    assert moved.p_value < 1e-6
    assert moved.psi == pytest.approx(0.2 * np.log(0.6 / 0.4) + 0.2 * np.log(5 / 3), abs=0.01)
    new = categorical_difference(before, names(a=285, b=142, c=48, d=25))
    assert new.p_value < 1e-6
    assert (new.psi or 0) > 0.1


def test_many_categories_of_few_rows_are_no_drift() -> None:
    """Which of them are unseen is chance; together they are as many as before."""
    generator = np.random.default_rng(3)
    found = []
    for _ in range(60):
        drawn = generator.integers(0, 20_000, 3000).astype(str)
        before, now = summarize_categories(drawn[:2500]), summarize_categories(drawn[2500:])
        found.append(categorical_difference(before, now).p_value)
    assert np.mean(np.array(found) < 0.05) <= 0.05


def test_what_is_common_and_what_is_rare_are_two_tests() -> None:
    """The smaller of two chances is half as likely as it looks."""
    before, now = names(a=600, b=300, c=3), names(a=480, b=310, c=4)
    common = chi2_contingency([[600, 300], [480, 310]], correction=False).pvalue
    rare = fisher_exact([[3, 900], [4, 790]]).pvalue
    assert common < rare
    assert categorical_difference(before, now).p_value == pytest.approx(2 * common)


def test_one_category_is_equal_to_itself() -> None:
    difference = categorical_difference(names(a=300), names(a=400))
    assert (difference.p_value, difference.psi) == (1.0, 0.0)


def test_shares_are_compared_exactly() -> None:
    difference = shares_difference(0, 5000, 50, 500)
    assert difference.effect == pytest.approx(0.1)
    assert difference.p_value < 1e-12
    assert shares_difference(100, 1000, 10, 100).p_value == 1


@pytest.mark.parametrize("current", [300, 3000])
def test_a_sample_of_another_size_repeats_no_more_rows(current: int) -> None:
    """One row in two has a twin, somewhere in 12,000: the more are drawn, the more meet."""
    generator = np.random.default_rng(current)
    everything = np.concatenate([np.arange(6000), np.arange(3000), np.arange(10_000, 13_000)])
    drawn = generator.permutation(everything)[: 2000 + current]
    sizes = [_sizes(drawn[:2000]), _sizes(drawn[2000:])]
    difference, shares = surplus_difference(*sizes)
    assert abs(difference.effect or 0) < 0.03
    assert shares[0] > 0.005
    doubled = np.concatenate([drawn[2000:], drawn[2000 : 2000 + current // 5]])
    more, _ = surplus_difference(sizes[0], _sizes(doubled))
    assert (more.effect or 0) > 0.05
    assert more.p_value < 1e-6


def _sizes(rows: NDArray[np.int64]) -> dict[int, int]:
    sizes, groups = np.unique(np.unique(rows, return_counts=True)[1], return_counts=True)
    return dict(zip(sizes.tolist(), groups.tolist(), strict=True))


def test_vectors_that_turned_are_told_apart_and_equal_ones_are_not() -> None:
    """About a mean that stays: what is linear does not see it."""
    generator = np.random.default_rng(0)
    scales = np.linspace(3, 0.1, 24)
    before, same = (generator.normal(size=(n, 24)) * scales for n in (600, 400))
    turn, _ = np.linalg.qr(generator.normal(size=(24, 24)))
    unlike = domain_difference(before.astype(np.float32), (same @ turn).astype(np.float32))
    assert unlike
    assert (unlike.effect or 0) > 0.2
    assert unlike.p_value < 1e-9
    like = domain_difference(before.astype(np.float32), same.astype(np.float32))
    assert like
    assert (like.effect or 0) < 0.1


def test_vectors_that_stand_twice_are_no_domain() -> None:
    """The classifier would know a copy by heart from the fold that it learned."""
    generator = np.random.default_rng(1)
    before, now = (generator.normal(size=(300, 8)).astype(np.float32) for _ in range(2))
    repeated = np.concatenate([now, now, now, now])
    assert domain_difference(before, repeated) == domain_difference(before, now)
    assert domain_difference(before, np.concatenate([now[:40]] * 10)) is None


def test_tests_made_together_are_adjusted() -> None:
    # Benjamini and Hochberg: p(i) n / i, made ascending from the end.
    assert adjusted([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert adjusted([]) == []
