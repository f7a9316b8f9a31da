"""Title and headings of Markdown: what is a heading, and what only looks like one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ml_assets.documents.formats.markdown import read_markdown


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("# One\n\ntext\n\n# Two", "One"),
        ("text\n\n### The *title* with `code` ###\n", "The title with code"),
        ("# A [link](https://e.org) and ![picture](x.png)", "A link and picture"),
        ("Two\nlines\n=====\n", "Two lines"),
        ("```sh\n# no\n```\n# yes", "yes"),
        ("~~~\n# no\n~~~\n\n    # no\n\n# yes", "yes"),
        ("<!--\n# no\n-->\n\n# yes", "yes"),
        ("<h1 align=center>Big <b>one</b></h1>\n\n## small", "Big one"),
        ("#no\n\n#" + " " * 3_000 + "far", "far"),
        ("no heading", ""),
        ("", ""),
        ("# " + "[" * 100_000, "[" * 1_000),
    ],
)
def test_the_title_is_the_first_heading(page: str, title: str) -> None:
    assert read_markdown(page)[:2] == (title, page)


@pytest.mark.parametrize(
    ("page", "title", "text"),
    [
        ("---\ntitle: Deploy  guide\n# a comment\n---\nbody", "Deploy guide", "body"),
        ("---\ntitle: 2024\n---\n", "2024", ""),
        ("---\ntags: [a]\n---\n# Heading\n", "Heading", "# Heading\n"),
        ("---\ntitle:\n---\n# Heading\n", "Heading", "# Heading\n"),
    ],
)
def test_front_matter_is_no_text(page: str, title: str, text: str) -> None:
    assert read_markdown(page)[:2] == (title, text)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (
            "---\na: [b\n---\n# Heading",
            "a: [b",
        ),  # no YAML: a heading underlined, as Markdown has it
        ("---\njust words\n---\n# Heading", "just words"),
        ("---\n\nwords behind a line\n\n---\n\n# Heading", "Heading"),
        ("---\ntitle: never ended\n", ""),
    ],
)
def test_lines_are_no_front_matter(page: str, title: str) -> None:
    assert read_markdown(page)[:2] == (title, page)


@pytest.mark.parametrize("title", [f"0x{'f' * 5_000}", "*z", "[a, b]", "{a: b}"])
def test_a_title_that_is_no_word_number_or_date_is_none(title: str) -> None:
    """Each alias names the one before ten times: as text the last one is larger than any memory."""
    lines = ["a: &a [x]"]
    names = "abcdefghijklz"
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    front = "\n".join([*lines, f"title: {title}"])
    page = f"---\n{front}\n---\n# Heading\n"
    found, text, _ = read_markdown(page)
    if title.startswith("0x"):  # no YAML at all
        assert text == page
    else:
        assert (found, text) == ("Heading", "# Heading\n")


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("# One\n\ntext\n\nTwo\n---\n\n###### Six ##\n", [(1, "One"), (2, "Two"), (6, "Six")]),
        ("a\n   ## Two *b* `c`\nd", [(2, "Two b c")]),
        ("- # no\n\n> # no\n\n1. x\n\n   # no\n\n# yes", [(1, "yes")]),
        ("```\n# no\n```\n\n    # no\n\n<!--\n# no\n-->\n\n#no\n\n# yes", [(1, "yes")]),
        ("<h2 align=center>Big\n<b>one</b></h2>\n\n### small", [(2, "Big one"), (3, "small")]),
        ("#\n\n## ![](x.png)\n\n# yes", [(1, "yes")]),
        ("One\r\n===\r\n\r\ne\u0301\r\n## Two\rx", [(1, "One"), (2, "Two")]),
        ("---\ntitle: T\n---\n\n## Two\n", [(2, "Two")]),
        ("---\r\ntitle: T\r\n---\r\n\r\n## Two\r\n", [(2, "Two")]),
        ("x\x0b# no\u2028# no\n# yes", [(1, "yes")]),
    ],
)
def test_sections_begin_at_headings(page: str, found: list[tuple[int, str]]) -> None:
    read = read_markdown(page)
    assert [(heading.level, heading.words) for heading in read.headings] == found
    for heading in read.headings:
        line = read.text[heading.offset :].split("\n\n")[0]
        assert heading.words.split()[0] in line
        assert read.text[: heading.offset][-1:] in ("", "\n")
    assert "title: T" not in read.text
