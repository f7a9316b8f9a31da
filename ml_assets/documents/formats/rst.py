"""Title, text and headings of a reStructuredText page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

from ml_assets.documents.model import LONGEST_TITLE, Heading, Page
from ml_assets.documents.normalize import normalize

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*")
"""A line of one sign, which is drawn under a heading, and over some."""

_SHORTEST = 4
"""Signs that are drawn under a heading that is longer."""

_ROLE = re.compile(r":[\w:.+-]{1,50}:(?=`)")


def read_rst(page: str) -> Page:
    """Read a page: the text as it stands, with the marks and bodies of directives of any program.

    The title is the first heading. What is written in a block of code or a quotation is none.
    """
    text = normalize(page)
    headings = tuple(_headings(text))
    return Page(headings[0].words if headings else "", text, headings)


def _headings(text: str) -> Iterator[Heading]:
    """Find headings by what is drawn under them: each new style is one level deeper.

    Source: https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html#sections
    """
    lines = text.split("\n")
    begins = [0, *accumulate(len(line) + 1 for line in lines)]
    styles: list[tuple[str, bool]] = []
    before, line = "", lines[0]
    for number, under in enumerate(lines[1:]):
        above, before, line, words = before, line, under, line.strip()
        sign, over = _sign(under), _sign(above)
        if not sign or not words or _sign(before):
            continue
        is_over = over == sign
        is_quoted = before[0].isspace() and not is_over
        is_of_paragraph = bool(above.strip()) and not over and not above.startswith("..")
        is_long = len(under.rstrip()) >= min(_SHORTEST, len(words))
        if is_quoted or is_of_paragraph or not is_long:
            continue
        style = (sign, is_over)
        if style not in styles:
            styles.append(style)
        place = begins[number - 1 if is_over else number]
        yield Heading(place, styles.index(style) + 1, _plain(words)[:LONGEST_TITLE])


def _sign(line: str) -> str:
    """The sign that a line is drawn of; empty: it is not drawn."""
    return line[:1] if _ADORNMENT.fullmatch(line) else ""


def _plain(words: str) -> str:
    """A heading without its marks: the words of roles and code."""
    return " ".join(_ROLE.sub("", words).replace("`", "").split())
