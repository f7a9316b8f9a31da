"""Files and sources that cannot be read: what is refused, and what goes on."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.documents.formats import extracted, tables
from ml_assets.documents.model import Rejected
from ml_assets.documents.sources import listing
from ml_assets.errors import SourceError
from ml_assets_tests.documents.sources.files.reading import documents, rejected, rows, source, write


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
        ("x.mbox", "From a".encode("utf-16"), {}, "x.mbox: UTF-16, not UTF-8"),
        ("x.csv", "\nsep=;\n", {}, "no documents"),
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


def test_what_cannot_be_opened_is_told_and_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.txt", "a page")
    os.mkfifo(folder / "b.txt")
    (folder / "deep").mkdir()
    write(folder / "deep" / "c.txt", "another page")
    (folder / "link").symlink_to(folder / "deep")
    files = source(folder)
    before = files.stamp(), files.collections()
    assert [row.document_id for row in documents(files)] == ["a.txt", "deep/c.txt"]
    reasons = {row.location: row.reason for row in rejected(files)}
    odd = {"b.txt": "neither a file nor a folder"}
    assert reasons == {"link": "a link to a folder, which is not followed", **odd}
    assert {row.location: row.reason for row in rejected(source(folder / "*.txt"))} == odd

    def closed(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(listing.os, "scandir", closed)
    assert {row.location: row.reason for row in rejected(files)} == {
        **reasons,
        "deep": "a folder that cannot be listed",
    }
    assert files.stamp() != before[0]
    assert files.collections() != before[1]


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
    write(folder / "mail" / "b.rtf", r"{\rtf1 It moves}")
    (_, note) = documents(files)
    assert (note.title, note.text) == ("b", "It moves")
    before = files.collections()
    monkeypatch.setattr(extracted, "_installed", lambda: "")
    assert files.collections() != before  # so that it is read once the library is installed
    assert [row.reason[:20] for row in rejected(files)] == [".rtf needs kreuzberg"]


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
