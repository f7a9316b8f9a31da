"""Sentences are read as they come, however they are cut, and whatever is no sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.answers.sentences import SentenceReader, Written
from ml_assets_tests.answers.serving import sentences

SAID = st.lists(
    st.tuples(st.text(max_size=30), st.lists(st.integers(0, 99), max_size=3)), max_size=5
)


def read(*pieces: str) -> tuple[list[Written], str]:
    reader = SentenceReader()
    return [each for piece in pieces for each in reader.feed(piece)], reader.rest()


@given(
    said=SAID,
    before=st.sampled_from(["", "  ", "```json\n", '<think>a {"x": [1]} <b> </think>\n']),
    after=st.sampled_from(["", "\n```", " Done."]),
    cuts=st.lists(st.integers(1, 20), max_size=30),
)
def test_however_it_is_cut(
    said: list[tuple[str, list[int]]], before: str, after: str, cuts: list[int]
) -> None:
    text = before + sentences(*said) + after
    pieces = []
    for cut in cuts:
        pieces.append(text[:cut])
        text = text[cut:]
    expected = [Written(words, tuple(numbers)) for words, numbers in said]
    assert read(*pieces, text) == (expected, "")


def test_a_sentence_is_there_as_soon_as_it_is_whole() -> None:
    reader = SentenceReader()
    assert not list(reader.feed('{"sentences": [{"text": "A {b}.", "passages": [1]'))
    assert list(reader.feed("}")) == [Written("A {b}.", (1,))]
    assert not list(reader.feed(', {"text": "C'))
    assert list(reader.feed('.", "passages": []}]}')) == [Written("C.", ())]
    assert not list(reader.feed('{"sentences": [{"text": "D."}]}'))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"text": "a", "passages": ["2", 3.0, None, True, -1, [1], "\u00b2", "9" * 400]},
            (2, *[0] * 7),
        ),
        ({"text": "a", "passages": 4}, (4,)),
        ({"text": "a", "passages": None}, ()),
        ({"text": "a"}, ()),
        ("a", ()),
    ],
)
def test_numbers_that_are_none_count_as_none(value: object, expected: tuple[int, ...]) -> None:
    assert read(json.dumps({"sentences": [value]})) == ([Written("a", expected)], "")


@pytest.mark.parametrize(
    "text",
    ["Bread rises.", '{"answer": "Bread rises."}', "<think>rises", '{"sentences": "none"}', "[1]"],
)
def test_another_form_is_kept_as_it_is(text: str) -> None:
    assert read(text) == ([], text)


def test_thoughts_alone_are_no_answer() -> None:
    assert read("<think>", 'a "sentences": [{"text": "b"}]', "</think>", " c ") == ([], "c")


@pytest.mark.parametrize(
    "text", ['{"sentences": [{"text": "a', '{"sentences": [{"a": nope}', "[" * 99_999]
)
def test_what_never_becomes_whole_ends(text: str) -> None:
    found, rest = read(text, "]" * 5, "}")
    assert found == []
    assert rest in ("", text + "]" * 5 + "}")
    deep = '{"sentences": [' + '{"a":' * 50_000
    assert read(deep, "}") == ([], "")


def test_a_long_answer_is_read_in_linear_time() -> None:
    reader = SentenceReader()
    looked = 0
    for _ in range(20_000):
        looked += len(list(reader.feed("words and words ")))
    assert looked == 0
    assert len(reader.rest()) == 20_000 * 16 - 1
