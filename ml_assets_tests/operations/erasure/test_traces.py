"""A mark is found in whatever a store could have made of it, and nothing is found where none is."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tantivy

from ml_assets.embeddings.quantization import to_float16, to_uint8, unit
from ml_assets.errors import StoreError
from ml_assets.operations.erasure.fingerprints import find_fingerprints
from ml_assets.operations.erasure.subject import Marks
from ml_assets.operations.erasure.traces import Trace, find_traces
from ml_assets.operations.erasure.traces.matching import BLOCK, Matcher
from ml_assets.operations.erasure.traces.patterns import patterns_of

WORD = "zqmarker of a planted document"
FOREIGN = 'Grüße an "Zoë" 7q'
TOKEN = "Qzmarkerum77"
VECTOR = np.random.default_rng(3).standard_normal(384).astype(np.float16).astype(np.float32)
MARKS = Marks((WORD, FOREIGN, TOKEN), (VECTOR,))
NOISE = np.random.default_rng(4).integers(0, 256, 5000, dtype=np.uint8).tobytes()


def found(folder: Path, marks: Marks = MARKS) -> set[tuple[str, str]]:
    return {(trace.mark, trace.encoding) for trace in find_traces(folder, marks)}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (WORD.encode(), ("words[0]", "UTF-8")),
        (WORD.encode("utf-16-le"), ("words[0]", "UTF-16 LE")),
        (WORD.encode("utf-16-be"), ("words[0]", "UTF-16 BE")),
        (FOREIGN.encode(), ("words[1]", "UTF-8")),
        (json.dumps(FOREIGN).encode(), ("words[1]", "JSON in ASCII")),
        (json.dumps(FOREIGN, ensure_ascii=False).encode(), ("words[1]", "JSON")),
        (TOKEN.encode(), ("words[2]", "UTF-8")),
        (VECTOR.tobytes(), ("vectors[0]", "float32")),
        (VECTOR.astype(">f4").tobytes(), ("vectors[0]", "float32, big-endian")),
        (VECTOR.astype("<f8").tobytes(), ("vectors[0]", "float64")),
        (unit(VECTOR[None]).tobytes(), ("vectors[0]", "float32 of norm 1")),
        (to_float16(VECTOR[None]).tobytes(), ("vectors[0]", "float16")),
        (to_float16(VECTOR[None]).astype(">f2").tobytes(), ("vectors[0]", "float16, big-endian")),
        (to_uint8(VECTOR[None]).tobytes(), ("vectors[0]", "uint8")),
        (to_uint8(unit(VECTOR[None])).tobytes(), ("vectors[0]", "uint8")),
    ],
)
@pytest.mark.parametrize("shift", range(8))
def test_a_mark_is_found_in_each_encoding_wherever_it_lies(
    tmp_path: Path, content: bytes, expected: tuple[str, str], shift: int
) -> None:
    file = tmp_path / "a" / "store.bin"
    file.parent.mkdir()
    file.write_bytes(NOISE[: 400 + shift] + content + NOISE)
    assert expected in found(tmp_path)
    file.write_bytes(NOISE[: 400 + shift] + content[: len(content) // 3] + NOISE)
    assert {encoding for mark, encoding in found(tmp_path) if mark != "vectors[0]"} == set()


def test_a_vector_that_a_page_cuts_is_found(tmp_path: Path) -> None:
    half = VECTOR.nbytes // 2
    (tmp_path / "f").write_bytes(VECTOR.tobytes()[:half] + NOISE + VECTOR.tobytes()[half:])
    assert found(tmp_path) == {("vectors[0]", "float32")}


def test_a_trace_says_where_and_not_what(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100 + WORD.encode() + WORD.encode())
    assert find_traces(tmp_path, MARKS) == [Trace("f", "byte 100", "words[0]", "UTF-8")]


@pytest.mark.parametrize("size", [6, 7, 14, 15, 40])
def test_a_pattern_is_found_across_blocks(size: int) -> None:
    word = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"[:size]
    matcher = Matcher(patterns_of(Marks((word,))))
    for start in range(BLOCK - size, BLOCK + 1):
        content = b"." * start + word.encode() + b"." * BLOCK
        parts = [content[:BLOCK], content[BLOCK : 2 * BLOCK], content[2 * BLOCK :]]
        assert [(place, each.encoding) for place, each in matcher.find(parts)] == [(start, "UTF-8")]


def test_what_is_shorter_than_a_pattern_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345 and more")
    assert found(tmp_path, Marks(("12345", ""))) == set()
    assert found(tmp_path, Marks(())) == set()
    assert found(tmp_path, Marks(("12345 ",))) == {("words[0]", "UTF-8")}


def test_of_a_long_word_pieces_are_looked_for(tmp_path: Path) -> None:
    long = "".join(f"sentence {number} of many. " for number in range(40))
    middle = len(long) // 2
    for piece in (long[:80], long[middle - 50 : middle + 50], long[-80:]):
        (tmp_path / "f").write_text(piece)
        assert found(tmp_path, Marks((long,))) == {("words[0]", "UTF-8")}, piece


def _gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(NOISE + WORD.encode() + VECTOR.tobytes()))


def _arrow(codec: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), codec) as stream:
            stream.write((NOISE + WORD.encode()) * 20 + VECTOR.tobytes())

    return write


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.npy", NOISE + WORD.encode() + VECTOR.tobytes())


def _parquet(path: Path) -> None:
    texts = [f"text {number}" for number in range(500)] + [WORD]
    vectors = [[float(number)] * 384 for number in range(500)] + [VECTOR.tolist()]
    numbers = pa.array(vectors, pa.list_(pa.float32()))
    pq.write_table(pa.table({"text": texts, "vector": numbers}), path, compression="zstd")


def _duckdb(path: Path) -> None:
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute("create table t (text varchar, vector float[])")
        rows = [[f"text {number} of a corpus", [number / 7.0] * 384] for number in range(3000)]
        connection.executemany("insert into t values (?, ?)", [*rows[:50], [WORD, VECTOR.tolist()]])
        connection.execute("checkpoint")


def _sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (text, vector)")
        text = WORD * 300  # over pages
        connection.execute("insert into t values (?, ?)", [text, VECTOR.tobytes() * 3])
        connection.commit()


@pytest.mark.parametrize(
    "write",
    [_gzip, _arrow("zstd"), _arrow("lz4"), _arrow("gzip"), _zip, _parquet, _duckdb, _sqlite],
)
def test_a_mark_is_found_in_what_a_file_compresses(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "file")
    assert {("words[0]", "UTF-8"), ("vectors[0]", "float32")} <= found(tmp_path)
    assert (
        found(tmp_path, Marks(("zqmarker of another document",), (VECTOR[::-1].copy(),))) == set()
    )


def test_terms_and_documents_of_a_deleted_document_are_found_in_tantivy(tmp_path: Path) -> None:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    builder.add_text_field("text")
    index = tantivy.Index(builder.build(), path=str(tmp_path))
    writer = index.writer(15_000_000, 1)
    for number in range(300):
        named = TOKEN if number == 7 else f"text {number}"
        writer.add_document(tantivy.Document(id=f"document-{number}-of-many", text=named))
    writer.commit()
    writer.wait_merging_threads()
    writer = index.writer(15_000_000, 1)
    writer.delete_documents_by_term("id", "document-7-of-many")
    writer.commit()
    writer.wait_merging_threads()
    traces = find_traces(tmp_path, Marks((TOKEN, "document-7-of-many")))
    assert {(trace.where.partition(",")[0], trace.mark) for trace in traces} >= {
        ("terms of text", "words[0]"),
        ("terms of id", "words[1]"),
        ("LZ4 of tantivy", "words[1]"),
    }
    assert found(tmp_path, Marks(("Qzmarkerum78", "document-777-of-many"))) == set()


def _pglz(content: bytes) -> bytes:
    """As PostgreSQL writes bytes that it has not seen before."""
    groups = (content[start : start + 8] for start in range(0, len(content), 8))
    return b"".join(b"\0" + group for group in groups)


@pytest.mark.parametrize("shift", range(8))
def test_a_mark_is_found_in_pglz_while_it_stands_for_itself(tmp_path: Path, shift: int) -> None:
    (tmp_path / "16384").write_bytes(NOISE + _pglz(NOISE[:shift] + WORD.encode() + NOISE))
    assert found(tmp_path) == {("words[0]", "PGLZ")}


def test_links_are_not_followed_and_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(WORD)
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(outside)
    assert found(home) == set()
    (home / "damaged").write_bytes(gzip.compress(NOISE)[:-3000])
    with pytest.raises(StoreError, match="damaged"):
        find_traces(home, MARKS)


@pytest.mark.parametrize("name", ["zip", "encrypted.zip", "duckdb"])
def test_what_a_library_cannot_read_is_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if name == "duckdb":
        file.write_bytes(b"\0" * 8 + b"DUCK" + NOISE[:8000])
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x", NOISE)
        content = bytearray(file.read_bytes())
        directory = content.rindex(b"PK\1\2")
        if name == "zip":
            content[100] ^= 1  # its sum is another
        else:
            content[6] |= 1
            content[directory + 8] |= 1
        file.write_bytes(content)
    for look in (
        lambda: find_traces(tmp_path, MARKS),
        lambda: list(find_fingerprints(tmp_path, [], b"salt")),
    ):
        with pytest.raises(StoreError, match="cannot be looked through"):
            look()
