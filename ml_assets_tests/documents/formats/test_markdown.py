"""The title of Markdown: what is a heading, and what only looks like one."""

from __future__ import annotations

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
    assert read_markdown(page) == (title, page)


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
    assert read_markdown(page) == (title, text)


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
    assert read_markdown(page) == (title, page)
