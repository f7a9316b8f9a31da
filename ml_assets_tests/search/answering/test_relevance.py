import pytest

from ml_assets.embeddings.space import BUNDLED_SHA256
from ml_assets.errors import UserError
from ml_assets.search.answering.relevance import CURVES, least_cosine, relevance
from ml_assets.search.model import Generation

OURS = Generation("g", "s", 2, {}, model="/a/path", weights=BUNDLED_SHA256)
OTHER = Generation("g", "s", 2, {}, model="all-MiniLM-L6-v2", weights="another")


@pytest.mark.parametrize("generation", [OURS, OTHER])
def test_the_least_cosine_is_that_of_the_least_relevance(generation: Generation) -> None:
    for asked in (0.05, 0.3, 0.5, 0.9):
        cosine = least_cosine(generation, asked)
        assert relevance(generation, cosine) == pytest.approx(asked)
        assert relevance(generation, cosine + 0.05) > asked > relevance(generation, cosine - 0.04)
    assert least_cosine(generation, 0) == -1


def test_relevance_is_a_probability() -> None:
    assert relevance(OURS, CURVES[OURS.weights].middle) == 0.5
    assert [relevance(OTHER, cosine) for cosine in (-0.2, 0.4, 1.0000001)] == [0, 0.4, 1]
    assert 0 < relevance(OURS, 0.1) < 0.02
    assert relevance(OURS, 1) < 1 <= least_cosine(OURS, 1)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="a relevance is 0 to 1"):
            least_cosine(OURS, wrong)
