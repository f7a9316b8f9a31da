"""The newest documents as a second test."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.training.families.linear import LOGISTIC_REGRESSION
from ml_assets.training.selection.time_order import (
    InTime,
    newest_metrics,
    older_and_newest,
)
from ml_assets_tests.training.tasks import made_task

START = datetime(2026, 1, 1, tzinfo=UTC)


def days(*numbers: int) -> list[datetime | None]:
    return [START + timedelta(days=number) for number in numbers]


def test_the_newest_fifth_is_apart() -> None:
    masks = older_and_newest(days(9, 1, 2, 3, 4, 5, 6, 7, 8, 0), list("abcdefghij"))
    assert masks
    older, newest = masks
    assert np.flatnonzero(newest).tolist() == [0, 8]
    assert (older == ~newest).all()


def test_what_has_a_member_among_the_older_is_in_neither() -> None:
    masks = older_and_newest(days(*range(10)), ["x", *"bcdefghi", "x"])
    assert masks
    older, newest = masks
    assert np.flatnonzero(newest).tolist() == [8]
    assert np.flatnonzero(older).tolist() == [*range(8)]


@pytest.mark.parametrize(
    "times",
    [
        [],
        [None, *days(*range(9))],
        days(*[3] * 10),
        days(*range(5), *[9] * 5),
        days(*[3] * 19, 9),
    ],
    ids=["none", "one not known", "all the same", "half the same", "one newer"],
)
def test_without_times_that_differ_there_are_no_newest(times: list[datetime | None]) -> None:
    assert older_and_newest(times, [str(number) for number in range(len(times))]) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=40))
def test_nothing_newer_and_no_group_of_the_newest_is_trained_on(
    rows: list[tuple[int, int]],
) -> None:
    times, groups = days(*(day for day, _ in rows)), [str(group) for _, group in rows]
    masks = older_and_newest(times, groups)
    if masks is None:
        return
    older, newest = (np.flatnonzero(mask) for mask in masks)
    assert max(rows[place][0] for place in older) < min(rows[place][0] for place in newest)
    assert {groups[place] for place in older}.isdisjoint(groups[place] for place in newest)
    assert len(older) >= 0.8 * len(rows) - 1


def test_a_label_of_the_newest_alone_is_answered_wrong() -> None:
    whole = made_task()
    newest = whole.examples.truth == whole.labels[0]
    metrics = newest_metrics(LOGISTIC_REGRESSION, InTime(whole, ~newest, newest), {"C": 0.2})
    assert metrics["newest_accuracy"] == 0
    assert metrics["newest_documents"] == newest.sum()
    assert metrics["newest_log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_metrics_are_those_of_the_newest_rows() -> None:
    whole = made_task()
    newest = np.arange(len(whole.examples.truth)) % 5 == 0
    metrics = newest_metrics(LOGISTIC_REGRESSION, InTime(whole, ~newest, newest), {"C": 0.2})
    assert 1 / len(whole.labels) < metrics["newest_accuracy"] <= 1
    assert 0 < metrics["newest_log_loss"] < np.log(len(whole.labels))
