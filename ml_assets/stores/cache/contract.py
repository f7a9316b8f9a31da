"""What every cache does, and how a value lies in it."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

Clock = Callable[[], float]
"""Seconds since 1970."""

LARGEST = 1_000_000
"""Bytes of a value: Memcached takes 1 MiB with its key. A larger one is not kept."""

_KEY = re.compile(r"[!-~]{1,200}")
_HEAD = struct.Struct("<qI")


class Cache(Protocol):
    """Bytes by key, each with an end; any of them may be gone before it.

    A key is what `key_of` gives: up to 200 ASCII characters without blanks.
    """

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Read the values of those keys that have one whose end has not come.

        Raises:
            StoreError: the store does not answer, or refuses.
        """

    def put_many(self, values: Mapping[str, bytes], seconds: float) -> None:
        """Keep values for so long; those of more than `LARGEST` bytes are not kept.

        Raises:
            ValueError: `seconds` is not positive.
            StoreError: the store does not answer, or refuses.
        """

    def delete_many(self, keys: Sequence[str]) -> None:
        """Forget values; a key that has none is no mistake.

        Raises:
            StoreError: the store does not answer, or refuses.
        """

    def clear(self) -> bool:
        """Forget every value of ours; False: the store cannot tell which there are.

        Raises:
            StoreError: the store does not answer, or refuses.
        """


def key_of(kind: str, *parts: str) -> str:
    """A key of a `kind` of values: its parts are hashed, so a text in them cannot be read back."""
    digest = hashlib.sha256()
    for part in parts:  # with its length: no two lists of parts make one
        text = part.encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return checked(f"{kind}:{digest.hexdigest()}")


def checked(key: str) -> str:
    """Return a key that every cache takes.

    Raises:
        ValueError: it has a blank, a letter beyond ASCII, or too many of them.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of a cache")
    return key


def sealed(values: Mapping[str, bytes], seconds: float, now: float) -> dict[str, bytes]:
    """What is stored of values: their end and a checksum, then the bytes.

    Raises:
        ValueError: `seconds` is not positive, or a key is none.
    """
    if not seconds > 0:
        raise ValueError(f"a value cannot be kept for {seconds} seconds")
    end = round((now + seconds) * 1e6)
    return {
        checked(key): _HEAD.pack(end, _checksum(end, value)) + value
        for key, value in values.items()
        if len(value) <= LARGEST
    }


def opened(stored: bytes | None, now: float) -> bytes | None:
    """The value of what is stored; None: nothing is, its end has come, or it was damaged."""
    if stored is None or len(stored) < _HEAD.size:
        return None
    end, checksum = _HEAD.unpack_from(stored)
    value = stored[_HEAD.size :]
    return value if end > round(now * 1e6) and checksum == _checksum(end, value) else None


def _checksum(end: int, value: bytes) -> int:
    return zlib.crc32(value, end & 0xFFFFFFFF)
