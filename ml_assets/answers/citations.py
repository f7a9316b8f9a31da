"""Whether what a sentence cites exists, and has its words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from ml_assets.answers.model import Mark, Passage, Sentence
from ml_assets.search.answering.snippet import query_terms

LEAST_SHARE = 1 / 3
"""Of the words of a sentence; one that shares fewer with what it cites is doubtful."""

_SHORT = 3
"""Words of so few letters are in every text."""

_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]{2,}")
"""Writing without blanks, of which the index makes one word: it is compared by pairs of letters."""


def check_sentence(text: str, numbers: Sequence[int], passages: Mapping[int, Passage]) -> Sentence:
    """The sentence with those of its citations that exist, and a mark."""
    text = " ".join(text.split())
    known = tuple(dict.fromkeys(number for number in numbers if number in passages))
    return Sentence(text, known, _mark(text, numbers, [passages[number] for number in known]))


def _mark(text: str, numbers: Collection[int], cited: Sequence[Passage]) -> Mark:
    if not numbers:
        return "uncited"
    if len(cited) < len(set(numbers)):
        return "wrong"
    said = {word for word in _words(text) if len(word) > _SHORT} or _words(text)
    there = {word for passage in cited for word in _words(f"{passage.title} {passage.text}")}
    return "cited" if len(said & there) >= LEAST_SHARE * len(said) else "doubtful"


def _words(text: str) -> frozenset[str]:
    pairs = {
        f"{first}{second}  " for run in _UNSPACED.findall(text) for first, second in pairwise(run)
    }
    return query_terms(_UNSPACED.sub(" ", text)) | pairs
