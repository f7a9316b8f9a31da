"""Spelling of texts and queries before they are cut into words."""

from __future__ import annotations

import pytest

from ml_assets.search.indexes.keyword import spelling
from ml_assets.search.indexes.keyword.spelling import LONGEST, spell
from ml_assets.search.indexes.keyword.words import accent_marks, analyzer, query_terms
from ml_assets_tests import golden


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("Plain words, as they are.", "Plain words, as they are."),
        ("café Müller", "café Müller"),
        ("数据库 ok", " 数 据 库 数据 据库  ok"),
        ("库", " 库 "),
        ("x数y", "x 数 y"),
        (
            "soft\u00adhyphen, zero\u200bwidth, \u202bbidi\u202c, \ufeffmark",
            "softhyphen, zerowidth, bidi, mark",
        ),
        ("\ufb01re \uff21\uff11", "fire A1"),
        ("한국어 문장", " 한 국 어 한국 국어   문 장 문장 "),
    ],
)
def test_texts(text: str, spelled: str) -> None:
    assert spell(text) == spelled


@pytest.mark.parametrize(
    ("query", "spelled"),
    [
        ("한국어로 x", " 한국 국어 어로  x"),
        ("数据库", " 数据 据库 "),
        ("库", " 库 "),
        ("。", "。"),
        ("plain", "plain"),
    ],
)
def test_queries_ask_for_pairs(query: str, spelled: str) -> None:
    assert spell(query, of_query=True) == spelled


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("printers", "printer"),
        ("принтеры", "принтера"),
        ("الطابعة", "طابعة"),
        ("அச்சுப்பொறிகள்", "அச்சுப்பொறி"),
    ],
)
def test_stems_meet_in_every_language_that_its_letters_tell(word: str, other: str) -> None:
    assert query_terms(word)[0].folded == query_terms(other)[0].folded


def test_an_index_of_an_earlier_layout_is_asked_as_it_was_made() -> None:
    assert [term.folded for term in query_terms("한국어 принтеры printers", 4)] == [
        "한국어",
        "принтеры",
        "printer",
    ]


def test_golden_terms() -> None:
    texts = [
        "Running café \u0142\u00f3d\u017a at 3.14",
        "数据库 in\u00adsurance \ufb01re",
        f"{'ab' * 99} x_y",
        "한국어 문장 — Принтеры не работают — الطابعة لا تعمل — TNF\u03b1",
    ]
    output = [
        [
            analyzer().analyze(spell(text)),
            sorted(accent_marks([spell(text)])),
            list(map(str, query_terms(text))),
        ]
        for text in texts
    ]
    golden.check("ml_assets.search.indexes.keyword.spelling.VERSION", spelling.VERSION, output)


def test_a_long_word_is_its_hash_whatever_its_case() -> None:
    kept, long = "a" * LONGEST, "aB" * LONGEST
    assert spell(kept) == kept
    assert spell(f"see {long}!") == spell(f"see {long.lower()}!")
    assert len(spell(long)) == 64
    assert spell(long) != spell(f"{long}a")
