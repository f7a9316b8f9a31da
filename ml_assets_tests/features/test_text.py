import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.features.text import (
    code_share,
    count_sentences,
    count_syllables,
    lexical_diversity,
    reading_ease,
    text_features,
)
from ml_assets.features.views.document_text import DOCUMENT_TEXT


def test_features_of_a_small_text() -> None:
    found = text_features("The cat sat on the mat. It's 42!")
    assert found == {
        "characters": 32,
        "words": 7,
        "sentences": 2,
        "mean_word_length": pytest.approx((3 + 3 + 3 + 2 + 3 + 3 + 4) / 7),
        "lexical_diversity": pytest.approx(6 / 7),
        "code_share": 0.0,
        "digit_share": 2 / 32,
        "punctuation_share": 3 / 32,
        "reading_ease": pytest.approx(206.835 - 1.015 * 7 / 2 - 84.6),
    }


def test_a_text_without_words() -> None:
    found = text_features("42 + 1")
    assert (found["words"], found["sentences"]) == (0, 0)
    assert found["mean_word_length"] is None
    assert found["lexical_diversity"] is None
    assert found["reading_ease"] is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two? Three!", 3),
        ("One\n\nTwo", 2),
        ("v1.2 is out", 1),
        ("W…?!", 1),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert count_sentences(text) == count


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("cat", 1),
        ("make", 1),
        ("table", 2),
        ("the", 1),
        ("tree", 1),
        ("readability", 5),
        ("nth", 1),
    ],
)
def test_syllables(word: str, count: int) -> None:
    assert count_syllables(word) == count


def test_reading_ease_by_hand() -> None:
    # 5 words of 1, 2, 3, 1 and 4 syllables.
    words = ["the", "table", "animal", "make", "information"]
    assert sum(map(count_syllables, words)) == 11
    expected = 206.835 - 1.015 * 5 / 2 - 84.6 * 11 / 5
    assert reading_ease(words, 2) == pytest.approx(expected)


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=60), st.integers(1, 12))
def test_lexical_diversity_is_the_mean_over_windows(words: list[str], window: int) -> None:
    width = min(window, len(words))
    starts = range(len(words) - width + 1)
    ratios = [len(set(words[start : start + width])) / width for start in starts]
    assert lexical_diversity(words, window) == pytest.approx(math.fsum(ratios) / len(ratios))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("Returns the value of x.", 0.0),
        (">>> f(1)\n1", 0.5),
        ("Use it:\n\n    def f(x):\n        return x", 2 / 3),
        ("```\nanything here\n```\nprose here", 0.75),
        ("x = 1\ny += 2\nprint(x)", 1.0),
        ("import os\nfrom a.b import c", 1.0),
        ("Note (see below) that this is prose.", 0.0),
        ("$ make test\nint x;\n}", 1.0),
        ("for example, this: no", 0.0),
    ],
)
def test_code_lines(text: str, share: float) -> None:
    assert code_share(text) == pytest.approx(share)


@given(st.text(min_size=1))
def test_every_feature_is_in_its_range(text: str) -> None:
    found = text_features(text)
    assert list(found) == list(DOCUMENT_TEXT.columns[:-1])
    for feature in DOCUMENT_TEXT.features[:-1]:
        value = found[feature.name]
        if value is None:
            assert found["words"] == 0
            continue
        assert math.isfinite(value)
        assert feature.minimum is None or value >= feature.minimum, feature.name
        assert feature.maximum is None or value <= feature.maximum, feature.name


@pytest.mark.parametrize("unit", [".", "\n", " ", "a-", "x = ", "a(", "[]", "return ", "{", ". "])
def test_a_text_that_repeats_itself_costs_linear_time(unit: str) -> None:
    # A pattern that backtracks would not end here.
    assert text_features(unit * 100_000 + "x")["characters"] == 100_000 * len(unit) + 1
