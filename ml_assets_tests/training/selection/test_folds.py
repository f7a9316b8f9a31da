"""Folds are of whole groups, follow from their names, and share out every label."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.training.selection.folds import assign_folds, fold_count

ROWS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=80)


@given(ROWS, st.integers(0, 3), st.integers(2, 6), st.randoms())
def test_a_group_is_in_one_fold_whatever_the_order(
    rows: list[tuple[int, str]], seed: int, count: int, random: object
) -> None:
    groups, labels = [f"g{group}" for group, _ in rows], [label for _, label in rows]
    folds = assign_folds(groups, labels, seed, count)
    assert set(folds) <= set(range(count))
    fold_of = dict(zip(groups, folds, strict=True))
    assert [fold_of[group] for group in groups] == folds.tolist()
    order = np.random.default_rng(seed).permutation(len(rows))
    moved = assign_folds([groups[i] for i in order], [labels[i] for i in order], seed, count)
    assert moved.tolist() == folds[order].tolist()


def test_the_groups_of_a_label_are_dealt_evenly() -> None:
    groups = [f"g{number}" for number in range(23)]
    labels = ["rare" if number < 5 else "often" for number in range(23)]
    folds = assign_folds(groups, labels, 0, 5)
    rare = Counter(fold for fold, label in zip(folds, labels, strict=True) if label == "rare")
    assert sorted(rare.values()) == [1] * 5
    assert sorted(Counter(folds).values()) == [4, 4, 5, 5, 5]


def test_many_rows_are_dealt_to_fewer_folds() -> None:
    assert [fold_count(rows) for rows in (20, 5_000, 5_001)] == [5, 5, 3]


def test_another_seed_deals_in_another_order() -> None:
    groups = [f"g{number}" for number in range(40)]
    one, other = (assign_folds(groups, ["a"] * 40, seed, 5).tolist() for seed in (0, 1))
    assert one != other
    assert one == assign_folds(groups, ["a"] * 40, 0, 5).tolist()
