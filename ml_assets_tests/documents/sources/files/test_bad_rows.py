"""Bad rows and pages are quarantined, one by one, with their reason."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_assets.documents.model import Document, Rejected
from ml_assets_tests.documents.sources.files.reading import documents, rejected, rows, source, write


@pytest.mark.parametrize(
    ("row", "reason", "document_id"),
    [
        ("2,,x,", "no text", "2"),
        ("2,  ,x,", "no text", "2"),
        ("1,again,x,", "the id '1' is that of an earlier row, x.csv row 2", "1"),
        (",hello,x,", "the id is empty", None),
        ("2,hello,x,yesterday", "created_at is 'yesterday', not a date in ISO 8601", "2"),
        ("2,hello,x,2024-02-30", "created_at is '2024-02-30', not a date in ISO 8601", "2"),
        (
            "2,hello,x,0001-01-01T00:00+09:00",
            "created_at is '0001-01-01T00:00+09:00', not a date in ISO 8601",
            "2",
        ),
        ("2,hello", "2 cells, but the header has 4", None),
        ("2,hello,x,,", "5 cells, but the header has 4", None),
        ('2,"hello"there,x,', "not CSV (',' expected after '\"')", None),
        (
            f"2,{'x' * 10_001},x,",
            "10001 bytes of text, more than ML_ASSETS_MAX_DOCUMENT_BYTES=10000",
            "2",
        ),
        (
            f"2,{'é' * 5_001},x,",
            "10002 bytes of text, more than ML_ASSETS_MAX_DOCUMENT_BYTES=10000",
            "2",
        ),
        (f"{'x' * 201},hello,x,", "the id has 201 characters, more than 200", None),
        (f"2,hello,{'x' * 201},", "the label has 201 characters, more than 200", "2"),
    ],
)
def test_bad_rows_of_a_table(folder: Path, row: str, reason: str, document_id: str | None) -> None:
    path = write(folder / "x.csv", f"id,text,label,created_at\n1,one,x,\n{row}\n3,three,x,\n")
    first, bad, third = rows(source(path))
    assert bad == Rejected("x", "x.csv row 3", reason, document_id)
    assert isinstance(first, Document)
    assert isinstance(third, Document)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            b'{"id": 2, "text": "a"',
            "not JSON (Expecting ',' delimiter at column 22)",
        ),
        (b'["id", 2]', "not a JSON object"),
        (b'{"id": 2, "text": "caf\xe9"}', "invalid UTF-8"),
        (b'{"id": 2, "text": ["a"]}', "the text is a list, not text"),
        (b'{"id": {"x": 1}, "text": "a"}', "the id is a dict, not text"),
        (b'{"id": 2, "text": "a", "created_at": 5}', "created_at is 5, not a date in ISO 8601"),
        (b'{"id": 2}', "no text"),
        (
            b'{"id": "a\\u0000", "text": "t"}',
            "the id 'a\\x00' has a control character or a line end",
        ),
    ],
)
def test_bad_lines(folder: Path, line: bytes, reason: str) -> None:
    good = b'{"id": 1, "text": "one", "created_at": null}\n'
    bad = rows(source(write(folder / "x.jsonl", good + line + b"\n")))[1]
    assert isinstance(bad, Rejected)
    assert (bad.collection, bad.location, bad.reason) == ("x", "x.jsonl line 2", reason)


def test_bytes_that_are_not_utf8_spoil_one_row(folder: Path) -> None:
    path = write(folder / "x.csv", b"id,text\n1,caf\xe9\n2,ok\n")
    assert [row.document_id for row in documents(source(path))] == ["2"]
    assert rejected(source(path)) == [Rejected("x", "x.csv row 2", "invalid UTF-8")]
    raw = pa.array([b"caf\xe9", b"ok"]).view(pa.string())
    pq.write_table(pa.table({"id": ["1", "2"], "text": raw}), folder / "x.parquet")
    bad = Rejected("x", "x.parquet row 1", "invalid UTF-8")
    assert rejected(source(folder / "x.parquet")) == [bad]


def test_bad_pages(folder: Path) -> None:
    write(folder / "good.txt", "fine")
    write(folder / "huge.txt", "x" * 20_000)
    write(folder / "latin.txt", b"caf\xe9")
    write(folder / "scan.html", "<img src=page1.png>")
    write(folder / "titled.html", "<title>Page 1</title><img src=page1.png>")
    write(folder / "void.txt", "\n \n")
    assert [(row.location, row.reason) for row in rejected(source(folder))] == [
        ("huge.txt", "more bytes than ML_ASSETS_MAX_DOCUMENT_BYTES=10000"),
        ("latin.txt", "invalid UTF-8"),
        ("scan.html", "no text, as a page that was scanned has none"),
        ("void.txt", "no text, as a page that was scanned has none"),
    ]


def test_a_long_date_is_refused_in_linear_time(folder: Path) -> None:
    path = write(folder / "x.csv", f"id,text,created_at\n1,a,2{' ' * 300_000}4\n2,b,2024-01-01\n")
    assert [row.document_id for row in rejected(source(path))] == ["1"]


def test_a_document_of_20_megabytes_is_one_bad_row(folder: Path) -> None:
    path = write(folder / "x.csv", f"id,text\n1,{'x' * 20_000_000}\n2,ok\n")
    bad, good = rows(source(path, max_bytes=10_000_000))
    assert isinstance(good, Document)
    assert isinstance(bad, Rejected)
    assert bad.reason.startswith("20000000 bytes of text, more than")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../x", "the collection '../../x' has a path separator or '..'"),
        ("x" * 300, "the collection has 300 characters, more than 200"),
        ("", "the collection is empty"),
        ("a\nb", "the collection 'a\\nb' has a control character or a line end"),
        ("2024...2025", "the collection '2024...2025' has a path separator or '..'"),
    ],
)
def test_bad_collections(folder: Path, name: str, reason: str) -> None:
    lines = [{"id": "1", "text": "a", "part": "good"}, {"id": "2", "text": "b", "part": name}]
    path = write(folder / "x.jsonl", "\n".join(map(json.dumps, lines)))
    files = source(path, collection_by="part")
    assert list(files.collections()) == ["good"]
    assert rejected(files) == [Rejected("", "x.jsonl line 2", reason)]


def test_a_row_without_a_date_has_no_collection(folder: Path) -> None:
    path = write(folder / "x.csv", "id,text,created_at\n1,a,2024-01-01\n2,b,\n3,c,never\n")
    files = source(path, collection_by="created_at:year")
    assert [(row.collection, row.reason) for row in rejected(files)] == [
        ("", "no created_at, so no collection"),
        ("", "created_at is 'never', not a date in ISO 8601"),
    ]
