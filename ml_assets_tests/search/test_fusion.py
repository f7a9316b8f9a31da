from hypothesis import given
from hypothesis import strategies as st

from ml_assets.search.fusion import reciprocal_rank_fusion

RANKINGS = st.dictionaries(
    st.sampled_from(["keyword", "vector", "other"]),
    st.lists(st.text("abcdef", min_size=1, max_size=2), unique=True, max_size=10),
)


def test_scores_are_those_of_the_paper() -> None:
    fused = reciprocal_rank_fusion({"keyword": ["a", "b"], "vector": ["b", "c"]})
    assert fused == [("b", 1 / 62 + 1 / 61), ("a", 1 / 61), ("c", 1 / 62)]


def test_weights_count() -> None:
    rankings = {"keyword": ["a", "b"], "vector": ["b", "a"]}
    assert reciprocal_rank_fusion(rankings, {"keyword": 2.0})[0][0] == "a"
    assert reciprocal_rank_fusion(rankings, {"vector": 2.0})[0][0] == "b"
    assert reciprocal_rank_fusion(rankings, {"vector": 0.0})[0] == ("a", 1 / 61)


def test_ties_fall_to_the_best_single_rank_and_then_to_the_id() -> None:
    assert [i for i, _ in reciprocal_rank_fusion({"x": ["b"], "y": ["a"]})] == ["a", "b"]
    tie = {"x": ["p", "q"], "y": ["q", "p"]}
    assert [i for i, _ in reciprocal_rank_fusion(tie)] == ["p", "q"]


@given(RANKINGS)
def test_fusion_keeps_every_item_and_depends_on_no_order_of_the_rankings(
    rankings: dict[str, list[str]],
) -> None:
    fused = reciprocal_rank_fusion(rankings)
    assert {item for item, _ in fused} == {item for ids in rankings.values() for item in ids}
    assert fused == reciprocal_rank_fusion(dict(reversed(rankings.items())))
    assert [score for _, score in fused] == sorted((s for _, s in fused), reverse=True)


@given(st.lists(st.text("abc", max_size=3), unique=True))
def test_one_ranking_stays_as_it_is(items: list[str]) -> None:
    assert [item for item, _ in reciprocal_rank_fusion({"x": items})] == items
