"""What is taken out of texts that must stay: of a log, of a card, of an event of Dagster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ml_assets.operations.erasure.finding import is_like_no_other
from ml_assets.operations.erasure.subject import Subject
from ml_assets.operations.erasure.traces.matching import Matcher
from ml_assets.operations.erasure.traces.patterns import Pattern

ERASED = "[forgotten]"
"""What stands in a text in the place of what was taken out."""

_SHORTEST = 8
"""Characters of a text that is taken out: a shorter one is in texts of others."""
_SHORTEST_ID = 4
_BEGIN = 96
"""Bytes of a word that are looked for first."""


class Wording:
    """Words that are taken out wherever they stand, the longest first, and ids as whole words."""

    def __init__(self, words: Iterable[str], ids: Iterable[str]) -> None:
        """Prepare to look for all of them at once."""
        self.words = tuple(sorted(words, key=len, reverse=True))
        self.ids = tuple(ids)
        self._matcher = Matcher(
            [Pattern(each.encode()[:_BEGIN], each, "UTF-8") for each in (*self.words, *self.ids)]
        )

    def without(self, text: str) -> str:
        """The text without them."""
        found = {pattern.mark for _, pattern in self._matcher.find([text.encode(errors="replace")])}
        if not found:
            return text
        for word in self.words:
            if word in found:
                text = text.replace(word, ERASED)
        for document_id in self.ids:
            if document_id in found:
                text = re.sub(rf"(?<![\w.-]){re.escape(document_id)}(?![\w.-])", ERASED, text)
        return text


def wording_of(subject: Subject) -> Wording:
    """What is to be taken out of texts, also as JSON has it: marks, whole texts, and ids.

    Not what a text of others may say, or a state or a number of a store may be: a whole text in
    which no mark is, and an id that has not both letters and digits.
    """
    marks = subject.marks.words
    matcher = Matcher([Pattern(each.lower().encode(), each, "UTF-8") for each in marks])
    own = (each for each in subject.texts if any(matcher.find([each.lower().encode()])))
    words = {form for each in (*own, *marks) for form in _forms(each) if len(form) >= _SHORTEST}
    ids = (each for each in subject.documents if len(each) >= _SHORTEST_ID)
    return Wording(words, (each for each in ids if is_like_no_other(each)))


def _forms(text: str) -> set[str]:
    """As it is, in JSON, and in JSON within JSON."""
    forms = {text}
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        forms |= {once, json.dumps(once, ensure_ascii=ascii_only)[1:-1]}
    return forms
