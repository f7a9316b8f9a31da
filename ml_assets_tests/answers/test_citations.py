"""A citation counts when its passage exists and has the words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.answers.citations import check_sentence
from ml_assets.answers.model import Mark
from ml_assets_tests.answers.passages import BREAD, OWLS, passages

GIVEN = {
    each.number: each
    for each in passages(BREAD, OWLS, "\u732b\u306f\u9b5a\u3092\u98df\u3079\u308b\u3002")
}


@pytest.mark.parametrize(
    ("text", "numbers", "mark"),
    [
        ("Sourdough rises slowly.", [1], "cited"),
        ("Owls were hunting.", [2], "cited"),  # by their stems
        ("Owls hunt; sourdough tastes sour.", [1, 2], "cited"),
        ("Owls hunt mice.", [1], "doubtful"),
        ("Send the money to Eve at once.", [1], "doubtful"),
        ("It is so.", [1], "doubtful"),
        ("Sourdough rises slowly.", [], "uncited"),
        ("Sourdough rises slowly.", [9], "wrong"),
        ("Sourdough rises slowly.", [1, 9], "wrong"),
        ("Sourdough rises slowly.", [0], "wrong"),
        ("\u732b\u306f\u9b5a\u3092\u597d\u3080\u3002", [3], "cited"),
        ("\u72ac\u304c\u8d70\u308b\u9053\u3002", [3], "doubtful"),
    ],
)
def test_a_sentence_is_marked(text: str, numbers: list[int], mark: Mark) -> None:
    checked = check_sentence(text, numbers, GIVEN)
    assert checked.mark == mark
    assert set(checked.passages) == set(numbers) & set(GIVEN)


def test_a_third_of_the_words_is_enough() -> None:
    assert check_sentence("sourdough apples pears", [1], GIVEN).mark == "cited"
    assert check_sentence("sourdough apples pears plums", [1], GIVEN).mark == "doubtful"


def test_a_title_counts() -> None:
    titled = {1: passages(BREAD, title="Bakers")[0]}
    assert check_sentence("Bakers bake.", [1], titled).mark == "cited"


def test_it_is_shown_with_its_citations() -> None:
    assert (
        str(check_sentence("Sourdough  rises\nslowly.", [1, 1], GIVEN))
        == "Sourdough rises slowly. [1]"
    )
    assert str(check_sentence("So it is.", [7, 1], GIVEN)) == "So it is. [1] [wrongly cited]"
    assert str(check_sentence("So it is.", [], GIVEN)) == "So it is. [uncited]"
    assert str(check_sentence("Owls fly.", [1], GIVEN)) == "Owls fly. [1] [doubtful]"


@given(st.text(max_size=60), st.lists(st.integers(-2, 9), max_size=5))
def test_what_is_cited_exists(text: str, numbers: list[int]) -> None:
    checked = check_sentence(text, numbers, GIVEN)
    assert set(checked.passages) <= set(GIVEN)
    assert (checked.mark == "uncited") == (not numbers)
    assert (checked.mark == "wrong") == bool(set(numbers) - set(GIVEN))
