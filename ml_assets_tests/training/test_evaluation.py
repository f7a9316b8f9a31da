"""Metrics against scikit-learn, and calibration by hand."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from ml_assets.training.evaluation import (
    Bin,
    beats,
    calibration_error,
    debiased_calibration_error,
    difference_interval,
    evaluate,
    macro_scores,
    reliability,
)
from ml_assets.training.plots import confusion_plot, reliability_plot

LABELS = ("a", "b", "c", "d")


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_macro_scores_are_those_of_scikit_learn(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(len(LABELS)), rows)
    truth = generator.choice(np.array(LABELS[:3], dtype=object), rows)
    right, given = truth.astype(str), np.array(LABELS)[probabilities.argmax(axis=1)]
    expected = precision_recall_fscore_support(right, given, average="macro", zero_division=0)
    scores = [accuracy_score(right, given), *expected[:3]]
    names = ("accuracy", "precision", "recall", "f1")
    assert macro_scores(LABELS, truth, probabilities) == pytest.approx(
        dict(zip(names, scores, strict=True))
    )


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_scores_are_those_of_scikit_learn(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(len(LABELS)), rows)
    truth = generator.choice(np.array(LABELS[:3], dtype=object), rows)
    found = evaluate(LABELS, truth, probabilities)

    answered = np.array(LABELS)[probabilities.argmax(axis=1)]
    right = truth.astype(str)
    assert found.metrics["accuracy"] == pytest.approx(accuracy_score(right, answered))
    assert found.metrics["macro_f1"] == pytest.approx(
        f1_score(right, answered, labels=LABELS, average="macro", zero_division=0)
    )
    assert found.metrics["log_loss"] == pytest.approx(log_loss(right, probabilities, labels=LABELS))
    assert (found.confusion == confusion_matrix(right, answered, labels=LABELS)).all()
    by_label = precision_recall_fscore_support(right, answered, labels=LABELS, zero_division=0)
    rows_of = [(one.precision, one.recall, one.f1, one.support) for one in found.per_label]
    assert np.array(rows_of) == pytest.approx(np.array(by_label).T)


def test_calibration_error_by_hand() -> None:
    # Four answers at 0.9, of which three are right; two at 0.5, of which none is.
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    right = np.array([True, True, True, False, False, False])
    bins = reliability(confidence, right)
    assert bins == (Bin(2, 0.5, 0.0), Bin(4, pytest.approx(0.9), 0.75))
    assert calibration_error(bins) == pytest.approx((2 * 0.5 + 4 * 0.15) / 6)
    # Of the two, none of them right, chance has no part; of the four it explains all.
    squares = 2 * 0.5**2 + 4 * (0.15**2 - 0.75 * 0.25 / 3)
    assert debiased_calibration_error(bins) == pytest.approx((squares / 6) ** 0.5)
    assert debiased_calibration_error(bins[1:]) == 0.0
    assert debiased_calibration_error([Bin(1, 0.9, 0.0)]) == 0.0


@pytest.mark.parametrize("excess", [0.0, 0.1])
def test_what_chance_adds_to_a_calibration_error_is_taken_off(excess: float) -> None:
    """200 answers that are surer than they are right by `excess`, a thousand times."""
    generator = np.random.default_rng(0)
    plain, squares = [], []
    for _ in range(1000):
        confidence = generator.uniform(0.3, 0.9, 200)
        bins = reliability(confidence, generator.random(200) < confidence - excess)
        plain.append(calibration_error(bins))
        squares.append(debiased_calibration_error(bins) ** 2)
    assert np.mean(plain) > excess + (0.01 if excess else 0.05)
    if excess:
        assert np.mean(squares) ** 0.5 == pytest.approx(excess, abs=0.01)
    else:
        assert np.median(squares) == 0.0


def test_perfect_confidence_in_right_answers_is_calibrated() -> None:
    truth = np.array(["a", "b", "c", "d"], dtype=object)
    found = evaluate(LABELS, truth, np.eye(4))
    assert found.metrics == {
        "accuracy": 1.0,
        "macro_f1": 1.0,
        "log_loss": pytest.approx(0.0),
        "calibration_error": 0.0,
        "debiased_calibration_error": 0.0,
    }


def test_a_row_of_a_label_that_left_the_set_need_not_sum_to_one() -> None:
    found = evaluate(LABELS, np.array(["a"], dtype=object), np.array([[0.5, 0.2, 0.0, 0.0]]))
    assert found.metrics["log_loss"] == pytest.approx(-np.log(0.5))


def test_certainty_in_a_wrong_answer_costs_a_finite_loss() -> None:
    found = evaluate(LABELS, np.array(["b"], dtype=object), np.array([[1.0, 0, 0, 0]]))
    assert found.metrics["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_the_pictures_show_the_counts() -> None:
    truth = np.array(["a", "a", "b"], dtype=object)
    found = evaluate(("a", "b"), truth, np.array([[0.8, 0.2], [0.3, 0.7], [0.1, 0.9]]))
    figure = confusion_plot(found)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "1", "1"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "b"]
    curve = reliability_plot(found).axes[0]
    assert curve.get_title() == f"calibration error {found.metrics['calibration_error']:.3f}"
    assert len(curve.lines[1].get_xdata()) == len(found.reliability)


def test_a_picture_draws_any_label_and_those_of_many_that_are_confused_most() -> None:
    labels = ["a$_$b", *(f"label {number}" for number in range(199))]
    answered = np.arange(200)
    answered[[3, 150]] = [150, 160]  # two wrong answers, which three labels are part of
    found = evaluate(labels, np.array(labels, dtype=object), np.eye(200)[answered])
    figure = confusion_plot(found)
    figure.savefig(BytesIO())
    axes = figure.axes[0]
    shown = [tick.get_text() for tick in axes.get_yticklabels()]
    assert shown == [*labels[:57], labels[57], labels[150], labels[160]]
    assert axes.get_title() == "the 60 of 200 labels that are confused most"
    # Counts by their places: label 3 was taken for 150, and 150 for 160, of which one is right.
    places = {text.get_position() for text in axes.texts}
    assert {(58, 3), (59, 58), (59, 59)} <= places
    assert not {(3, 3), (58, 58)} & places


def test_a_perfect_baseline_can_only_be_equalled() -> None:
    assert beats(0.6, 0.5)
    assert not beats(0.5, 0.5)
    assert not beats(0.9, 1.0)
    assert beats(1.0, 1.0)


def test_an_interval_by_hand() -> None:
    # 9 and 3 of 10 count as 10 and 4 of 12: their variances are 5/36 and 8/36, each over 12.
    low, high = difference_interval(0.9, 0.3, 10)
    margin = 1.96 * (13 / 36 / 12) ** 0.5
    assert (low, high) == pytest.approx((0.5 - margin, 0.5 + margin))
    assert difference_interval(0.0, 1.0, 2)[1] > 0 > difference_interval(0.0, 1.0, 3)[1]


def test_more_answers_narrow_an_interval() -> None:
    widths = [high - low for low, high in (difference_interval(0.6, 0.5, n) for n in (26, 260))]
    assert widths[0] > 0.4 > 0.2 > widths[1]
