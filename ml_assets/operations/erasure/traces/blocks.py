"""Compressed blocks as ClickHouse and tantivy write them, without the library that wrote them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

_CLICKHOUSE = struct.Struct("<16xBII")
"""A checksum, the method, and the sizes: compressed with the 9 bytes of this header, and not."""
_CHECKSUM, _HEADER = 16, 9

_NONE, _LZ4, _ZSTD, _SEVERAL = 0x02, 0x82, 0x90, 0x91
_METHODS = {_NONE, _LZ4, _ZSTD, _SEVERAL, *range(0x92, 0xA0)}
"""Those after `_SEVERAL` are of numbers: deltas, and what it takes to write them in few bits."""
_LARGEST = 1 << 30

_LENGTH = struct.Struct("<I")


def clickhouse_blocks(file: memoryview) -> Iterator[bytes] | None:
    """The content of a file that is blocks from its begin to its end; None: it is no such file.

    Numbers that are written as deltas stay so.
    """
    places = []
    place = 0
    while place < len(file):
        if place + _CLICKHOUSE.size > len(file):
            return None
        method, packed, plain = _CLICKHOUSE.unpack_from(file, place)
        if method not in _METHODS or not _HEADER <= packed <= len(file) - place - _CHECKSUM:
            return None
        if plain > _LARGEST:
            return None
        places.append(place)
        place += _CHECKSUM + packed
    return (_clickhouse_block(file[at + _CHECKSUM :]) for at in places) if places else None


def _clickhouse_block(block: memoryview) -> bytes:
    method, packed, plain = struct.unpack_from("<BII", block)
    body = block[_HEADER:packed]
    if method == _SEVERAL:  # the codecs in the order in which they were used, then a block
        count = body[0]
        return _clickhouse_block(body[1 + count :])
    if method in (_LZ4, _ZSTD):
        codec = pa.Codec("lz4_raw" if method == _LZ4 else "zstd")
        return bytes(codec.decompress(body, plain, asbytes=True))
    return bytes(body)


def tantivy_blocks(file: memoryview) -> Iterator[bytes]:
    """The blocks of a document store of tantivy: a length, then LZ4; its index ends them."""
    codec, place = pa.Codec("lz4_raw"), 0
    while place + _LENGTH.size < len(file):
        (plain,) = _LENGTH.unpack_from(file, place)
        place += _LENGTH.size
        size = _lz4_size(file[place:], plain) if 0 < plain < _LARGEST else None
        if size is None:
            return
        yield bytes(codec.decompress(file[place : place + size], plain, asbytes=True))
        place += size


def _lz4_size(packed: memoryview, plain: int) -> int | None:
    """How many bytes of LZ4 give `plain` bytes; None: these do not.

    Each sequence is a token, literals, the distance of a copy and its length; the last has no copy.
    See `lz4_Block_format.md`.
    """
    place = made = 0
    try:
        while True:
            token = packed[place]
            place += 1
            literals = token >> 4
            if literals == 15:
                place, literals = _long(packed, place, literals)
            place, made = place + literals, made + literals
            if made >= plain:
                return place if made == plain and place <= len(packed) else None
            copied = token & 15
            place += 2
            if copied == 15:
                place, copied = _long(packed, place, copied)
            made += copied + 4
    except IndexError:
        return None


def _long(packed: memoryview, place: int, length: int) -> tuple[int, int]:
    while True:
        more = packed[place]
        place, length = place + 1, length + more
        if more < 255:
            return place, length
