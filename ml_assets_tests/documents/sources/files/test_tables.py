"""Tables and pages: the documents that good files become."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_collection, check_name, normalize, trim
from ml_assets.errors import SourceError
from ml_assets_tests.documents.sources.files.reading import documents, rejected, rows, source, write
from ml_assets_tests.paths import SHARED_DATA


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


@pytest.mark.parametrize(
    "lines",
    [
        'sep=;\r\nid;text\r\n1;"a, b"\r\n',
        '\n \nid,text\n\n1,"a, b"\n',
        'id,text,,\n1,"a, b",,\n',
        'id, text, n\n1, "a, b", 2\n',
        "sep=\t\nid\ttext\n1\ta, b\n",
    ],
)
def test_what_programs_write_around_a_table_is_no_part_of_it(folder: Path, lines: str) -> None:
    (document,) = documents(source(write(folder / "x.csv", lines)))
    assert (document.document_id, document.text) == ("1", "a, b")
    place = [line[:1] for line in lines.splitlines()].index("1") + 1
    assert document.location == f"x.csv row {place}"


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "shift_jis", "utf-8-sig"])
def test_tables_and_texts_in_another_encoding(folder: Path, encoding: str) -> None:
    text = "\u4f1a\u8b70" if encoding == "shift_jis" else "caf\u00e9 \u20ac"
    for name, content in {
        "a.csv": f"id,text\r\na,{text}\r\n",
        "b.tsv": f"id\ttext\nb\t{text}\n",
        "c.jsonl": f'{{"id": "c", "text": "{text}"}}\n',
        "d.txt": text,
        "e.csv.gz": gzip.compress(f"id,text\ne,{text}\n".encode(encoding)),
    }.items():
        raw = content if isinstance(content, bytes) else content.encode(encoding)
        write(folder / name, raw)
    read = documents(source(folder, encoding="" if encoding.startswith("utf") else encoding))
    assert [row.text for row in read] == [text] * 5


def test_a_byte_of_no_encoding_spoils_one_row(folder: Path) -> None:
    path = write(folder / "x.csv", b"id,text\n1,\x81\n2,caf\xe9\n")
    files = source(path, encoding="cp1252")
    assert [row.reason for row in rejected(files)] == ["invalid UTF-8"]
    assert [row.text for row in documents(files)] == ["caf\u00e9"]
    assert files.stamp() != source(path).stamp()


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


def test_what_nobody_sees_at_the_ends_of_a_label_is_no_part_of_it(folder: Path) -> None:
    given = ["animals", "animals ", "\u200banimals", "Animals", "wild animals", "  ", ""]
    lines = "".join(f"{number},text,{label}\n" for number, label in enumerate(given))
    path = write(folder / "x.csv", f"id,text,label\n{lines}")
    labels = [row.label for row in rows(source(path)) if isinstance(row, Document)]
    assert labels == [*["animals"] * 3, "Animals", "wild animals", None, None]


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
            draw(st.none() | NAMES.map(normalize).map(trim).filter(bool)),
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
