from hypothesis import given
from hypothesis import strategies as st

from ml_assets.search.answering.snippet import (
    _LEAD,
    LENGTH,
    _best_start,
    query_terms,
    snippet,
    telling_terms,
)

FILLER = "lorem ipsum dolor " * 40


def test_a_short_text_is_shown_whole_on_one_line() -> None:
    assert snippet("One\n  two\tthree. ", frozenset()) == "One two three."


def test_the_window_holds_most_terms() -> None:
    text = f"{FILLER}Parsing alone. {FILLER}Here arguments are parsed on the command line. {FILLER}"
    shown = snippet(text, query_terms("parse command line arguments"))
    assert "arguments are parsed on the command line" in shown
    assert shown.startswith("… ")
    assert shown.endswith(" …")


def test_words_that_every_text_has_tell_nothing_unless_there_are_no_others() -> None:
    assert telling_terms("How do I read the lines of a C file?") == query_terms("read lines file")
    assert telling_terms("I, a") == query_terms("a I")
    assert telling_terms("is not") == query_terms("not is")
    assert telling_terms("") == frozenset()


def test_without_a_match_the_start_is_shown() -> None:
    shown = snippet(f"Start here. {FILLER}", query_terms("absent"))
    assert shown.startswith("Start here.")


@given(
    st.lists(st.sampled_from("abcde"), min_size=120, max_size=400), st.sets(st.sampled_from("abc"))
)
def test_the_window_is_the_first_of_those_with_most_terms(
    words: list[str], terms: set[str]
) -> None:
    text, wide = " ".join(words), 12
    starts = [
        at for at, word in zip(range(0, 2 * len(words), 2), words, strict=True) if word in terms
    ]

    def distinct(start: int) -> int:
        return len(terms & set(text[start : start + wide]))

    assert _best_start(text, terms, wide + _LEAD) == max(starts, key=distinct, default=0)


@given(st.text(alphabet="ab é漢\n🙂", max_size=600), st.text(alphabet="ab é漢", max_size=10))
def test_a_snippet_is_a_piece_of_the_text_and_short(text: str, query: str) -> None:
    shown = snippet(text, query_terms(query))
    assert len(shown) <= LENGTH + len("…  …")
    piece = shown.removeprefix("… ").removesuffix(" …").strip()
    assert piece in " ".join(text.split())
