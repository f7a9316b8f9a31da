"""The terms of titles."""

import pytest

from ml_assets.training.families.titles import LONGEST, title_terms


@pytest.mark.parametrize(
    ("title", "terms"),
    [
        ("Open a file", ["open", "a", "file", "open a", "a file"]),
        ("os.read_all", ["os", "read_all", "read", "all", "os read_all"]),
        ("HTTPServer2", ["httpserver2", "http", "server", "2"]),
        ("getURL", ["geturl", "get", "url"]),
        ("\u00dcberGr\u00f6\u00dfe", ["\u00fcbergr\u00f6\u00dfe"]),
        ("x" * LONGEST, ["x" * LONGEST]),
        ("x" * (LONGEST + 1), []),
        ("", []),
    ],
)
def test_terms(title: str, terms: list[str]) -> None:
    assert title_terms(f"{title}\nThe text.\nMore.") == terms


def test_a_text_of_one_line_has_no_title() -> None:
    assert title_terms("os.read_all") == []
