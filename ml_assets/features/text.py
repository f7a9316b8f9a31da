"""Features that are pure functions of one text."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n\s*\n")
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_DIGIT = re.compile(r"\d")
_VOWELS = re.compile(r"[aeiouy]+")
_PROMPT = re.compile(r"(>>>|\.\.\.|\$) ")
_FENCE = re.compile(r"(```|~~~)")
_STATEMENT = re.compile(
    r"(@\w|(async )?def \w|class \w+[(:]|import \w|from [\w.]+ import |return\b.*[\w)\]]$"
    r"|(if|elif|for|while|with) .+:$|(else|try|finally):$|except\b.*:$"
    r"|[\w.\[\]'\"]+( [-+*/|&]?= |\()\S.*$(?<![.!?])"
    r"|.*[;{}]$)"
)

WINDOW = 50
"""Words of the window of the moving-average type-token ratio."""


def text_features(text: str) -> dict[str, float | int | None]:
    """Describe one text, its title the first line; the names are those of the view `document_text`.

    A ratio over words is None when there is no word. See `lexical_diversity`, `reading_ease` and
    `code_share` for their sources.
    """
    words = _WORD.findall(text.lower())
    sentences = count_sentences(text)
    return {
        "characters": len(text),
        "words": len(words),
        "sentences": sentences,
        "mean_word_length": sum(map(len, words)) / len(words) if words else None,
        "lexical_diversity": lexical_diversity(words),
        "code_share": code_share(text),
        "digit_share": _share(_DIGIT, text),
        "punctuation_share": _share(_PUNCTUATION, text),
        "reading_ease": reading_ease(words, sentences),
    }


def count_sentences(text: str) -> int:
    """Count the stretches that hold a word and are ended by . ! ? or an empty line."""
    return sum(_WORD.search(stretch) is not None for stretch in _SENTENCE_END.split(text))


def lexical_diversity(words: Sequence[str], window: int = WINDOW) -> float | None:
    """Mean type-token ratio over all windows of `window` words: 1 when no window repeats a word.

    MATTR, which does not fall with length as the plain ratio does: Covington & McFall (2010),
    "Cutting the Gordian Knot: The Moving-Average Type-Token Ratio", J. Quantitative Linguistics
    17(2). A text shorter than the window is one window. One pass: a word adds one type to each
    window that it lies in and that starts after the word's previous occurrence.
    """
    if not words:
        return None
    window = min(window, len(words))
    last_start = len(words) - window
    previous: dict[str, int] = {}
    types = 0
    for position, word in enumerate(words):
        earliest = max(previous.get(word, -1) + 1, position - window + 1)
        types += max(0, min(position, last_start) - earliest + 1)
        previous[word] = position
    return types / (window * (last_start + 1))


def reading_ease(words: Sequence[str], sentences: int) -> float | None:
    """Flesch reading ease: 206.835 - 1.015 words/sentence - 84.6 syllables/word.

    Flesch (1948), "A new readability yardstick", J. Applied Psychology 32(3). At most 121.22;
    open below, as sentences and words have no longest.
    """
    if not words:
        return None
    syllables = sum(map(count_syllables, words))
    return 206.835 - 1.015 * (len(words) / max(sentences, 1)) - 84.6 * (syllables / len(words))


def count_syllables(word: str) -> int:
    """Count groups of vowels (y too), less a silent final e; at least one. English, lower case.

    A heuristic without a dictionary: "table" has 2 ("le" after a consonant sounds), "make" 1.
    """
    groups = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1
    return max(1, groups - silent)


def code_share(text: str) -> float:
    """Share of the non-empty lines that look like code, 0 for a text without lines.

    A line counts when it stands in a fence, follows a prompt (`>>>`, `...`, `$`), or has the form
    of a statement: a definition, an import, a block's head, an assignment, a call, an ending ; { }.
    """
    lines = code = 0
    fenced = False
    for line in filter(None, map(str.strip, text.splitlines())):
        fence = _FENCE.match(line) is not None
        fenced ^= fence
        lines += 1
        code += bool(fence or fenced or _PROMPT.match(line + " ") or _STATEMENT.match(line))
    return code / lines if lines else 0.0


def _share(pattern: re.Pattern[str], text: str) -> float:
    return (len(text) - len(pattern.sub("", text))) / len(text) if text else 0.0
