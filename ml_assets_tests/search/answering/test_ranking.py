from __future__ import annotations

from dataclasses import replace

import numpy as np

from ml_assets.search.answering.fusion import Scores
from ml_assets.search.answering.model import Engine
from ml_assets.search.answering.ranking import (
    fuse_documents,
    rank_documents,
    score_documents,
)
from ml_assets.search.filters.language import NO_FILTER
from ml_assets.search.indexes.contract import Ranking
from ml_assets.search.model import DEFAULT_FUSION, Fusion

CHUNKS = ["a#3", "b#0", "a#0", "c#x#1"]


def test_a_document_scores_as_its_best_chunk() -> None:
    found = score_documents(Ranking(CHUNKS, [9.0, 8.0, 7.0, 2.0], exhausted=False))
    assert list(found.scores.items()) == [("a", 9.0), ("b", 8.0), ("c#x", 2.0)]


def test_what_is_missing_scores_as_the_last_unless_nothing_was_left_out() -> None:
    assert score_documents(Ranking(CHUNKS, [9.0, 8.0, 7.0, 2.0], exhausted=False)).floor == 2.0
    assert score_documents(Ranking(CHUNKS, [9.0, 8.0, 7.0, 2.0], exhausted=True)).floor == 0.0
    assert score_documents(Ranking((), (), exhausted=True)) == Scores({}, 0.0)
    assert score_documents(Ranking(["a#0"], [-0.3], exhausted=False)).floor == -0.3


def test_one_index_is_not_fused() -> None:
    only = {"vector": Scores({"b": 0.2, "a": 0.1}, 0.1)}
    assert fuse_documents(only, DEFAULT_FUSION) == [("b", 0.2), ("a", 0.1)]
    both = {**only, "keyword": Scores({"a": 5.0})}
    assert fuse_documents(both, Fusion("tmm", 1.0)) == [("a", 1.0), ("b", 0.0)]


class Fixed:
    """An index that gives the same chunks for every query."""

    def __init__(self, *chunk_ids: str) -> None:
        self._ranking = Ranking(chunk_ids, [1.0] * len(chunk_ids), exhausted=True)

    def query(self, *_: object) -> Ranking:
        return self._ranking


def test_a_document_is_shown_by_the_index_that_ranks_it_best() -> None:
    keyword, vector = Fixed("a#1", "a#2", "b#0", "c#5"), Fixed("b#2", "a#0", "c#7")
    unmoved = replace(DEFAULT_FUSION, feedback=False)
    engine = Engine(None, None, vector, keyword, unmoved)  # type: ignore[arg-type]
    query = np.ones(1, np.float32)
    ranked = rank_documents(engine, "x", query, "hybrid", NO_FILTER, 10)
    # Both rank c third: the words decide.
    assert ranked.chunks == {"a": "a#1", "b": "b#2", "c": "c#5"}
    assert ranked.ranks["vector"] == {"b": 1, "a": 2, "c": 3}
    alone = rank_documents(engine, "x", query, "vector", NO_FILTER, 10)
    assert alone.chunks == {"a": "a#0", "b": "b#2", "c": "c#7"}
