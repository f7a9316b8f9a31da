"""Fingerprints: what was forgotten is found again by them, and nothing else is."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from ml_assets.operations.erasure.fingerprints import find_fingerprints, fingerprints_of
from ml_assets.operations.erasure.subject import Marks

SALT = bytes(range(32))
VECTOR = np.random.default_rng(1).normal(size=48).astype(np.float32)
MARKS = Marks(("a piece of text that is a mark", "zq7marker4711-and-more"), (VECTOR,))


@pytest.mark.parametrize("before", [b"", b"x", b"seven..", b"y" * (4 << 20)])
def test_a_mark_is_found_wherever_it_begins(before: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(before + MARKS.words[1].encode() + b" and on")
    found = list(find_fingerprints(tmp_path, fingerprints_of(MARKS, SALT), SALT))
    assert found == [("file", "")]


@pytest.mark.parametrize(
    "content",
    [
        MARKS.words[0].encode("utf-16-le"),
        VECTOR.tobytes(),
        VECTOR.astype(np.float16).tobytes(),
        gzip.compress(MARKS.words[0].encode()),
    ],
)
def test_each_encoding_is_found(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert list(find_fingerprints(tmp_path, fingerprints_of(MARKS, SALT), SALT))


def test_what_begins_as_a_mark_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(MARKS.words[0][:-1].encode() + b"?" * 64)
    (tmp_path / "empty").touch()
    assert not list(find_fingerprints(tmp_path, fingerprints_of(MARKS, SALT), SALT))


def test_another_salt_gives_others() -> None:
    first, second = (set(fingerprints_of(MARKS, salt)) for salt in (SALT, SALT[::-1]))
    assert first.isdisjoint(second)
    assert not any("mark" in bytes.fromhex(each).decode(errors="replace") for each in first)


def test_of_many_marks_a_receipt_keeps_some_of_all() -> None:
    words = tuple(f"zqmarker {number} of a planted document" for number in range(3000))
    kept = fingerprints_of(Marks(words, ()), b"salt")
    assert 512 <= len(kept) <= 1024
