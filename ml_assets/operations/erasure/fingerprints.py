"""Fingerprints of marks, by which a receipt lets look again who has the tables, and no text.

Of the first 16 bytes of a mark 24 bits tell, at every place of a file, whether it is worth to ask
for the HMAC of all of it. Both have the salt of the ledger: alone they tell nothing of the bytes.
"""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_assets.operations.erasure.subject import Marks
from ml_assets.operations.erasure.traces import look_through
from ml_assets.operations.erasure.traces.contents import Parts
from ml_assets.operations.erasure.traces.patterns import patterns_of

_WINDOW = 16
_LONGEST = 512
_WORD = 8
_BITS = 24
_BLOCK = 4 << 20
_MOST = 1024
"""Of all marks; where there are more, every so many of them are kept."""
_NOT_KEPT = ("PGLZ", "JSON", "UTF-16 BE")
"""Encodings of words that are looked for while they are known, and not again."""

_Known = Mapping[int, Sequence[tuple[int, bytes]]]
"""The lengths and HMACs of marks, by the 24 bits of their beginning."""


def fingerprints_of(marks: Marks, salt: bytes) -> list[str]:
    """A fingerprint, in hex, of each encoding of each mark: 24 bits, its length, its HMAC."""
    kept = dict.fromkeys(
        pattern.content
        for pattern in patterns_of(marks)
        if _WINDOW <= len(pattern.content) <= _LONGEST
        and not pattern.encoding.startswith(_NOT_KEPT)
    )
    every, keys = 1 + len(kept) // _MOST, _keys(salt)
    return [
        f"{int(_short(each, 0, keys)[0]):06x}{len(each):04x}{_long(each, salt).hex()}"
        for each in [*kept][::every]
    ]


def find_fingerprints(
    folder: Path, fingerprints: Sequence[str], salt: bytes
) -> Iterator[tuple[str, str]]:
    """Each file under a folder, with where in it, that has the bytes of one of them.

    Raises:
        StoreError: a file cannot be read.
    """
    known: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for each in fingerprints:
        known[int(each[:6], 16)].append((int(each[6:10], 16), bytes.fromhex(each[10:])))
    table = np.zeros(1 << _BITS, dtype=np.bool_)
    table[list(known)] = True

    def look(parts: Parts) -> list[bool]:
        return [any(_is_in(block, table, known, salt) for block in _blocks(parts))]

    for name, where, is_there in look_through(folder, look):
        if is_there:
            yield name, where


def _is_in(block: bytes, table: NDArray[np.bool_], known: _Known, salt: bytes) -> bool:
    keys = _keys(salt)
    for start in range(_WORD):
        short = _short(block, start, keys)
        for place in np.flatnonzero(table[short]).tolist():
            at = place * _WORD + start
            for length, digest in known[int(short[place])]:
                if _long(block[at : at + length], salt) == digest:
                    return True
    return False


def _blocks(parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The content in blocks, each with the end of the one before."""
    waiting, size = [b""], 0
    for part in parts:
        waiting.append(bytes(part))
        size += len(part)
        if size >= _BLOCK:
            block = b"".join(waiting)
            yield block
            waiting, size = [block[1 - _LONGEST :]], 0
    yield b"".join(waiting)


def _short(block: bytes, start: int, keys: tuple[np.uint64, np.uint64]) -> NDArray[np.uint64]:
    """24 bits of the 16 bytes at every eighth place from `start` on, shape (places,)."""
    count = max(0, (len(block) - start) // _WORD)
    words = np.frombuffer(block, "<u8", count, start) if count else np.empty(0, "<u8")
    mixed: NDArray[np.uint64] = (words[:-1] * keys[0]) ^ (words[1:] * keys[1])
    return mixed >> np.uint64(64 - _BITS)


def _long(content: bytes, salt: bytes) -> bytes:
    return hmac.digest(salt, b"mark\0" + content, "sha256")[:16]


def _keys(salt: bytes) -> tuple[np.uint64, np.uint64]:
    """Two odd numbers that follow from the salt."""
    made = hmac.digest(salt, b"keys", "sha256")
    first, second = (int.from_bytes(made[at : at + 8], "little") | 1 for at in (0, 8))
    return np.uint64(first), np.uint64(second)
