"""Tables and pages: what they become, and what becomes of every bad one."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.documents.formats import extracted, tables
from ml_assets.documents.formats.rows import Columns, Numbered, columns_from
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_collection, check_name, normalize
from ml_assets.documents.sources.files import Files
from ml_assets.errors import SourceError
from ml_assets_tests.paths import SHARED_DATA


def source(pattern: object, max_bytes: int = 10_000, name: str = "", **options: str) -> Files:
    return Files(str(pattern), columns_from(options), max_bytes, name)


def rows(files: Files) -> list[Document | Rejected]:
    return list(files.read(list(files.collections())))


def documents(files: Files) -> list[Document]:
    return [row for row in rows(files) if isinstance(row, Document)]


def rejected(files: Files) -> list[Rejected]:
    return [row for row in rows(files) if isinstance(row, Rejected)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


# What good files become


def test_all_columns(folder: Path) -> None:
    cells = [
        ["key", "body", "head", "topic", "link", "thread", "when", "lang"],
        [
            "7",
            "Cafe\u0301,\r\n\tbar",
            "T",
            "x",
            "https://e.org",
            "g1",
            "2024-05-01T02:00+02:00",
            "fr",
        ],
        ["8", 'say "hi"', "", "", "", "", "", ""],
    ]
    path = folder / "notes.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(cells)
    columns = {"id": "key", "text": "body", "title": "head", "label": "topic", "url": "link"}
    found = rows(source(path, group="thread", created_at="when", metadata="lang", **columns))
    assert found == [
        Document(
            "7",
            "notes",
            "Café,\n\tbar",
            "T",
            "x",
            "https://e.org",
            "g1",
            {"lang": "fr"},
            datetime(2024, 5, 1, tzinfo=UTC),
        ),
        Document("8", "notes", 'say "hi"'),
    ]


def test_tsv_has_no_quotes(folder: Path) -> None:
    path = write(folder / "x.tsv", 'id\ttext\n1\t"Lift 5"\n2\tpipe of 3"\n3\t"open\n4\tlast\n')
    assert [row.text for row in documents(source(path))] == [
        '"Lift 5"',
        'pipe of 3"',
        '"open',
        "last",
    ]


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_the_header_tells_the_delimiter_of_csv(folder: Path, delimiter: str) -> None:
    rows_of_cells = [["id", "text", "label"], ["1", "a, b, c, d", "x"]]
    lines = "".join(delimiter.join(cells) + "\n" for cells in rows_of_cells)
    (document,) = documents(source(write(folder / "x.csv", lines)))
    assert (document.text, document.label) == ("a, b, c, d", "x")


def test_headings_may_differ_in_case_and_spaces(folder: Path) -> None:
    path = write(folder / "x.csv", "ID, Text ,TOPIC\n1,hello,a\n")
    (document,) = documents(source(path, label="topic"))
    assert (document.document_id, document.text, document.label) == ("1", "hello", "a")
    path = write(folder / "x.csv", "id,Text,text\n1,no,yes\n")
    assert [row.text for row in documents(source(path))] == ["yes"]
    with pytest.raises(SourceError, match="two columns have the name text"):
        rows(source(write(folder / "x.csv", "id,Text,TEXT\n1,no,yes\n")))


def test_rows_that_a_lone_quote_swallowed_are_told(folder: Path) -> None:
    swallowed = "".join(f"{n},part {n},x\n" for n in range(3, 3_003))
    path = write(
        folder / "x.csv", f'id,text,label\n1,a,x\n2,"5 inches,x\n{swallowed}9,12",x\n4,b,x\n'
    )
    assert rejected(source(path)) == [
        Rejected(
            "x", "x.csv row 3", 'a quote swallowed 3001 more rows (within a cell, write " as "")'
        )
    ]
    assert [row.document_id for row in documents(source(path))] == ["1", "4"]
    path = write(folder / "x.csv", 'id,text\n1,"Dear all,\n\ncome, see, eat,\nlater,\nyours"\n')
    assert [row.text for row in documents(source(path))] == [
        "Dear all,\n\ncome, see, eat,\nlater,\nyours"
    ]
    path = write(folder / "x.csv", 'text\n"one\ntwo\nthree\nfour"\n')
    assert [row.text for row in documents(source(path))] == ["one\ntwo\nthree\nfour"]


@pytest.mark.parametrize(
    ("column", "length", "fits"),
    [
        *(("title", 5_000, True), ("url", 2_001, False), ("group", 2_001, False)),
        *(("note", 10_001, False), ("url", 2_000, True), ("note", 10_000, True)),
    ],
)
def test_what_every_chunk_carries_is_bounded(
    folder: Path, column: str, length: int, fits: bool
) -> None:
    path = write(folder / "x.csv", f"id,text,{column}\n1,a,{'x' * length}\n2,b,\n")
    row, _ = rows(source(path, metadata="note") if column == "note" else source(path))
    if fits:
        assert isinstance(row, Document)
        assert len(row.title) == (1_000 if column == "title" else 0)
    else:
        assert isinstance(row, Rejected)
        assert row.reason.endswith(f"{column} has {length} characters, more than {length - 1}")


def test_a_title_alone_is_a_text(folder: Path) -> None:
    path = write(folder / "x.csv", "id,title,text\n1,A survey of lifts,\n2,,\n3, ,x\n")
    first, second, third = rows(source(path))
    assert first == Document("1", "x", "A survey of lifts", "A survey of lifts")
    assert isinstance(second, Rejected)
    assert isinstance(third, Document)
    assert third.text == "x"


def test_what_an_object_holds_is_metadata_by_its_path(folder: Path) -> None:
    row = {"id": 1, "text": "a", "author": {"name": "Kim", "more": {"age": 7}}, "a.b": "flat"}
    path = write(folder / "x.jsonl", json.dumps(row) + '\n{"id": 2, "text": "b", "author": "no"}\n')
    first, second = documents(source(path, metadata="author.name,author.more.age,a.b"))
    assert first.metadata == {"author.name": "Kim", "author.more.age": 7, "a.b": "flat"}
    assert second.metadata == {}
    table = pa.table({"id": ["1"], "text": ["a"], "author": [{"name": "Kim"}]})
    pq.write_table(table, folder / "x.parquet")
    (document,) = documents(source(folder / "x.parquet", metadata="author.name"))
    assert document.metadata == {"author.name": "Kim"}


def test_values_of_json(folder: Path) -> None:
    row = {
        "id": 5,
        "text": "a\u0000b\ud800",
        "label": 2.0,
        "n": 3,
        "f": 0.5,
        "nan": float("nan"),
        "b": False,
        "none": None,
        "list": [1, {"x": "y"}],
        "s": "z\u0000",
    }
    path = write(folder / "x.jsonl", json.dumps(row) + "\n\n")
    (document,) = rows(source(path, metadata="n,f,nan,b,none,list,s"))
    expected = {"n": 3, "f": 0.5, "b": False, "list": '[1, {"x": "y"}]', "s": "z"}
    assert document == Document("5", "x", "ab", label="2", metadata=expected)


def test_values_of_parquet(folder: Path) -> None:
    moment = datetime(2024, 2, 29, 12, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([1, None], pa.float64()),
            "text": ["one", "two"],
            "created_at": pa.array([moment, None], pa.timestamp("ns", "America/New_York")),
            "day": [date(2024, 1, 2), None],
            "label": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    pq.write_table(table, folder / "x.parquet")
    good, bad = rows(source(folder / "x.parquet", metadata="day"))
    expected = {"day": "2024-01-02"}
    assert good == Document("1", "x", "one", label="x", metadata=expected, created_at=moment)
    assert bad == Rejected("x", "x.parquet row 2", "the id is empty")


def test_only_the_columns_of_parquet_that_are_used_are_read(folder: Path) -> None:
    far = pa.array([253_402_300_800_000, 0], pa.timestamp("ms"))  # the first is in the year 10000
    table = pa.table(
        {
            "id": ["1", "2"],
            "text": ["one", "two"],
            "until": far,
            "picture": [b"\xff\xd8", b"\x89"],
            "price": pa.array([Decimal("2.50"), Decimal("3.00")]),
        }
    )
    pq.write_table(table, folder / "x.parquet")
    found = documents(source(folder / "x.parquet", metadata="price"))
    assert [row.metadata for row in found] == [{"price": 2.5}, {"price": 3}]
    bad, good = rows(source(folder / "x.parquet", metadata="until"))
    reason = "until is out of the range of Python's timestamp[us]"
    assert bad == Rejected("x", "x.parquet row 1", reason)
    assert isinstance(good, Document)
    assert good.metadata == {"until": "1970-01-01 00:00:00"}
    with pytest.raises(
        SourceError, match=r"no column body\. The columns are: id, text, until, pict"
    ):
        rows(source(folder / "x.parquet", text="body"))


@pytest.mark.parametrize("name", ["text", "picture"])
def test_two_columns_of_one_name_in_parquet(folder: Path, name: str) -> None:
    columns = [pa.array(["1"]), pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    table = pa.Table.from_arrays(columns, names=["id", "text", name, "picture"])
    pq.write_table(table, folder / "x.parquet")
    if name == "picture":  # nobody asks for it
        assert len(documents(source(folder / "x.parquet"))) == 1
    else:
        with pytest.raises(SourceError, match="two columns have the name text"):
            rows(source(folder / "x.parquet"))


def test_a_label_can_be_switched_off(folder: Path) -> None:
    path = write(folder / "x.csv", "id,text,label\n1,hello,a\n")
    assert [row.label for row in documents(source(path))] == ["a"]
    assert [row.label for row in documents(source(path, label=""))] == [None]


def test_rows_without_ids_are_known_by_their_content(folder: Path) -> None:
    path = write(folder / "x.csv", "text,label\nhello,a\nworld,b\nhello,c\n")
    first, second, third = rows(source(path))
    assert isinstance(first, Document)
    assert isinstance(third, Rejected)
    assert third.reason == "the text is that of an earlier row, x.csv row 2"
    path = write(folder / "x.csv", "text,label\nworld,b\nhello,a\n")
    assert {row.document_id for row in documents(source(path))} == {
        first.document_id,
        second.document_id,
    }


def test_compressed_and_many(folder: Path) -> None:
    write(folder / "b.csv.gz", gzip.compress(b"id,text\n2,two\n"))
    write(folder / "a.jsonl", '{"id": "1", "text": "one"}\n')
    files = source(folder / "*")
    assert [(row.document_id, row.collection) for row in documents(files)] == [
        ("1", "all"),
        ("2", "all"),
    ]
    assert list(source(folder / "*", name="mine").collections()) == ["mine"]


def test_pages(folder: Path) -> None:
    html = (
        "<!doctype html><html><head><title>The\n page</title><style>p {}</style></head><body>"
        "<h1>Head</h1><p>One <b>bold</b>\n word.<p>Two &amp; three<br>four"
        "<script>alert(1)</script><pre>a\n  b</pre></body></html>"
    )
    write(folder / "sports" / "a.html", html)
    write(folder / "sports" / "deep" / "b.md", "intro\n\n# The *title* #\n\nbody\r\n")
    write(folder / "c.txt", "\ufeffplain")
    write(folder / ".git" / "d.txt", "hidden")
    write(folder / "image.png", b"\x89PNG")
    plain, page, note = documents(source(folder, label="folder", group="folder"))
    assert (plain.document_id, plain.title, plain.text, plain.label) == (
        "c.txt",
        "c",
        "plain",
        None,
    )
    assert (page.document_id, page.title, page.label) == ("sports/a.html", "The page", "sports")
    assert page.text == "Head\n\nOne bold word.\n\nTwo & three\nfour\n\na\n  b"
    assert (note.document_id, note.title) == ("sports/deep/b.md", "The title")
    assert note.text == "intro\n\n# The *title* #\n\nbody\n"
    assert [row.collection for row in documents(source(folder, collection_by="name"))] == [
        "c.txt",
        "a.html",
        "b.md",
    ]


@pytest.mark.parametrize(
    ("period", "collections"),
    [
        ("day", ["2023-12-31", "2024-04-01", "2024-06-30"]),
        ("month", ["2023-12", "2024-04", "2024-06"]),
        ("quarter", ["2023-Q4", "2024-Q2"]),
        ("year", ["2023", "2024"]),
    ],
)
def test_split_by_time(folder: Path, period: str, collections: list[str]) -> None:
    path = write(
        folder / "x.csv",
        "id,text,made\n1,a,2024-01-01T00:30+01:00\n2,b,2024-04-01\n3,c,2024-06-30 23:59:59 +0000\n",
    )
    files = source(path, created_at="made", collection_by=f"created_at:{period}")
    assert list(files.collections()) == collections
    assert {row.collection for row in documents(files)} == set(collections)


def test_only_the_collections_asked_for(folder: Path) -> None:
    path = write(folder / "x.csv", "id,text,part\n1,a,p\n2,b,q\n3,,q\n4,,p\n1,d,q\n5,e,a/b\n")
    files = source(path, collection_by="part")
    found = list(files.read(["q"]))
    assert [row.document_id for row in found if isinstance(row, Document)] == ["2"]
    assert [row for row in found if isinstance(row, Rejected)] == [
        Rejected("q", "x.csv row 4", "no text", "3"),
        Rejected("q", "x.csv row 6", "the id '1' is that of an earlier row, x.csv row 2", "1"),
        Rejected("", "x.csv row 7", "the collection 'a/b' has a path separator or '..'"),
    ]


# Fingerprints


def test_fingerprints_follow_the_content(folder: Path) -> None:
    path = write(folder / "x.csv", "id,text\n1,a\n")
    before = source(path).collections()
    path.touch()
    assert source(path).collections() == before
    assert source(path, label="").collections() != before
    assert source(path, max_bytes=5).collections() != before
    write(path, "id,text\n1,b\n")
    assert source(path).collections() != before


def test_fingerprints_of_the_other_collections_stay(folder: Path) -> None:
    path = folder / "x.csv"
    write(path, "id,text,part\n1,a,p\n2,b,q\n")
    before = source(path, collection_by="part").collections()
    write(path, "id,text,part\n1,a,p\n2,changed,q\n3,c,q\n")
    after = source(path, collection_by="part").collections()
    assert after["p"] == before["p"]
    assert after["q"] != before["q"]
    write(path, "id,text,part\n1,a,p\n2,changed,q\n3,c,..\n")
    # A row that could belong to any collection is a reason to look at all of them.
    assert source(path, collection_by="part").collections()["p"] != before["p"]


def test_a_split_file_is_parsed_once_for_all_that_ask(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder / "x.csv", "id,part,text\n1,p,a\n2,q,b\n")
    parsed: list[str] = []
    read_table = tables.read_table

    def counting(file: BinaryIO, suffix: str, name: str, columns: Columns) -> Iterator[Numbered]:
        parsed.append(name)
        return read_table(file, suffix, name, columns)

    monkeypatch.setattr(tables, "read_table", counting)
    first, again = (source(path, collection_by="part").collections() for _ in range(2))
    assert first == again
    assert len(parsed) == 1
    assert source(path, collection_by="text").collections().keys() == {"a", "b"}


def test_what_nobody_sees_at_the_ends_of_a_label_is_no_part_of_it(folder: Path) -> None:
    given = ["animals", "animals ", "\u200banimals", "Animals", "wild animals", "  ", ""]
    lines = "".join(f"{number},text,{label}\n" for number, label in enumerate(given))
    path = write(folder / "x.csv", f"id,text,label\n{lines}")
    labels = [row.label for row in rows(source(path)) if isinstance(row, Document)]
    assert labels == [*["animals"] * 3, "Animals", "wild animals", None, None]


# Bad rows are quarantined


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
    assert [(row.location, row.reason) for row in rejected(source(folder))] == [
        ("huge.txt", "more bytes than ML_ASSETS_MAX_DOCUMENT_BYTES=10000"),
        ("latin.txt", "invalid UTF-8"),
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


# Bad sources are refused


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("x.csv", "", {}, "no documents"),
        ("x.csv", "id,text\n", {}, "no documents"),
        ("x.jsonl", "\n\n", {}, "no documents"),
        ("x.csv", "id,body,n\n1,a,2\n", {}, "x.csv: no column text. The columns are: id, body, n."),
        (
            "x.csv",
            "id,text\n1,a\n",
            {"label": "topic"},
            "no column topic. The columns are: id, text",
        ),
        ("x.csv", "id,text\n1,a\n", {"metadata": "k"}, "no column k"),
        ("x.csv", "id,text\n1,a\n", {"collection_by": "part"}, "no column part"),
        ("x.csv", "text,n\na,1\n", {"collection_by": "created_at:day"}, "no column created_at"),
        ("x.jsonl", '{"id": 1, "body": "a"}', {}, "no column text. The columns are: id, body"),
        ("x.csv", "id,text\n1,\n2,\n", {}, "no row can be used; the first: x.csv row 2: no text"),
        (
            "x.csv",
            'id,text\n1,a\n2,"b\n3,c\n',
            {},
            "x.csv row 3: a quoted cell is never closed. Add the missing closing quote",
        ),
        ("x.csv", "id,text,id\n1,a,2\n", {}, "x.csv: two columns have one name"),
        ("x.csv", b"id,t\xe9xt\n1,a\n", {}, "x.csv: the header is not UTF-8"),
        ("x.csv", "id,text\n1,a\n".encode("utf-16"), {}, "x.csv: UTF-16, not UTF-8"),
        ("x.jsonl", '{"id": 1}'.encode("utf-16"), {}, "x.jsonl: UTF-16, not UTF-8"),
        ("x.parquet", b"PAR1 no parquet", {}, "x.parquet: not readable as Parquet"),
        ("x.parquet", b"", {}, "x.parquet: not readable as Parquet"),
        ("x.odt", b"PK", {}, "x.odt: unreadable format. Readable: .csv, .tsv, .jsonl"),
        ("x.csv.gz", b"no gzip", {}, "cannot be read (Not a gzipped file"),
        (
            "x.csv.gz",
            gzip.compress(b"id,text\n1,a\n", mtime=0)[:-9],
            {},
            "a compressed file is broken",
        ),
    ],
)
def test_bad_files(
    folder: Path, name: str, content: str | bytes, options: dict[str, str], message: str
) -> None:
    path = write(folder / name, content)
    with pytest.raises(SourceError) as caught:
        rows(source(path, **options))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>café".encode(), "café"),
        ("<meta charset=iso-8859-2><p>Łódź".encode("iso-8859-2"), "Łódź"),
        (b'<meta http-equiv=x content="text/html; charset=koi8-r"><p>\xc4\xc1', "да"),
        ("<p>caf\xe9 \x96 bar".encode("latin-1"), "café \u2013 bar"),
        ("<meta charset=none><p>caf\xe9".encode("latin-1"), "café"),
        ("<meta charset=undefined><p>caf\xe9".encode("latin-1"), "café"),
        ("<meta charset=punycode><p>caf\xe9".encode("latin-1"), "café"),
        ("<p>naïve".encode("utf-16"), "naïve"),
    ],
)
def test_the_encoding_of_html_is_found_as_browsers_do(
    folder: Path, content: bytes, text: str
) -> None:
    write(folder / "a.html", content)
    assert [row.text for row in documents(source(folder))] == [text]


def test_single_bad_files_do_not_refuse_a_source(folder: Path) -> None:
    write(folder / "a.csv", "id,text\n1,one\n")
    write(folder / "b.csv", "id,body\n2,two\n")
    write(folder / "c.csv.gz", b"no gzip")
    write(folder / "d.csv.gz", gzip.compress(b"id,text\n4,four\n", mtime=0)[:-9])
    (folder / "e.csv").symlink_to(folder / "gone.csv")
    write(folder / "f.csv", 'id,text\n6,"never closed\n')
    write(folder / "g.parquet", b"PAR1 no parquet")
    write(folder / "h.odt", b"PK")
    write(folder / "i.csv.bz2", b"BZh91AY&SY no bzip2")
    write(folder / "j.csv.bz2", bz2.compress(b"id,text\n5,five\n" * 99)[:-20])
    files = source(folder / "*")
    assert [row.document_id for row in documents(files)] == ["1", "4"]
    reasons = {row.location: row.reason for row in rejected(files)}
    assert reasons.keys() == {path.name for path in folder.iterdir()} - {"a.csv"}
    assert reasons["b.csv"].startswith("b.csv: no column text. The columns are: id, body")
    assert reasons["c.csv.gz"].startswith("cannot be read (Not a gzipped file")
    assert reasons["d.csv.gz"].startswith("a compressed file is broken")
    assert reasons["e.csv"] == "cannot be read (No such file or directory)"
    assert "a quoted cell is never closed" in reasons["f.csv"]
    assert "not readable as Parquet" in reasons["g.parquet"]
    assert reasons["h.odt"] == "not a kind that is read (.odt)"
    assert reasons["i.csv.bz2"] == "a compressed file is broken (Invalid data stream)"
    assert reasons["j.csv.bz2"].startswith("a compressed file is broken")
    before = files.collections()
    write(folder / "gone.csv", "id,text\n5,five\n")
    assert files.collections() != before


def test_what_a_folder_holds_beside_pages_is_told(folder: Path) -> None:
    write(folder / "a.txt", "a page")
    write(folder / "b.odt", b"PK")
    files = source(folder)
    assert [row.location for row in rejected(files)] == ["b.odt"]
    before = files.collections()
    write(folder / "b.odt", b"PK more")  # it is not read, so nothing changed
    assert files.collections() == before
    write(folder / "c.png", b"\x89PNG")
    assert files.collections() != before


def test_documents_of_other_programs_are_pages(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "mail" / "a.eml", "Subject: Lift 5\nFrom: a@b.c\n\nIt stands still.\n")
    files = source(folder, label="folder")
    (mail,) = documents(files)
    assert (mail.document_id, mail.title, mail.label) == ("mail/a.eml", "Lift 5", "mail")
    before = files.collections()
    monkeypatch.setattr(extracted, "extractor", lambda: "")
    assert files.collections() != before  # so that it is read once the library is installed
    with pytest.raises(SourceError, match="needs kreuzberg"):
        rows(files)


def test_compression_is_looked_through_for_pages_too(folder: Path) -> None:
    html = "<title>Kettle</title><p>Descale <b>it</b>."
    write(folder / "kettle.html.gz", gzip.compress(html.encode()))
    write(folder / "plain.txt.gz", gzip.compress(b"words"))
    page, plain = documents(source(folder))
    assert (page.document_id, page.title, page.text) == ("kettle.html.gz", "Kettle", "Descale it.")
    assert (plain.title, plain.text) == ("plain", "words")


def test_a_line_without_end_is_one_bad_row_in_little_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LONGEST", 1_000)
    good = b'{"id": 1, "text": "one"}\n'
    path = write(folder / "x.jsonl", good + b'{"id": 2, "text": "' + b"x" * 5_000 + b'"}\n' + good)
    assert rejected(source(path))[0] == Rejected(
        "x", "x.jsonl line 2", "more than 1000 bytes in a line"
    )
    assert len(rows(source(path))) == 3
    long = b"id,text\n1,one\n2," + b"x" * 5_000 + b"\n3,three\n"
    files = source(write(folder / "x.csv", long))
    assert [row.document_id for row in documents(files)] == ["1", "3"]
    assert rejected(files) == [Rejected("x", "x.csv row 3", "a line of more than 1000 bytes")]


def test_a_row_of_lines_without_end_is_told_with_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LONGEST", 1_000)
    file = write(folder / "x.csv", b'id,text\n1,one\n2,"' + b"x\n" * 5_000)
    told = "x.csv row 3: a row of more than 1000 bytes; it and what follows are not read"
    with pytest.raises(SourceError, match=told):
        rows(source(file))
    write(folder / "y.csv", b"id,text\n3,three\n")
    files = source(folder / "*.csv")
    assert [row.document_id for row in documents(files)] == ["1", "3"]
    (left,) = rejected(files)
    assert left.location == "x.csv"
    assert left.reason.startswith(told)


@pytest.mark.parametrize("pattern", ["none.csv", "*.csv", "empty"])
def test_no_files(folder: Path, pattern: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(SourceError, match="no such file"):
        source(folder / pattern).collections()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("nosuch://x/y.csv", "Protocol not known"), ("oci://bucket/x.csv", "a package is missing")],
)
def test_unknown_places(pattern: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        source(pattern).collections()


def test_a_package_that_is_missing_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(pattern: str) -> None:
        raise ImportError(f"Install what {pattern} needs")

    monkeypatch.setattr("fsspec.url_to_fs", absent)
    for pattern, extra in {"s3://x": "s3", "gs://x": "gcs", "abfs://x": "azure"}.items():
        with pytest.raises(SourceError, match=rf"pip install 'ml-assets\[{extra}\]'"):
            source(pattern).collections()


def test_too_many_collections(folder: Path) -> None:
    lines = "".join(f"{i},text,c{i}\n" for i in range(65))
    path = write(folder / "x.csv", f"id,text,part\n{lines}")
    with pytest.raises(SourceError, match=r"more than 64 collections\. Choose a coarser"):
        source(path, collection_by="part").collections()
    lines = "".join(f"{i},text,c{i}\n" for i in range(64))
    path = write(folder / "x.csv", f"id,text,part\n{lines}")
    assert len(source(path, collection_by="part").collections()) == 64


def test_a_name_that_is_no_collection(folder: Path) -> None:
    path = write(folder / "x.csv", "id,text\n1,a\n")
    with pytest.raises(SourceError, match="Give it a name"):
        source(path, name="../x").collections()


# Documents written to a file come back equal

NAMES = st.text(min_size=1, max_size=20).filter(lambda name: check_name(name, "id") is None)
TEXTS = st.text(max_size=60).map(normalize)


@st.composite
def written(draw: st.DrawFn) -> list[Document]:
    identities = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    collections = NAMES.filter(lambda name: check_collection(name) is None)
    moments = st.datetimes(min_value=datetime(2, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    return [
        Document(
            identity,
            draw(collections),
            draw(TEXTS.filter(str.strip)),
            draw(TEXTS),
            draw(st.none() | NAMES.map(normalize).filter(lambda name: name.strip())),
            draw(st.none() | TEXTS.filter(bool)),
            draw(TEXTS),
            draw(st.just({}) | st.fixed_dictionaries({"k": TEXTS.filter(bool)})),
            draw(st.none() | moments),
        )
        for identity in identities
    ]


def as_rows(wanted: list[Document]) -> Iterator[dict[str, str | None]]:
    for document in wanted:
        made = document.created_at
        yield {
            "id": document.document_id,
            "text": document.text,
            "title": document.title,
            "label": document.label,
            "url": document.url,
            "group": document.group,
            "created_at": made.isoformat() if made else None,
            "part": document.collection,
            "k": str(document.metadata["k"]) if document.metadata else None,
        }


@settings(max_examples=60, deadline=None)
@given(written(), st.sampled_from(["csv", "jsonl", "parquet"]))
def test_round_trip(wanted: list[Document], suffix: str) -> None:
    cells = list(as_rows(wanted))
    with TemporaryDirectory() as place:
        path = Path(place) / f"x.{suffix}"
        if suffix == "parquet":
            strings = pa.schema([(name, pa.string()) for name in cells[0]])
            pq.write_table(pa.Table.from_pylist(cells, strings), path)
        elif suffix == "jsonl":
            path.write_text("\n".join(map(json.dumps, cells)))
        else:
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(cells[0]))
                writer.writeheader()
                writer.writerows(cells)
        files = source(path, collection_by="part", metadata="k")
        assert rows(files) == wanted


# Data that nobody here wrote


def test_airline_tweets() -> None:
    path = SHARED_DATA / "airline_tweets" / "data.parquet"
    if not path.exists():
        pytest.skip("no shared data here")
    files = source(path, collection_by="created_at:day", metadata="airline,retweet_count")
    found = documents(files)
    assert len(found) == 14_640
    assert not rejected(files)
    labels = Counter(document.label for document in found)
    assert labels == {"negative": 9178, "neutral": 3099, "positive": 2363}
    assert list(files.collections()) == [f"2015-02-{day}" for day in range(17, 25)]


def test_banking77() -> None:
    if not (SHARED_DATA / "banking77").exists():
        pytest.skip("no shared data here")
    found = documents(source(SHARED_DATA / "banking77" / "*.parquet"))
    assert len(found) == 10_003 + 3_080
    assert len({document.label for document in found}) == 77
