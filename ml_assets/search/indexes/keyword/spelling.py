"""How texts and queries are spelled before they are cut into words.

Characters that nobody sees are left out, and letters of another form are letters. What a script
writes without spaces, and Korean, whose words end in many ways, is cut into single characters and
pairs. A word that is too long to be kept
is kept as its hash, so that a copy of it finds it all the same.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from itertools import pairwise

VERSION = 5
"""Raise it when what the index holds of a text changes, so that it is built anew."""

LONGEST = 128
"""Characters of a word that is kept as it is."""

_UNSEEN = (*"\u00ad\u034f\u061c\u180e\ufeff", *map(chr, (*range(0x200B, 0x2010),)))
_UNSEEN_CONTROLS = tuple(map(chr, (*range(0x202A, 0x202F), *range(0x2060, 0x2070))))
_OTHER_FORMS = map(chr, (*range(0xFB00, 0xFB07), *range(0xFF01, 0xFFF0)))
"""Ligatures of Latin letters, and letters of full and half width."""

_SPELLED = str.maketrans(
    {form: unicodedata.normalize("NFKC", form) for form in _OTHER_FORMS}
    | dict.fromkeys((*_UNSEEN, *_UNSEEN_CONTROLS), "")
)
WHOLE_KOREAN = 4
"""The last version that leaves words of Korean whole."""

_WITHOUT_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""

_CUT = re.compile(f"[{_WITHOUT_SPACES}\uac00-\ud7a3]+")
_CUT_BEFORE = re.compile(f"[{_WITHOUT_SPACES}]+")

_LONG = re.compile(rf"[^\W_]{{{LONGEST + 1},}}")


def spell(text: str, version: int = VERSION, *, of_query: bool = False) -> str:
    """Return a text as it is cut into words; of a query, single characters only stand alone."""
    if not text.isascii():
        text = text.translate(_SPELLED)
        cut = _CUT if version > WHOLE_KOREAN else _CUT_BEFORE
        text = cut.sub(_pairs if of_query else _characters_and_pairs, text)
    return _LONG.sub(_hash, text)


def _pairs(run: re.Match[str]) -> str:
    letters = _letters(run[0])
    return f" {' '.join(map(''.join, pairwise(letters))) if letters[1:] else letters} "


def _characters_and_pairs(run: re.Match[str]) -> str:
    letters = _letters(run[0])
    return f" {' '.join((*letters, *map(''.join, pairwise(letters))))} "


def _letters(run: str) -> str:
    """The letters of a run: the marks above and below them, and stops, are no words."""
    return "".join(filter(str.isalnum, run))


def _hash(word: re.Match[str]) -> str:
    return hashlib.sha256(word[0].lower().encode()).hexdigest()
