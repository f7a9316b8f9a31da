"""The terms of a title: its words, what names are put together from, pairs, and its shape."""

from __future__ import annotations

import re
from itertools import pairwise

LONGEST = 200
"""Characters of a title, at most: a longer first line is text."""

_WORD = re.compile(r"\w+")
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def title_terms(text: str) -> list[str]:
    """The terms of the first line of a text that has several, in lower case.

    `json.JSONEncoder` has json, jsonencoder, json and encoder, the pair of both words, and
    "json/2", its first word with the number of words: of dotted names that tells members from what
    a module has itself. A text of one line has no title, and no terms.
    """
    title, end, _ = text.partition("\n")
    if not end or len(title) > LONGEST:
        return []
    names = _WORD.findall(title)
    words = [name.lower() for name in names]
    pieces = [piece.lower() for name in names for piece in _pieces(name)]
    shape = [f"{words[0]}/{len(words)}"] if words else []
    return [*words, *pieces, *map(" ".join, pairwise(words)), *shape]


def _pieces(name: str) -> list[str]:
    """What a name is put together from (`readFile`, `read_file`); none of one that is whole."""
    pieces = _PIECE.findall(name) if name.isascii() else []
    return pieces if len(pieces) > 1 else []
