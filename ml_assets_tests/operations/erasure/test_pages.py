"""What PostgreSQL leaves of deleted rows is unpacked; rows that are there are not."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest

from ml_assets.operations.erasure.subject import Marks
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.operations.erasure.traces.pages import deleted_values, unpack_pglz

WORD = "zqmarker-of-a-planted-document"
PARTS = "zqmark marker-of er-of-a-pl planted- ted-document "
"""After it nothing of the word stands for itself."""

Kept = Callable[[], list[Path]]


def text(words: int) -> str:
    rng = random.Random(words)
    said = (f"{rng.choice('abcdefgh')}{rng.randrange(3000)}" for _ in range(words))
    return f"{' '.join(said)} {PARTS} {WORD} and the end of it"


@pytest.fixture
def kept(superuser: psycopg.Connection[tuple[object, ...]], tmp_path: Path) -> Kept:
    """The files of a table, its TOAST and its index, as they are on disk."""
    superuser.execute("create table public.kept (id text primary key, said text)")

    def files() -> list[Path]:
        superuser.execute("checkpoint")
        query = """
            select current_setting('data_directory') || '/' || pg_relation_filepath(each)
            from unnest(array[
                'public.kept'::regclass, 'public.kept_pkey'::regclass,
                (select reltoastrelid from pg_class where oid = 'public.kept'::regclass)
            ]) as each
        """
        copies = tmp_path / "base" / "1"
        shutil.rmtree(copies, ignore_errors=True)
        copies.mkdir(parents=True)
        return [Path(shutil.copy(str(path), copies)) for (path,) in superuser.execute(query)]

    return files


def found(tmp_path: Path) -> set[str]:
    return {trace.where.partition(",")[0] for trace in find_traces(tmp_path, Marks((WORD,), ()))}


@pytest.mark.parametrize(
    ("words", "is_inline"), [(500, True), (4000, False), (40_000, False)], ids=str
)
def test_a_compressed_value_is_found_when_its_row_is_deleted(
    superuser: psycopg.Connection[tuple[object, ...]],
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
    assert (files[2].stat().st_size == 0) is is_inline
    assert not any(WORD.encode() in file.read_bytes() for file in files)
    assert not found(tmp_path), "of rows that are there queries tell"
    superuser.execute("delete from public.kept where id = '1'")
    kept()
    assert found(tmp_path) == {"values of deleted rows"}
    superuser.execute("vacuum (full) public.kept")
    kept()
    assert not found(tmp_path)


def test_a_value_of_a_transaction_that_was_rolled_back_is_found(
    superuser: psycopg.Connection[tuple[object, ...]], kept: Kept, tmp_path: Path
) -> None:
    with superuser.transaction(force_rollback=True):
        superuser.execute("insert into public.kept values ('a', %s)", [text(500)])
    kept()
    assert found(tmp_path) == {"values of deleted rows"}


def test_what_is_left_where_rows_were_moved_together_is_found(
    superuser: psycopg.Connection[tuple[object, ...]], kept: Kept, tmp_path: Path
) -> None:
    """Vacuum closes the gaps of a page, and does not blank what is then free."""
    rows = [("a", text(500)), ("b", "short"), ("c", "short, too")]
    with superuser.cursor() as cursor:
        cursor.executemany("insert into public.kept values (%s, %s)", rows)
    superuser.execute("delete from public.kept where id = 'a'")
    superuser.execute("vacuum public.kept")
    kept()
    assert found(tmp_path) == {"values of deleted rows"}


def test_lz4_is_unpacked_too(
    superuser: psycopg.Connection[tuple[object, ...]], kept: Kept, tmp_path: Path
) -> None:
    try:
        superuser.execute("alter table public.kept alter said set compression lz4")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL is built without LZ4")
    superuser.execute("insert into public.kept values ('a', %s)", [text(500)])
    superuser.execute("delete from public.kept")
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
