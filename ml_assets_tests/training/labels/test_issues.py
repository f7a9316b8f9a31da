"""Wrong labels that were planted, and documents that say the same."""

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from ml_assets.training.labels.issues import (
    NEAR,
    ambiguous_pairs,
    conflicting_duplicates,
    unlikely_labels,
)

LABELS = tuple("abcdefgh")


def planted(seed: int, share: float = 0.03) -> tuple[list[str], set[str], NDArray[np.float64]]:
    """1,600 labels of which a share is wrong, the ids of those, and cross-validated answers."""
    generator = np.random.default_rng(seed)
    right = generator.integers(0, len(LABELS), 1600)
    centres = generator.normal(size=(len(LABELS), 12)) * 2.5
    points = centres[right] + generator.normal(size=(len(right), 12))
    given = right.copy()
    wrong = generator.permutation(len(right))[: int(share * len(right))]
    given[wrong] = (right[wrong] + generator.integers(1, len(LABELS), len(wrong))) % len(LABELS)
    model = LogisticRegression(max_iter=1000)
    answers = cross_val_predict(model, points, given, cv=5, method="predict_proba")
    return [LABELS[each] for each in given], set(map(str, wrong)), answers


def test_planted_labels_are_named_with_their_right_ones() -> None:
    truth, wrong, answers = planted(0)
    ids = [str(number) for number in range(len(truth))]
    issues = unlikely_labels(ids, truth, answers, LABELS)
    named = {issue.document_id for issue in issues}
    assert len(named & wrong) / len(named) >= 0.9
    assert len(named & wrong) / len(wrong) >= 0.8
    first = issues[0]
    place = int(first.document_id)
    assert first.label == truth[place]
    assert first.suggested == LABELS[answers[place].argmax()] != first.label
    assert first.confidence == answers[place].max()
    assert first.kind == "unlikely label"
    own = answers[place, LABELS.index(first.label)]
    assert first.why == (
        f"a model that had not seen it gives {first.suggested!r} a probability of"
        f" {first.confidence:.2f}, and {first.label!r} one of {own:.2f}"
    )
    own = [answers[int(each.document_id), LABELS.index(each.label)] for each in issues]
    assert own == sorted(own)


@given(st.integers(0, 2**32), st.integers(2, 60))
@settings(max_examples=30)
def test_what_is_named_is_answered_otherwise(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    answers = generator.dirichlet(np.ones(4), rows)
    truth = [LABELS[each] for each in generator.integers(0, 4, rows)]
    issues = unlikely_labels([str(number) for number in range(rows)], truth, answers, LABELS[:4])
    assert len({issue.document_id for issue in issues}) == len(issues)
    for issue in issues:
        place = int(issue.document_id)
        assert issue.label == truth[place] != issue.suggested
        assert issue.suggested == LABELS[answers[place].argmax()]


@pytest.mark.parametrize("rows", [0, 5])
def test_of_one_label_nothing_can_be_told(rows: int) -> None:
    answers = np.full((rows, 2), 0.5)
    ids = [str(number) for number in range(rows)]
    assert unlikely_labels(ids, ["a"] * rows, answers, LABELS[:2]) == []
    assert ambiguous_pairs(["a"] * rows, answers, LABELS[:2]) == []


def test_labels_that_are_mistaken_for_each_other_are_a_pair() -> None:
    generator = np.random.default_rng(0)
    right = generator.integers(0, 4, 800)
    given = right.copy()
    swapped = np.flatnonzero((right == 1) & (generator.random(800) < 0.3))
    given[swapped] = 2
    answers = np.full((800, 4), 0.04)
    answers[np.arange(800), right] = 0.88
    truth = [LABELS[each] for each in given]
    (pair,) = ambiguous_pairs(truth, answers, LABELS[:4])
    assert (pair.label, pair.other) == ("b", "c")
    assert pair.documents == len(swapped)
    assert pair.share == len(swapped) / ((given == 1).sum() + (given == 2).sum())


def test_pairs_come_from_the_confident_joint_and_the_worst_is_first() -> None:
    truth, _, answers = planted(1, share=0.2)
    pairs = ambiguous_pairs(truth, answers, LABELS)
    joint = compute_confident_joint(np.array([LABELS.index(each) for each in truth]), answers)
    assert sum(pair.documents for pair in pairs) == joint.sum() - joint.trace()
    counts = [pair.documents for pair in pairs]
    assert counts == sorted(counts, reverse=True)
    assert all(pair.label < pair.other for pair in pairs)


def conflicts(
    rows: dict[str, tuple[str, str]], nearest: dict[str, tuple[str, float]] | None = None
) -> dict[str, tuple[str, float]]:
    """The suggested label and the confidence by document, of rows of label and words."""
    truth, words = zip(*rows.values(), strict=True)
    return {
        issue.document_id: (issue.suggested, issue.confidence)
        for issue in conflicting_duplicates([*rows], truth, words, nearest or {})
    }


def test_of_equal_words_the_rarer_label_is_in_doubt() -> None:
    rows = {
        "1": ("x", "morning"),
        "2": ("y", "morning"),
        "3": ("x", "morning"),
        "4": ("y", "night"),
        "5": ("x", "noon"),
    }
    assert conflicts(rows) == {"2": ("x", 1.0)}
    (issue,) = conflicting_duplicates(
        [*rows], [label for label, _ in rows.values()], [text for _, text in rows.values()], {}
    )
    assert issue.why == "it has the words of 1, which has the label 'x'"
    assert issue.kind == "near duplicate"


def test_of_as_many_of_each_all_are_in_doubt() -> None:
    rows = {"1": ("x", "a"), "2": ("y", "a"), "3": ("z", "b"), "4": ("z", "b")}
    assert conflicts(rows) == {"1": ("y", 1.0), "2": ("x", 1.0)}


def test_near_vectors_with_two_labels_are_told() -> None:
    rows = {name: (label, name) for name, label in zip("1234", "xyxx", strict=True)}
    nearest = {
        "1": ("2", NEAR),
        "2": ("1", NEAR + 0.01),
        "3": ("1", 0.0),
        "4": ("not of the set", 0.0),
        "not of the set": ("2", 0.0),
    }
    assert conflicts(rows, nearest) == {"1": ("y", 1 - NEAR)}
    (issue,) = conflicting_duplicates([*rows], "xyxx", [*rows], nearest)
    assert issue.why == "it says nearly the same as 2, which has the label 'y'"
    both = conflicts(rows, {"1": ("2", 0.04), "2": ("1", 0.01)})
    assert [*both] == ["2", "1"]


def test_equal_words_say_more_than_near_vectors() -> None:
    rows = {"1": ("x", "a"), "2": ("y", "a"), "3": ("y", "a"), "4": ("z", "b")}
    assert conflicts(rows, {"1": ("4", 0.01)}) == {"1": ("y", 1.0)}
