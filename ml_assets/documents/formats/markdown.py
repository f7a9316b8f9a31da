"""Title, text and headings of a Markdown page; front matter may give the title."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

from ml_assets.documents.formats.html import read_html
from ml_assets.documents.model import LONGEST_TITLE, Heading, Page
from ml_assets.documents.normalize import normalize

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"---[ \t]*\n((?:(?!---[ \t]*\n)[^\n]*\n){0,200})---[ \t]*(?:\n|\Z)")
_HTML_HEADING = re.compile("<h([1-6])[ >]", re.IGNORECASE)


def read_markdown(page: str) -> Page:
    """Read a page: the text as it stands, without front matter, whose title goes before headings.

    What is written in a block of code, a comment, a list or a quotation is no heading.
    """
    title, text = _front_matter(normalize(page))
    headings = tuple(_headings(text))
    return Page(title or (headings[0].words if headings else ""), text, headings)


def _headings(text: str) -> Iterator[Heading]:
    lines = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    for token in (tokens := iter(_parser(blocks_only=True).parse(text))):
        if token.level or not token.map:
            continue
        if token.type == "heading_open":
            level, words = int(token.tag[1:]), _plain(next(tokens).content[:LONGEST_TITLE])
        elif token.type == "html_block" and (found := _HTML_HEADING.match(token.content)):
            level, words = int(found[1]), read_html(token.content).text
        else:
            continue
        if words := " ".join(words.split()):
            yield Heading(lines[token.map[0]], level, words[:LONGEST_TITLE])


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
    return "".join(_words(_parser().parseInline(heading)[0].children or [])).strip()


@cache
def _parser(*, blocks_only: bool = False) -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt().disable("inline") if blocks_only else MarkdownIt()


def _words(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "softbreak":
            yield " "
        elif token.type != "html_inline":
            yield "".join(_words(token.children)) if token.children else token.content
