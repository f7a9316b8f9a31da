"""Two samples: what is found, what is not, and when nothing can be said."""

import numpy as np
import pytest

from bench.drift import CATEGORY, NUMBER, SHIFTS, Documents, trials
from ml_assets.features.drift.comparison import MIN_ROWS, Sample, compare
from ml_assets.features.drift.summary import summarize_categories, summarize_numbers

COUNT = 4_000


@pytest.fixture(scope="module")
def documents() -> Documents:
    """As texts are: lengths of a long tail, many zeros, some alike, vectors of a few directions."""
    generator = np.random.default_rng(0)
    letters, labels = np.array([*"uvwxyz"], object), np.array(["bad", "fair", "good"], object)
    shares = np.where(generator.random(COUNT) < 0.6, 0, generator.random(COUNT))
    shares[generator.random(COUNT) < 0.03] = np.nan
    vectors = generator.normal(size=(COUNT, 24)) * np.linspace(2, 0.1, 24) + np.linspace(0, 1, 24)
    return Documents(
        {NUMBER: np.rint(np.exp(generator.normal(4.5, 0.6, COUNT))), "share": shares},
        {
            "label": generator.choice(labels, COUNT, p=[0.6, 0.25, 0.15]),
            CATEGORY: generator.choice(letters, COUNT, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1]),
        },
        vectors.astype(np.float32),
        generator.integers(0, 20 * COUNT, COUNT),
    )


def test_planted_shifts_are_found_and_nothing_else(documents: Documents) -> None:
    """The whole measurement is `python -m bench.drift`; docs/decisions.md has its table."""
    alarms = 0
    for name, compared in trials(documents, 4, (2_000, 500)):
        drifted = {(each.feature, each.aspect) for each in compared.drifted}
        if name:
            _, feature, aspect, _ = SHIFTS[name]
            assert (feature, aspect) in drifted, name
            drifted.remove((feature, aspect))
        alarms += bool(drifted)
    assert alarms <= 1


def numbers(count: int, mean: float, seed: int = 0, rows: int = 0) -> Sample:
    values = np.random.default_rng(seed).normal(mean, 1, count)
    return Sample(rows or count, {"x": summarize_numbers(values)})


def test_a_large_sample_does_not_cry_wolf() -> None:
    """A twentieth of a deviation is as sure as can be, and no drift."""
    compared = compare(numbers(200_000, 10), numbers(200_000, 10.05, 1))
    (finding,) = compared.findings
    assert finding.q_value < 1e-9
    assert not finding.drifted
    assert (compared.outcome, compared.strength) == ("no drift", 0)


def test_an_effect_that_may_be_chance_is_no_drift() -> None:
    """The PSI of so few rows of one kind is above its limit now and then."""
    found = [
        compare(numbers(MIN_ROWS, 0, seed), numbers(MIN_ROWS, 0, 1_000 + seed)).findings[0]
        for seed in range(40)
    ]
    assert sum(finding.strength >= 1 for finding in found) >= 5
    assert sum(finding.drifted for finding in found) <= 3


def test_few_rows_do_not_pass_for_many() -> None:
    """The effect is there, and may be chance."""
    samples = [numbers(MIN_ROWS, mean, seed) for seed, mean in enumerate((0, 0.3))]
    (finding,) = compare(*samples).findings
    many = compare(numbers(5 * MIN_ROWS, 0), numbers(5 * MIN_ROWS, 0.3, 1)).findings[0]
    assert finding.p_value > many.p_value
    assert many.drifted


def test_too_few_rows_cannot_tell() -> None:
    compared = compare(numbers(5_000, 0), numbers(MIN_ROWS - 1, 9))
    assert compared.outcome == "cannot tell"
    assert compared.message == "199 rows against 5,000: 200 of both are needed"
    assert compare(numbers(MIN_ROWS, 0), numbers(MIN_ROWS, 9, 1)).outcome == "drift"


def test_without_rows_there_is_nothing_to_compare() -> None:
    assert compare(numbers(500, 0), Sample(0)).outcome == "nothing to compare"
    assert compare(Sample(0), numbers(500, 0)).message == "the reference has no rows"


def test_what_one_side_lacks_is_left_out() -> None:
    words = summarize_categories(["a"] * 300)
    before = Sample(300, {"x": words, "y": words})
    now = Sample(300, {"x": summarize_numbers(np.ones(300)), "z": words})
    assert compare(before, now).outcome == "cannot tell"


def test_a_finding_says_what_it_was_and_is() -> None:
    compared = compare(numbers(1_000, 10), numbers(1_000, 12, 1))
    (finding,) = compared.drifted
    assert str(finding).startswith("x ")
    assert "times its limit (mean 9.95" in str(finding)
    assert finding.now.startswith("mean 11.95 ± 0.98")
    assert compared.strength == finding.strength == (finding.psi or 0) / 0.1
    before = Sample(900, {"c": summarize_categories(["a"] * 600 + ["b"] * 300)})
    now = Sample(900, {"c": summarize_categories(["a"] * 300 + ["b"] * 600)})
    (finding,) = compare(before, now).drifted
    assert (finding.before, finding.now) == ("'a' 66.7%", "'a' 33.3%")


def test_missing_values_are_counted_where_too_few_are_left() -> None:
    values = np.full(1_000, np.nan)
    values[:100] = 1
    before = Sample(1_000, {"x": summarize_numbers(np.ones(1_000))})
    compared = compare(before, Sample(1_000, {"x": summarize_numbers(values)}))
    (finding,) = compared.drifted
    assert (finding.aspect, finding.effect) == ("missing", 0.9)
    assert str(finding).startswith("x missing 18.0 times")
