"""Text, Markdown and HTML files as rows: one file, one row."""

from __future__ import annotations

import re
import warnings
from pathlib import PurePosixPath
from typing import BinaryIO

from ml_assets.documents.formats.rows import Row

FORMATS = (".txt", ".md", ".markdown", ".html", ".htm")
COLUMNS = ("id", "title", "text", "folder", "name")
"""The columns of a page: its path below the source, title, text, first folder, and file name."""

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_LINE_ENDS = re.compile(r"[ \t]*\n( (?! ))?")
_BLANK_LINES = re.compile(r"\n{3,}")
_HIDDEN = ("script", "style", "noscript", "template", "head")
_BLOCKS = (
    *("address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "figcaption", "footer"),
    *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p"),
    *("pre", "section", "table", "tr", "ul", "br"),
)


def read_page(file: BinaryIO, path: str, max_bytes: int) -> Row | str:
    """Read one page; `path` is relative to the source. Return the reason when it cannot be read."""
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        return f"more bytes than ML_ASSETS_MAX_DOCUMENT_BYTES={max_bytes}"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "invalid UTF-8"
    place = PurePosixPath(path)
    title = ""
    if place.suffix.lower() in (".html", ".htm"):
        title, text = html_text(text)
    elif place.suffix.lower() in (".md", ".markdown") and (heading := _HEADING.search(text)):
        title = heading[1]
    folder = place.parts[0] if len(place.parts) > 1 else ""
    cells = (path, title or place.stem, text, folder, place.name)
    return dict(zip(COLUMNS, cells, strict=True))


def html_text(html: str) -> tuple[str, str]:
    """Return the title and the visible text of a page: one line per block, `pre` as it stands."""
    import bs4

    with warnings.catch_warnings():
        # A page that is a file name, or XML, is read as what it was called: HTML.
        warnings.simplefilter("ignore", bs4.MarkupResemblesLocatorWarning)
        warnings.simplefilter("ignore", bs4.XMLParsedAsHTMLWarning)
        soup = bs4.BeautifulSoup(html, "html.parser")
    heading = soup.title or soup.h1
    title = _SPACES.sub(" ", heading.get_text()).strip() if heading else ""
    for tag in soup(_HIDDEN):
        tag.decompose()
    preformatted = {id(string) for block in soup("pre") for string in block.find_all(string=True)}
    for string in soup.find_all(string=True):
        if id(string) not in preformatted:
            string.replace_with(type(string)(_SPACES.sub(" ", string)))
    for tag in soup(_BLOCKS):
        tag.insert_before("\n")
        tag.insert_after("\n")
    return title, _BLANK_LINES.sub("\n\n", _LINE_ENDS.sub("\n", soup.get_text())).strip()
