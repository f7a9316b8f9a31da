"""The bytes that a word or a vector can be in a file, whatever store wrote it.

A store may cut what is long at the end of its page: of that, pieces are looked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ml_assets.embeddings.quantization import Matrix, to_float16, to_uint8, unit
from ml_assets.operations.erasure.subject import Marks
from ml_assets.search.indexes.keyword.words import analyzer

SHORTEST = 6
"""Bytes of a pattern: a shorter one is in any file by chance."""

TERM_END = b"\0"
"""Before and after a term of the keyword index."""

_LONGEST = 96
_PIECE = 64
"""Characters that are looked for whole, and those of a piece of what is longer."""

_NUMBERS = 12
"""Of a vector that are looked for together: three such pieces of it, no page splits them all."""

_LEAST_DISTINCT = 6
"""Different bytes of a piece of a vector; with fewer, as of zeros, it is in other files, too."""

_GROUP = 8
_MOST_SPREAD = 4_000
"""Words that are looked for in PGLZ, too: each is 8 patterns."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Bytes to look for: which mark they are, such as `words[3]`, and in which encoding."""

    content: bytes
    mark: str
    encoding: str


def patterns_of(marks: Marks) -> list[Pattern]:
    """All that the marks can be in a file; what is shorter than `SHORTEST` is left out."""
    spread = len(marks.words) <= _MOST_SPREAD
    found = [
        Pattern(content, f"words[{number}]", encoding)
        for number, word in enumerate(marks.words)
        for piece in _pieces(word)
        for encoding, content in _of_word(piece, spread)
    ]
    found += [
        Pattern(content, f"vectors[{number}]", encoding)
        for number, vector in enumerate(marks.vectors)
        for encoding, content in _of_vector(vector[None])
    ]
    return [each for each in dict.fromkeys(found) if len(each.content) >= SHORTEST]


def _pieces(word: str) -> Sequence[str]:
    if len(word) <= _LONGEST:
        return [word]
    starts = (0, (len(word) - _PIECE) // 2, len(word) - _PIECE)
    return [word[start : start + _PIECE] for start in starts]


def _of_word(word: str, spread: bool) -> Iterator[tuple[str, bytes]]:
    written = {"UTF-8": word.encode()}
    written["UTF-16 LE"], written["UTF-16 BE"] = word.encode("utf-16-le"), word.encode("utf-16-be")
    written["JSON"] = json.dumps(word, ensure_ascii=False)[1:-1].encode()
    written["JSON in ASCII"] = json.dumps(word)[1:-1].encode()
    # Of equal bytes the first name.
    named = {content: name for name, content in reversed(written.items())}
    yield from ((name, content) for content, name in named.items())
    # What its stem is may be that of another word.
    if analyzer().analyze(word) == [word.lower()]:
        yield "term", TERM_END + word.lower().encode() + TERM_END
    if spread:
        yield from (("PGLZ", content) for content in _literals(written["UTF-8"]))


def _literals(content: bytes) -> Iterator[bytes]:
    """What PGLZ makes of bytes that it has not seen before, wherever its groups of 8 begin.

    A zero before each group says that all in it stand for themselves: see `pg_lzcompress.c`.
    """
    if len(content) < 2 * _GROUP:
        return
    for start in range(_GROUP):
        # All of it: a part may stand in other texts, too.
        groups = (content[at : at + _GROUP] for at in range(start, len(content), _GROUP))
        yield content[:start] + b"".join(b"\0" + group for group in groups)


def _of_vector(row: Matrix) -> Iterator[tuple[str, bytes]]:
    norm = unit(row)
    forms = {
        "float32": row,
        "float32 of norm 1": norm,
        "float32, big-endian": row.astype(">f4"),
        "float64": row.astype("<f8"),
        "float16": to_float16(row),
        "float16 of norm 1": to_float16(norm),
        "float16, big-endian": to_float16(row).astype(">f2"),
        "uint8": to_uint8(row)["codes"],
        "uint8 of norm 1": to_uint8(norm)["codes"],
    }
    named: dict[bytes, str] = {}
    for name, numbers in forms.items():
        for piece in _slices(numbers[0]):
            named.setdefault(piece.tobytes(), name)
    yield from (
        (name, content) for content, name in named.items() if len(set(content)) >= _LEAST_DISTINCT
    )


def _slices(
    numbers: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    # A number of one byte tells less: twice as many of them.
    size = _NUMBERS * (2 if numbers.itemsize == 1 else 1)
    for start in {0, max(0, (len(numbers) - size) // 2), max(0, len(numbers) - size)}:
        yield numbers[start : start + size]
