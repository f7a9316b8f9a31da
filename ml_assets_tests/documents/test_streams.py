from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.documents.streams import batches, work_ahead


@given(st.lists(st.integers(0, 9)), st.integers(1, 12))
def test_batches_are_as_heavy_as_they_may_be(weights: list[int], most: int) -> None:
    cut = list(batches(weights, lambda weight: weight, most))
    assert [weight for batch in cut for weight in batch] == weights
    assert all(batch and (len(batch) == 1 or sum(batch) <= most) for batch in cut)
    assert all(sum(batch) + following[0] > most for batch, following in pairwise(cut))


def test_work_is_one_item_ahead_of_who_takes_it() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            read.append(number)
            yield number

    with closing(work_ahead(lambda number: number * 10, items())) as results:
        assert read == []
        assert next(results) == (0, 0)
        assert read == [0, 1]
        assert list(results) == [(number, number * 10) for number in range(1, 5)]


def test_what_was_done_before_a_failure_is_given_out() -> None:
    results = work_ahead(lambda number: 6 // number, [3, 2, 0, 1])
    assert [next(results), next(results)] == [(3, 2), (2, 3)]
    with pytest.raises(ZeroDivisionError):
        next(results)
