"""What rows that are no more have left in the pages of tables of PostgreSQL, unpacked.

A deleted row stays in its page until a table is written anew, and a long value in it is compressed
by PGLZ, or cut into pieces of a table of TOAST. Values of rows that are there queries give. Layouts
are those of `bufpage.h`, `htup_details.h`, `varatt.h` and `pg_lzcompress.c`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

_PAGE = 8192
_HEADER = 24
_LAYOUT = _PAGE | 4
"""The size of a page and the version of its layout, as its header has them."""
_LOWER, _UPPER, _SPECIAL, _VERSION = 6, 7, 8, 9
"""Halves of words: the begin and the end of the gap, the end of the rows, the layout."""

_NORMAL = 1
"""A pointer to a row that has bytes."""
_MASK_AT = 20
_INSERTED, _ABORTED, _NOT_DELETED = 0x0300, 0x0200, 0x0800
"""Bits of a row: how its transaction ended, as far as anybody looked, and that none deleted it."""

_COMPRESSED, _WHOLE = 2, 0
"""The last two bits of the length of a value."""
_LARGEST_PIECE = 2048
_RAW_SIZE = (1 << 30) - 1
_PGLZ = 0
"""The method; the embedded server is built without another."""
_RATIO = 256
"""More than a value can shrink."""

Words = NDArray[np.uint32]


def deleted_values(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Each value that was compressed in what is no row of a table; none of another file.

    `parts` are whole pages. Pieces that are missing end a value.
    """
    pieces: dict[tuple[int, int], bytes] = {}
    for words in _left_in(parts):
        for place in _values(words):
            size, kind = int(words[place]) >> 2, int(words[place]) & 3
            value = words[place + 1 : place + (size + 3) // 4].tobytes()[: size - 4]
            if kind == _COMPRESSED:
                yield from _unpacked(value)
            elif place >= 2:
                pieces[int(words[place - 2]), int(words[place - 1])] = value
    for owner in [owner for owner, number in pieces if number == 0]:
        whole, number = b"", 0
        while piece := pieces.get((owner, number)):
            whole, number = whole + piece, number + 1
        yield from _unpacked(whole)


def _left_in(parts: Iterable[bytes]) -> Iterator[Words]:
    """What is left in the pages of a table; those of an index have more at their end."""
    for part in parts:
        count = len(part) // _PAGE
        pages = np.frombuffer(part, np.uint8, count * _PAGE).reshape(count, _PAGE)
        heads = np.ascontiguousarray(pages[:, :_HEADER]).view("<u2")
        of_table = (heads[:, _VERSION] == _LAYOUT) & (heads[:, _SPECIAL] == _PAGE)
        for page in pages[of_table]:
            if (words := _left(page)) is not None:
                yield words


def _values(words: Words) -> list[int]:
    """Where the length of a value may be that is compressed, or a piece of one."""
    sizes, kinds = words >> 2, words & 3
    room = 4 * np.arange(len(words), 0, -1)
    likely = (kinds == _COMPRESSED) | ((kinds == _WHOLE) & (sizes <= _LARGEST_PIECE))
    return [*map(int, np.flatnonzero(likely & (sizes > 2 * 4) & (sizes <= room)))]


def _left(page: NDArray[np.uint8]) -> Words | None:
    """The words of a page without those of rows that are there; None: there is nothing else."""
    halves = page.view("<u2")
    lower, upper = int(halves[_LOWER]), int(halves[_UPPER])
    if not _HEADER <= lower <= upper <= _PAGE:
        return None
    pointers = page[_HEADER:lower].view("<u4")
    begins, lengths = pointers & 0x7FFF, pointers >> 17
    normal = ((pointers >> 15) & 3 == _NORMAL) & (begins + lengths <= _PAGE)
    begins, lengths = begins[normal], lengths[normal]
    masks = halves[(begins + _MASK_AT) // 2]
    there = (masks & _NOT_DELETED != 0) & (masks & _INSERTED != _ABORTED)
    rows = int(((lengths + 7) & ~np.uint32(7)).sum())
    if there.all() and rows == _PAGE - upper and not page[lower:upper].any():
        return None  # as of most pages
    left = page.copy()
    left[:lower] = 0
    for begin, length in zip(begins[there].tolist(), lengths[there].tolist(), strict=True):
        left[begin : begin + length] = 0
    return left.view("<u4") if left.any() else None


def _unpacked(value: bytes) -> Iterator[bytes]:
    """A compressed value, behind its size and method, if it is one."""
    info = int.from_bytes(value[:4], "little")
    size, method, packed = info & _RAW_SIZE, info >> 30, value[4:]
    if not len(packed) // 2 < size < _RATIO * len(packed):
        return
    if method == _PGLZ:
        yield unpack_pglz(packed, size)


def unpack_pglz(packed: bytes, size: int) -> bytes:
    """The first `size` bytes at most of what PGLZ packed; up to where it is no such thing, or ends.

    Each group has 8 items, and before it a byte whose bits say which of them repeat earlier bytes.
    """
    plain = bytearray()
    place, end = 0, len(packed)
    while place < end and len(plain) < size:
        control, place = packed[place], place + 1
        for bit in range(8):
            if place >= end or len(plain) >= size:
                break
            if not control >> bit & 1:
                plain.append(packed[place])
                place += 1
                continue
            if place + 3 > end:
                return bytes(plain)
            length, back = (packed[place] & 0x0F) + 3, (packed[place] & 0xF0) << 4
            back |= packed[place + 1]
            place += 2
            if length == 18:
                length += packed[place]
                place += 1
            if not 0 < back <= len(plain):
                return bytes(plain)
            for _ in range(length):
                plain.append(plain[-back])
    return bytes(plain)
