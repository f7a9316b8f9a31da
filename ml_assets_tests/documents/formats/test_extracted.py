"""Documents of other programs: what is extracted, what is told, and that nothing is left behind."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from ml_assets.documents.formats import extracted
from ml_assets.documents.formats.extracted import VERSION, extract
from ml_assets.documents.model import Page
from ml_assets_tests import golden

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
_MAIN = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"


def docx(body: str) -> bytes:
    """A document of Word with this body."""
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Override'
        f' PartName="/word/document.xml" ContentType="{_MAIN}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1"'
        f' Type="{_OFFICE}" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>',
    }
    return zipped(parts)


def zipped(parts: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def epub(pages: Mapping[str, str], **more: str) -> bytes:
    """A book of these pages, by their links; `more` are files of its META-INF."""
    items = "".join(
        f'<item id="p{n}" href="{link}" media-type="application/xhtml+xml"/>'
        for n, link in enumerate(pages)
    )
    order = "".join(f'<itemref idref="p{n}"/>' for n in range(len(pages)))
    return zipped(
        {
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="a/b.opf"/>'
            "</rootfiles></container>",
            "a/b.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/'
            'elements/1.1/"><metadata><dc:title>Pumps &amp; valves</dc:title></metadata><manifest>'
            f"{items}</manifest><spine>{order}</spine></package>",
            **{f"META-INF/{name}.xml": content for name, content in more.items()},
            **{f"a/{unquote(link)}": page for link, page in pages.items() if page},
        }
    )


def pdf(text: str, title: str) -> bytes:
    """A PDF of one page with one line."""
    drawn = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources 7 0 R>>",
        f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        f"<</Title({title})>>",
        "<</Font<</F1 5 0 R>>>>",
    ]
    file, places = "%PDF-1.4\n", []
    for number, written in enumerate(objects, 1):
        places.append(f"{len(file):010} 00000 n \n")
        file += f"{number} 0 obj\n{written}\nendobj\n"
    table = f"xref\n0 8\n0000000000 65535 f \n{''.join(places)}"
    trailer = f"trailer<</Size 8/Root 1 0 R/Info 6 0 R>>\nstartxref\n{len(file)}\n%%EOF"
    return f"{file}{table}{trailer}".encode()


NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [{"cell_type": "markdown", "metadata": {}, "source": ["Pump hours by month"]}],
}


LINES = ("First paragraph of some length here", "and on until its end.", "Second paragraph.")
TABLE = ") Tj 0 -14 Td (".join(LINES)
"""The lines of a page that are taken for a table."""

HTML_MAIL = (
    b"Subject: Parts\nFrom: A B <a@b.c>, d@e.f\nContent-Type: text/html\n\n"
    b"<style>p {}</style><table><tr><td>Gasket<td>2.40</table><p>one<p>caf\xe9"
)

READ = [
    (".pdf", pdf("Grease the valve", "Valves"), "Valves", "Grease the valve"),
    (".pdf", pdf(TABLE, "Parts"), "Parts", "\n".join(LINES)),
    (".docx", docx("<w:p><w:r><w:t>Prime it</w:t></w:r></w:p>"), "", "Prime it"),
    (".rtf", rb"{\rtf1\ansi A caf\'e9}", "", "A café"),
    (
        ".eml",
        b"Subject: Lift 5\nFrom: a@b.c\n\nIt stands still.\n",
        "Lift 5",
        "It stands still.",
    ),
    (
        ".eml",
        b"Subject: =?iso-2022-jp?B?GyRCMnE1RBsoQg==?=\n"
        b"From: =?iso-2022-jp?B?GyRCMnE1RBsoQg==?= <a@b.c>\n"
        b"Content-Type: text/plain; charset=ISO-2022-JP\n\n" + "明日の会議".encode("iso-2022-jp"),
        "会議",
        'Subject: 会議\nFrom: "会議" <a@b.c>\n\n明日の会議',
    ),
    (
        ".eml",
        HTML_MAIL,
        "Parts",
        'Subject: Parts\nFrom: "A B" <a@b.c>, d@e.f\n\nGasket 2.40\n\none\n\ncaf\u00e9',
    ),
    (".epub", epub({"a.xhtml": "<p>Pump"}), "Pumps & valves", "Pump"),
    (".ipynb", json.dumps(NOTEBOOK).encode(), "", "Pump hours by month"),
]


@pytest.mark.parametrize(("suffix", "content", "title", "words"), READ)
def test_title_and_text(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    content: bytes,
    title: str,
    words: str,
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = extract(content, suffix)
    assert isinstance(found, tuple)
    assert found[0] == title
    assert words in found[1]
    # A cache would keep texts that were erased.
    assert {path.name for path in tmp_path.rglob("*")} <= {"kreuzberg-pdfium", "libpdfium.so"}


def test_the_words_of_tables_stand_once_in_a_pdf() -> None:
    page = extract(pdf(TABLE, "Parts"), ".pdf")
    assert isinstance(page, Page)
    assert page.text.split("\n") == [*LINES]


def test_golden_pages() -> None:
    output = [extract(content, suffix) for suffix, content, *_ in READ]
    golden.check("ml_assets.documents.formats.extracted.VERSION", VERSION, output)


def test_headings_stand_where_they_are_in_the_text() -> None:
    lines = ["Pumps are old. Pumps", "Pumps", "Prime", "e\u0301 Prime it", "Prime", "Pumps"]
    styles = {1: "Heading1", 2: "Heading2", 4: "Heading3", 5: "Heading1"}
    paragraphs = [
        f"<w:p>{f'<w:pPr><w:pStyle w:val={styles[n]!r}/></w:pPr>' if n in styles else ''}"
        f"<w:r><w:t>{line}</w:t></w:r></w:p>"
        for n, line in enumerate(lines)
    ]
    page = extract(docx("".join(paragraphs)), ".docx")
    assert isinstance(page, Page)
    assert [page.text[it.offset :].split("\n")[0] for it in page.headings] == [
        lines[n] for n in styles
    ]
    levels = [it.level - page.headings[0].level for it in page.headings]
    assert levels == [0, 1, 2, 0]
    assert [page.text[: it.offset].count("Prime") for it in page.headings] == [0, 0, 2, 3]


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ("<w:t>R&amp;D</w:t>", "R&D"),
        ("<w:t>a&lt;b&gt;c &quot;d&quot; &apos;e&apos;</w:t>", "a<b>c \"d\" 'e'"),
        ("<w:t>caf&#233; &#x20AC;&#x1F600;&#0;&#xD800;</w:t>", "caf\u00e9 \u20ac\U0001f600"),
        ("<w:t>&amp;amp;</w:t>", "&amp;"),
        ("<w:t>a</w:t><w:tab/><w:t>b</w:t><w:cr/><w:t>c</w:t>", "a b c"),
        ("<w:t>a</w:t><w:noBreakHyphen/><w:t>b</w:t>", "a-b"),
    ],
)
def test_word_loses_no_sign_and_joins_no_words(runs: str, text: str) -> None:
    styled = '<w:pPr><w:tabs><w:tab w:val="left"/></w:tabs><w:pStyle w:val="Heading1"/></w:pPr>'
    page = extract(docx(f"<w:p>{styled}<w:r>{runs}</w:r></w:p>"), ".docx")
    assert isinstance(page, Page)
    assert (page.text, [it.words for it in page.headings]) == (text, [text])


def test_every_page_of_a_book_is_read_in_its_order() -> None:
    pages = {
        "z.xhtml": "<html><head><title>no</title></head><body><h1>One</h1><p>a&nbsp;b<br/>c</p>",
        "no%20more.xhtml": "<dl><dt>term<dd>sense</dl><h2>R&amp;D</h2>",
        "gone.xhtml": "",
        "../top.xhtml": "",
        "a.xhtml#part": "",
        "empty.xhtml": "<body/>",
        "last.xhtml": "<table><tr><td>Gasket<td>2.40</table>",
    }
    page = extract(epub(pages), ".epub")
    assert isinstance(page, Page)
    assert page[:2] == (
        "Pumps & valves",
        "One\n\na\xa0b\nc\n\nterm\n\nsense\n\nR&D\n\nGasket 2.40",
    )
    assert [(it.level, page.text[it.offset :].split("\n")[0]) for it in page.headings] == [
        (1, "One"),
        (2, "R&D"),
    ]


def test_a_book_without_pages_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extract(epub({"a.xhtml": ""}), ".epub") == (
        "not readable as .epub (none of its pages is there)"
    )
    key = '<encryption><CipherReference URI="a/b%20c.xhtml"/></encryption>'
    assert extract(epub({"b%20c.xhtml": "\x9f\x01"}, encryption=key), ".epub") == (
        "not readable as .epub (its pages are encrypted)"
    )
    book = epub({"a.xhtml": "<p>a", "b.xhtml": f"<p>{'b' * 3_000}"})
    monkeypatch.setattr("ml_assets.documents.formats.epub.LONGEST", 2_000)
    assert extract(book, ".epub") == "not readable as .epub (its pages exceed 2000 bytes)"
    assert extract(zipped({"a": ""}), ".epub") == (
        "not readable as .epub (it has no META-INF/container.xml)"
    )


def test_what_a_book_says_of_itself_is_parsed_once_however_many_pages_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = []
    parse = ElementTree.fromstring

    def counted(content: bytes) -> ElementTree.Element:
        parsed.append(len(content))
        return parse(content)

    book = epub({f"{n}.xhtml": f"<p>page {n}" for n in range(20)}, encryption="<encryption/>")
    monkeypatch.setattr("ml_assets.documents.formats.epub.ElementTree.fromstring", counted)
    page = extract(book, ".epub")
    assert isinstance(page, Page)
    assert page.text.count("page") == 20
    assert len(parsed) == 3


@pytest.mark.parametrize("suffix", [".pdf", ".docx", ".xlsx", ".pptx", ".epub", ".ipynb"])
def test_damaged_files_are_told_in_one_line(suffix: str) -> None:
    reason = extract(b"garbage", suffix)
    assert isinstance(reason, str)
    assert reason.startswith(f"not readable as {suffix} (")
    assert "\n" not in reason


def test_an_archive_that_grows_beyond_measure_is_refused() -> None:
    reason = extract(docx("<w:p><w:r><w:t>" + "word " * 30_000_000), ".docx")
    assert isinstance(reason, str)
    assert "exceeds limit" in reason


def test_a_library_that_another_user_could_have_put_there_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "kreuzberg-pdfium").mkdir()
    (tmp_path / "kreuzberg-pdfium").chmod(0o777)
    reason = extract(pdf("a", "b"), ".pdf")
    assert isinstance(reason, str)
    assert reason.endswith("remove it, or set TMPDIR to a folder of your own")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracted, "_installed", lambda: "")
    assert extract(b"", ".pdf") == ".pdf needs kreuzberg: pip install 'ml-assets[documents]'"
