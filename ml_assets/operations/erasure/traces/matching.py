"""Many patterns looked for at once, in time that hardly depends on how many they are.

A file is read as words of 8 bytes at every eighth place. Each pattern has 8 places at which such a
word can begin in it, so wherever it lies, one of them is read: a table of hashes tells in one look
whether a word is of any pattern. Patterns of less than 15 bytes are looked for by words of 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ml_assets.operations.erasure.traces.patterns import Pattern

BLOCK = 1 << 20
"""Bytes that are looked at together."""

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio, odd: its products spread over their high bits (Knuth, 6.4)."""

_SPARSE = 64
"""Places of the table for each word, or more."""
_MOST_BITS = 26


class Matcher:
    """Finds patterns in content that comes in parts; a pattern may lie across two."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        """Prepare the tables; there may be no pattern at all."""
        self._overlap = max((len(each.content) for each in patterns), default=1) - 1
        long = [each for each in patterns if len(each.content) >= 2 * _Words.longest - 1]
        short = [each for each in patterns if 7 <= len(each.content) < 2 * _Words.longest - 1]
        self._tables = [_Words(size, some) for size, some in ((8, long), (4, short)) if some]
        self._tiny = [each for each in patterns if len(each.content) < 7]

    def find(self, parts: Iterable[bytes | memoryview]) -> Iterator[tuple[int, Pattern]]:
        """Each pattern where it begins in the content, in bytes; the first place of each."""
        seen: set[Pattern] = set()
        for offset, block in self._blocks(parts):
            for place, pattern in self._in_block(block):
                if pattern not in seen:
                    seen.add(pattern)
                    yield offset + place, pattern

    def _blocks(self, parts: Iterable[bytes | memoryview]) -> Iterator[tuple[int, bytes]]:
        """The content in blocks, each with the end of the one before, and where each begins."""
        waiting: list[bytes | memoryview] = []
        size, offset = 0, 0
        for part in parts:
            waiting.append(part)
            size += len(part)
            if size >= BLOCK:
                block = b"".join(waiting)
                yield offset, block
                kept = block[len(block) - self._overlap :] if self._overlap else b""
                offset += len(block) - len(kept)
                waiting, size = [kept], len(kept)
        if size:
            yield offset, b"".join(waiting)

    def _in_block(self, block: bytes) -> Iterator[tuple[int, Pattern]]:
        for table in self._tables:
            yield from table.find(block)
        for pattern in self._tiny:
            if (place := block.find(pattern.content)) >= 0:
                yield place, pattern


class _Words:
    """The words of `size` bytes of some patterns, in a table of hashes."""

    longest = 8

    def __init__(self, size: int, patterns: Sequence[Pattern]) -> None:
        self._size = size
        self._type = np.dtype(f"<u{size}")
        self._of_word: dict[int, list[tuple[int, Pattern]]] = defaultdict(list)
        for pattern in patterns:
            first = _telling(pattern.content, size)
            for start in range(first, first + size):
                word = int.from_bytes(pattern.content[start : start + size], "little")
                self._of_word[word].append((start, pattern))
        self._words = np.array(sorted(self._of_word), dtype=np.uint64)
        bits = min(_MOST_BITS, max(16, (_SPARSE * len(self._words)).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, dtype=np.bool_)
        self._table[self._hash(self._words)] = True

    def find(self, block: bytes) -> Iterator[tuple[int, Pattern]]:
        """Each pattern with where it begins in the block, at each place that it is."""
        words = np.frombuffer(block, self._type, len(block) // self._size)
        likely = np.flatnonzero(self._table[self._hash(words)])
        asked = words[likely].astype(np.uint64)
        nearest = np.searchsorted(self._words, asked).clip(max=len(self._words) - 1)
        for index in likely[self._words[nearest] == asked].tolist():
            for start, pattern in self._of_word[int(words[index])]:
                place = index * self._size - start
                if place >= 0 and block.startswith(pattern.content, place):
                    yield place, pattern

    def _hash(self, words: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
        hashed: NDArray[np.uint64] = words.astype(np.uint64) * _MULTIPLIER >> self._shift
        return hashed


def _telling(content: bytes, size: int) -> int:
    """Where in a pattern the words begin that are looked for: at its most different bytes.

    Blanks, or a half of UTF-16, are in every file.
    """
    span = 2 * size - 1
    places = range(len(content) - span + 1)
    return max(places, key=lambda place: len(set(content[place : place + span])))
