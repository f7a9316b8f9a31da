"""The terms of titles."""

import pytest

from ml_assets.training.families.titles import LONGEST, title_terms


@pytest.mark.parametrize(
    ("title", "terms"),
    [
        ("Open a file", ["open", "a", "file", "open a", "a file", "open/3"]),
        ("os.read_all", ["os", "read_all", "read", "all", "os read_all", "os/2"]),
        ("HTTPServer2", ["httpserver2", "http", "server", "2", "httpserver2/1"]),
        ("getURL", ["geturl", "get", "url", "geturl/1"]),
        ("\u00dcberGr\u00f6\u00dfe", ["\u00fcbergr\u00f6\u00dfe", "\u00fcbergr\u00f6\u00dfe/1"]),
        ("x" * LONGEST, ["x" * LONGEST, "x" * LONGEST + "/1"]),
        ("x" * (LONGEST + 1), []),
        ("", []),
        ("\u2026", []),
    ],
)
def test_terms(title: str, terms: list[str]) -> None:
    assert title_terms(f"{title}\nThe text.\nMore.") == terms


def test_a_text_of_one_line_has_no_title() -> None:
    assert title_terms("os.read_all") == []
