"""The title of a Markdown page: of its front matter, or its first heading."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ml_assets.documents.formats.html import html_text
from ml_assets.documents.formats.rows import LONGEST_TITLE

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"---[ \t]*\n((?:(?!---[ \t]*\n)[^\n]*\n){0,200})---[ \t]*(?:\n|\Z)")
_HTML_HEADING = re.compile("<h1[ >]", re.IGNORECASE)
_HEAD = 16_384
"""Characters that are looked through for a title."""


def read_markdown(page: str) -> tuple[str, str]:
    """Return the title, empty where there is none, and the text as it stands without front matter.

    What is written in a block of code or a comment is no heading.
    """
    from markdown_it import MarkdownIt

    title, text = _front_matter(page)
    if title:
        return title, text
    for token in (tokens := iter(MarkdownIt().disable("inline").parse(text[:_HEAD]))):
        if token.type == "heading_open":
            return _plain(next(tokens).content[:LONGEST_TITLE]), text
        if token.type == "html_block" and _HTML_HEADING.match(token.content):
            return html_text(token.content)[1].replace("\n", " "), text
    return "", text


def _front_matter(page: str) -> tuple[str, str]:
    """Return the title that the front matter gives, and the text behind it."""
    import yaml

    found = _FRONT_MATTER.match(page)
    if not found:
        return "", page
    try:
        fields = yaml.safe_load(found[1])
        title = fields.get("title") if isinstance(fields, dict) else None
        # A list or a mapping may name one inside of another so often that no memory holds its text.
        text = str(title) if isinstance(title, str | int | float | datetime.date) else ""
    except (yaml.YAMLError, ValueError, RecursionError):
        return "", page
    if not isinstance(fields, dict):
        return "", page
    return " ".join(text[:LONGEST_TITLE].split()), page[found.end() :]


def _plain(heading: str) -> str:
    """A heading without its marks: the words of links, code and emphasis."""
    from markdown_it import MarkdownIt

    return "".join(_words(MarkdownIt().parseInline(heading)[0].children or [])).strip()


def _words(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "softbreak":
            yield " "
        elif token.type != "html_inline":
            yield "".join(_words(token.children)) if token.children else token.content
