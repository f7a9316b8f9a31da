"""Snippets: the part of a chunk that shows why it was found."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection
from functools import cache

from ml_assets.search.indexes.keyword.words import analyzer

LENGTH = 240
"""Characters of a snippet, at most, without its ellipses."""

_LEAD = 40

_FUNCTION_WORDS = """
a about all also an and any are as at be been but by can could did do does for from had has have
he her his how i if in into is it its may me my no not of on one or our she should so some such
than that the their them then there these they this those to us was we were what when where which
while who whose why will with would you your
"""
"""They stand in nearly every text: that the index finds them, too, tells nothing of a text."""


def query_terms(text: str) -> frozenset[str]:
    """The distinct terms of a query, as the keyword index sees them."""
    return frozenset(analyzer().analyze(unicodedata.normalize("NFC", text)))


def telling_terms(query: str) -> frozenset[str]:
    """Those terms of a query by which a text shows why it was found.

    Single letters and function words are left out, unless the query has no others.
    """
    terms = query_terms(query)
    telling = {term for term in terms - _function_terms() if len(term) > 1}
    return frozenset(telling) or terms


@cache
def _function_terms() -> frozenset[str]:
    return query_terms(_FUNCTION_WORDS)


def snippet(text: str, terms: Collection[str], length: int = LENGTH) -> str:
    """Return the `length` characters of `text` that hold most distinct `terms`, on one line.

    Cut at words, with an ellipsis where text was left out; the start when no term occurs.
    """
    if len(text) <= length:
        return _one_line(text)
    start = _best_start(text, terms, length)
    start = _word_start(text, max(0, start - _LEAD))
    end = _word_end(text, start, start + length)
    before = "… " if start else ""
    after = " …" if end < len(text) else ""
    return f"{before}{_one_line(text[start:end])}{after}"


def highlight(text: str, terms: Collection[str]) -> list[tuple[str, bool]]:
    """Cut a text into pieces, each with whether it is a word of the query; joined they are it."""
    pieces: list[tuple[str, bool]] = []
    place = 0
    for token in analyzer().pre_tokenize(text).tokens:
        if token.text in terms:
            start, end = token.char_offset_from, token.char_offset_to
            pieces += [(text[place:start], False), (text[start:end], True)]
            place = end
    return [piece for piece in (*pieces, (text[place:], False)) if piece[0]]


def _best_start(text: str, terms: Collection[str], length: int) -> int:
    tokens = analyzer().pre_tokenize(text).tokens
    places = [(token.char_offset_from, token.text) for token in tokens if token.text in terms]
    inside: Counter[str] = Counter()
    best, most, end = 0, 0, 0
    for start, term in places:
        while end < len(places) and places[end][0] < start + length - _LEAD:
            inside[places[end][1]] += 1
            end += 1
        if len(inside) > most:
            best, most = start, len(inside)
        inside[term] -= 1
        if not inside[term]:
            del inside[term]
    return best


def _word_start(text: str, position: int) -> int:
    if position == 0 or text[position - 1].isspace():
        return position
    following = enumerate(text[position : position + _LEAD], start=1)
    return position + next((place for place, letter in following if letter.isspace()), 0)


def _word_end(text: str, start: int, end: int) -> int:
    if end >= len(text) or text[end].isspace():
        return min(end, len(text))
    cut = max(text.rfind(space, start, end) for space in " \n\t")
    return cut if cut > start else end


def _one_line(text: str) -> str:
    return " ".join(text.split())
