"""Text, Markdown, HTML and other files of one document as rows: one file, one row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import BinaryIO

from ml_assets.documents.formats import extracted
from ml_assets.documents.formats.html import decode_html, read_html
from ml_assets.documents.formats.markdown import read_markdown
from ml_assets.documents.formats.rows import HEADINGS, Row
from ml_assets.documents.formats.rst import read_rst
from ml_assets.documents.model import Page

_TEXTS = (".txt", ".md", ".markdown", ".rst", ".html", ".htm")
FORMATS = (*_TEXTS, *extracted.FORMATS)
NO_TEXT = "no text, as a page that was scanned has none"
COLUMNS = ("id", "title", "text", "folder", "name")
"""The columns of a page: its path below the source, title, text, first folder, and file name."""

_HTML = (".html", ".htm")
_MARKDOWN = (".md", ".markdown")


def read_page(
    file: BinaryIO,
    path: str,
    suffix: str,
    max_bytes: int,
    extract: Callable[[bytes, str], Page | str] = extracted.extract,
) -> Row | str:
    """Read one page, opened through its compression; return the reason when it cannot be read.

    `path` is relative to the source, and `suffix` one of the `FORMATS`.
    """
    most = max_bytes if suffix in _TEXTS else extracted.MAX_BYTES
    content = file.read(most + 1)
    if len(content) > most:
        setting = "ML_ASSETS_MAX_DOCUMENT_BYTES=" if suffix in _TEXTS else ""
        return f"more bytes than {setting}{most}"
    found = _text(content, suffix) if suffix in _TEXTS else extract(content, suffix)
    if isinstance(found, str):
        return found
    if not found.text.strip() and not found.title.strip():
        return NO_TEXT  # the name of a file says nothing of it
    place = PurePosixPath(path)
    folder = place.parts[0] if len(place.parts) > 1 else ""
    stem = place.name[: place.name.lower().rfind(suffix)]
    cells = (path, found.title or stem, found.text, folder, place.name)
    return {**dict(zip(COLUMNS, cells, strict=True)), HEADINGS: found.headings}


def _text(content: bytes, suffix: str) -> Page | str:
    """Return the page, or why it is not readable."""
    if suffix in _HTML:
        return read_html(decode_html(content))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "invalid UTF-8"
    if suffix == ".rst":
        return read_rst(text)
    return read_markdown(text) if suffix in _MARKDOWN else Page("", text)
