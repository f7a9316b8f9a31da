"""PDF, office documents and notebooks, as kreuzberg extracts them; mail and books."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ml_assets.documents.formats import word
from ml_assets.documents.formats.epub import read_epub
from ml_assets.documents.formats.mail import read_message
from ml_assets.documents.model import LONGEST_TITLE, Heading, Page
from ml_assets.documents.normalize import normalize
from ml_assets.errors import first_line

_MEDIA_TYPES = {
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".rtf": "application/rtf",
    ".ipynb": "application/x-ipynb+json",
}
"""What kreuzberg extracts, by suffix."""

_OWN: Mapping[str, Callable[[bytes], Page]] = {".epub": read_epub, ".eml": read_message}
"""What needs no extractor: it lost pages of books, and joined the words of HTML in mail."""

FORMATS = (*_MEDIA_TYPES, *_OWN)

VERSION = "4"
"""Raise it when something else is made of what the extractor reads."""

MAX_BYTES = 1 << 26
"""Bytes of a file that is looked into; what comes out is a text, whose length a setting bounds."""

_UNREADABLE = (
    *(ValueError, KeyError, EOFError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, ElementTree.ParseError),
)
"""What the modules of the standard library raise of a damaged file."""

_FAR = 50_000
"""Characters within which what a node says follows the one before."""

_LIBRARY = "kreuzberg-pdfium"
"""The folder of temporary files that it unpacks its PDF library into, and loads it from."""


def extractor(suffix: str) -> str:
    """Return which version extracts, for fingerprints; empty when it is not installed."""
    if suffix in _OWN:
        return VERSION
    return f"{installed}+{VERSION}" if (installed := _installed()) else ""


@cache
def _installed() -> str:
    """The version of kreuzberg: it takes longer to look up than many a file to extract."""
    try:
        return version("kreuzberg")
    except PackageNotFoundError:
        return ""


def extract(content: bytes, suffix: str) -> Page | str:
    """Return the page, or why there is none.

    No text is written: the extractor's cache, which would keep all, is off.
    """
    if suffix in _OWN:
        try:
            return _OWN[suffix](content)
        except _UNREADABLE as error:
            return f"not readable as {suffix} ({first_line(error)[:200]})"
    if not extractor(suffix):
        return f"{suffix} needs kreuzberg: pip install 'ml-assets[documents]'"
    from kreuzberg import ExtractionConfig, KreuzbergError, extract_bytes_sync

    if suffix == ".pdf" and not _is_ours(place := Path(tempfile.gettempdir()) / _LIBRARY):
        return f"another user could write {place}: remove it, or set TMPDIR to a folder of your own"
    config = ExtractionConfig(
        use_cache=False,
        include_document_structure=suffix != ".pdf",  # it tells headings of the others alone
    )
    if suffix == ".docx":
        content = word.prepared(content)
    try:
        result = extract_bytes_sync(content, _MEDIA_TYPES[suffix], config)
    except KreuzbergError as error:
        return f"not readable as {suffix} ({' '.join(str(error).split())[:200]})"
    told: dict[str, Any] = dict(result.metadata)
    office = told.get("core_properties") or {}
    title = str(told.get("title") or told.get("subject") or office.get("title") or "")
    text = normalize(_once(result) if suffix == ".pdf" else result.content)
    document: Any = result.document or {}
    headings = tuple(_headings((node["content"] for node in document.get("nodes", ())), text))
    page = Page(" ".join(title.split()), text, headings)
    return _signed(page) if suffix == ".docx" else page


def _once(result: Any) -> str:
    """The text of a PDF without its tables, where they are written once more behind all of it."""
    content: str = result.content
    rows = (row for table in result.tables for row in table.cells)
    again = [word for row in rows for cell in row for word in cell.split()]
    text, *behind = content.rsplit(maxsplit=len(again)) or [content]
    return text if again and behind == again else content


def _signed(page: Page) -> Page:
    """A page with the signs for which others stood, each in its place."""
    headings = (it._replace(words=it.words.translate(word.SIGNS)) for it in page.headings)
    title, text = (words.translate(word.SIGNS) for words in page[:2])
    return Page(title, text, tuple(headings))


def _headings(nodes: Iterable[Mapping[str, Any]], text: str) -> Iterator[Heading]:
    """Find the headings in the text, which holds what the nodes say, in their order."""
    lines, place = f"\n{text}\n", 0
    for node in nodes:
        words = normalize(node.get("text") or "").strip()
        is_heading = node["node_type"] == "heading"
        sought = f"\n{words}\n" if is_heading else words
        found = lines.find(sought, place, place + len(words) + _FAR) if words else -1
        if found < 0:
            continue
        if is_heading:
            yield Heading(found, int(node["level"]), " ".join(words.split())[:LONGEST_TITLE])
        place = found + len(words)


def _is_ours(folder: Path) -> bool:
    """Make a folder that nobody else writes; whether it is one, who ever made it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder.lstat()
    ours = made.st_uid in (os.geteuid(), 0) and not made.st_mode & 0o022
    return stat.S_ISDIR(made.st_mode) and ours
