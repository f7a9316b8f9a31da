"""What PostgreSQL leaves of deleted rows is unpacked; rows that are there are not."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml_assets.operations.erasure.subject import Marks
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.operations.erasure.traces.pages import deleted_values, unpack_pglz
from ml_assets.stores import postgres

WORD = "zqmarker-of-a-planted-document"
PARTS = "zqmark marker-of er-of-a-pl planted- ted-document "
"""After it nothing of the word stands for itself."""

Kept = Callable[[], list[Path]]


def text(words: int) -> str:
    """Of words of a few, as a language has them: PGLZ keeps only what gets a quarter shorter."""
    rng = random.Random(words)
    said = [f"word{rng.randrange(150)}" for _ in range(words + 100)]
    return f"{' '.join(said[:words])} {PARTS} {WORD} {' '.join(said[words:])}"


@pytest.fixture
def kept(superuser: postgres.Connection, tmp_path: Path) -> Kept:
    """The files of a table, its TOAST and its index, as they are on disk."""
    superuser.execute("create table public.kept (id text primary key, said text)")

    def files() -> list[Path]:
        superuser.execute("checkpoint")
        query = """
            select relname, pg_read_binary_file(pg_relation_filepath(oid))
            from pg_class
            where oid in ('public.kept'::regclass, 'public.kept_pkey'::regclass,
                (select reltoastrelid from pg_class where oid = 'public.kept'::regclass))
        """
        copies = tmp_path / "base" / "1"
        copies.mkdir(parents=True, exist_ok=True)
        for name, content in superuser.execute(query):
            (copies / str(name)).write_bytes(content)
        return sorted(copies.iterdir())

    return files


def found(tmp_path: Path) -> set[str]:
    return {trace.where.partition(",")[0] for trace in find_traces(tmp_path, Marks((WORD,), ()))}


@pytest.mark.parametrize(
    ("words", "is_inline"), [(500, True), (4000, False), (40_000, False)], ids=str
)
def test_a_compressed_value_is_found_when_its_row_is_deleted(
    superuser: postgres.Connection,
    kept: Kept,
    tmp_path: Path,
    words: int,
    is_inline: bool,
) -> None:
    for number in range(3):
        superuser.execute(
            "insert into public.kept values (%s, %s)", [f"{number}", text(words + number)]
        )
    superuser.execute("vacuum public.kept")
    files = kept()
    (toast,) = (file for file in files if file.name.startswith("pg_toast"))
    assert (toast.stat().st_size == 0) is is_inline
    assert not any(WORD.encode() in file.read_bytes() for file in files)
    assert not found(tmp_path), "of rows that are there queries tell"
    superuser.execute("delete from public.kept where id = '1'")
    kept()
    assert found(tmp_path) == {"values of deleted rows"}
    superuser.execute("vacuum (full) public.kept")
    kept()
    assert not found(tmp_path)


def test_a_value_of_a_transaction_that_was_rolled_back_is_found(
    superuser: postgres.Connection, kept: Kept, tmp_path: Path
) -> None:
    with superuser.transaction(force_rollback=True):
        superuser.execute("insert into public.kept values ('a', %s)", [text(500)])
    superuser.execute("select from public.kept")  # now it is marked in the row
    kept()
    assert found(tmp_path) == {"values of deleted rows"}


def test_what_is_left_where_rows_were_moved_together_is_found(
    superuser: postgres.Connection, kept: Kept, tmp_path: Path
) -> None:
    """Vacuum closes the gaps of a page, and does not blank what is then free."""
    rows = [("a", text(500)), ("b", "short"), ("c", "short, too")]
    with superuser.cursor() as cursor:
        cursor.executemany("insert into public.kept values (%s, %s)", rows)
    superuser.execute("delete from public.kept where id = 'a'")
    superuser.execute("vacuum public.kept")
    kept()
    assert found(tmp_path) == {"values of deleted rows"}


def test_of_what_is_no_table_nothing_is_unpacked() -> None:
    noise = np.random.default_rng(5).integers(0, 256, 1 << 16, dtype=np.uint8)
    assert list(deleted_values([noise.tobytes(), b"", b"short", bytes(1 << 16)])) == []
    pages = noise.reshape(-1, 8192).copy()
    pages[:, :24].view("<u2")[:, 6:10] = (8190, 100, 8192, 8192 | 4)
    assert list(deleted_values([pages.tobytes()])) == [], "its pointers are beyond its gap"
    pages[:, :24].view("<u2")[:, 6:10] = (24, 8192, 8192, 8192 | 4)
    assert all(len(value) < 1 << 21 for value in deleted_values([pages.tobytes()]))


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        (b"\0abcdefgh\0ij", b"abcdefghij"),
        (b"\x08abc\x03\x03x", b"abcabcabcx"),
        (b"\x02a\x0f\x01\x02b", b"a" + b"a" * 20 + b"b"),
        (b"\x02a\x0f\x01", b"a"),
        (b"\x02a\x00\x05b", b"a"),
        (b"\x01\x00\x00", b""),
        (b"", b""),
    ],
)
def test_pglz(packed: bytes, plain: bytes) -> None:
    assert unpack_pglz(packed, 100) == plain
    assert unpack_pglz(packed, 2) == plain[:2] or len(plain) > 2
