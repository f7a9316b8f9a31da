"""Words: what texts and queries are made of, for every index that finds by words.

A word is found with its accents or without: `cafe` finds `café`, and `Müller` finds `Muller`. So
that the exact form can rank first, a text with accents has marks, too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import tantivy

from ml_assets.search.indexes.keyword.spelling import LONGEST, VERSION, spell

MAX_TERMS = 256
"""Distinct terms of a query that count; a whole document is a query, too."""

UNFOLDED, ENGLISH = 3, 4
"""The last layouts whose words keep their accents, and that know the stems of English alone."""

_STEMS = ("english", "arabic", "russian", "tamil")
"""Languages of which no two share letters: the script of a word tells which is meant, nearly. Not
Greek, whose letters end the names of genes and tell them apart."""

_LONGEST_BYTES = 4 * LONGEST + 1

_WITHOUT = "-"
"""What the mark of a word begins with that stands in a text with accents only; no term has it."""


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a query: as texts are found by it, and as it is written."""

    folded: str
    written: str

    @property
    def mark(self) -> str:
        """The mark by which texts with and without the written form differ."""
        return self.written if self.is_accented else _WITHOUT + self.folded

    @property
    def is_accented(self) -> bool:
        """A text that has the mark has the written form; otherwise, one that has not."""
        return self.written != self.folded


@cache
def analyzer(layout: int = VERSION, *, folded: bool = True) -> tantivy.TextAnalyzer:
    """What cuts texts into terms: words, lowercase, by their stems; `folded`: without accents."""
    builder = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(_LONGEST_BYTES))
        .filter(tantivy.Filter.lowercase())
    )
    if folded:
        builder = builder.filter(tantivy.Filter.ascii_fold())
    for language in _STEMS if layout > ENGLISH else _STEMS[:1]:
        builder = builder.filter(tantivy.Filter.stemmer(language))
    return builder.build()


def query_terms(text: str, layout: int = VERSION) -> list[Term]:
    """The distinct terms of a query to an index of this layout, `MAX_TERMS` at most.

    Its accents may be characters of their own, as some systems write them; those of texts are not.
    """
    text = unicodedata.normalize("NFC", text)
    folded = layout > UNFOLDED
    terms = dict.fromkeys(_terms(spell(text, layout, of_query=True) if folded else text, layout))
    if not folded:
        terms = dict.fromkeys(Term(term.written, term.written) for term in terms)
    return list(terms)[:MAX_TERMS]


def accent_marks(texts: Iterable[str], layout: int = VERSION) -> set[str]:
    """The marks of a chunk: its words with accents, and what it has in no other form."""
    terms = {term for text in texts if not text.isascii() for term in _terms(text, layout)}
    accented = {term for term in terms if term.is_accented}
    if not accented:
        return set()
    plain = {term.folded for text in texts for term in _terms(text, layout) if not term.is_accented}
    return {term.written for term in accented} | {
        _WITHOUT + term.folded for term in accented if term.folded not in plain
    }


def _terms(text: str, layout: int) -> Iterable[Term]:
    # Both cut at the same places, and leave out the same words.
    folded = analyzer(layout).analyze(text)
    written = analyzer(layout, folded=False).analyze(text)
    return map(Term, folded, written)
