from __future__ import annotations

import numpy as np
import pytest

from ml_assets.search.answering.feedback import read_vectors, rocchio
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.corpus import Doc, fill


def test_the_query_moves_towards_the_mean_and_keeps_its_length() -> None:
    query, up, down = np.eye(3, dtype=np.float32)
    moved = rocchio(query, [up, down], weight=0.5)
    assert moved == pytest.approx(np.array([1, 0.25, 0.25]) / np.sqrt(1 + 2 * 0.25**2))
    assert moved.dtype == np.float32
    assert np.linalg.norm(moved) == pytest.approx(1)
    assert rocchio(query, []) is query


def test_vectors_are_read_in_the_order_of_their_ids(
    connection: postgres.Connection, generation: Generation
) -> None:
    fill(connection, {"a": Doc(("one", "two")), "b": Doc(("three",))})
    found = read_vectors(connection, generation, ["b#0", "gone#0", "a#1"])
    assert np.array(found) == pytest.approx(HashEncoder().encode(["two", "three"]), abs=1e-3)
    assert read_vectors(connection, generation, []) == []
