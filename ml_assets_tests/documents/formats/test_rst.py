"""reStructuredText: nothing that is written is lost; headings are those of docutils."""

from __future__ import annotations

import pytest

from ml_assets.documents.formats.rst import read_rst

BODY = """\
.. function:: prime(pump)
   :module: service

   Fills the *impeller*.

.. versionadded:: 3.2
   The valve.

.. list-table::

   * - Gasket
     - 2.40

===== =====
alpha beta
===== =====
one   two
===== =====

.. [1] A footnote.
"""


def test_bodies_of_directives_tables_and_footnotes_are_kept() -> None:
    assert read_rst(f"Pumps\n=====\n\n{BODY}")[:2] == ("Pumps", f"Pumps\n=====\n\n{BODY}")


@pytest.mark.parametrize(
    ("page", "headings"),
    [
        ("Pumps\n=====\n\nParts\n-----\n\nMore\n====\n", [(1, "Pumps"), (2, "Parts"), (1, "More")]),
        ("=====\nPumps\n=====\n\nParts\n=====\n", [(1, "Pumps"), (2, "Parts")]),
        ("=======\n Pumps\n=======\n", [(1, "Pumps")]),
        ("Pumps\n=====\nParts\n-----\n", [(1, "Pumps"), (2, "Parts")]),
        (":mod:`re` --- ``x`` words\n=======\n", [(1, "re --- x words")]),
        (".. _label:\nPumps\n=====\n", [(1, "Pumps")]),
        ("Long heading\n----\n", [(1, "Long heading")]),
        ("Long heading\n---\n", []),
        ("two\n--\n", []),
        ("a\n-\n", [(1, "a")]),
        ("one line\nof two\n======\n", []),
        ("words\n\n=====\n\nwords\n", []),
        ("Code::\n\n  Pumps\n  =====\n", []),
        ("  quoted\n=========\n", []),
        ("===== =====\nalpha beta\n===== =====\n", []),
        ("=====\n=====\n=====\n", []),
        ("", []),
        ("plain", []),
    ],
)
def test_headings(page: str, headings: list[tuple[int, str]]) -> None:
    found = read_rst(page).headings
    assert [(heading.level, heading.words) for heading in found] == headings


def test_a_section_begins_with_what_is_drawn_over_it() -> None:
    page = "before\n\n=====\nPumps\n=====\n\nParts\n-----\n"
    places = [heading.offset for heading in read_rst(page).headings]
    assert [page[place:].split("\n")[0] for place in places] == ["=====", "Parts"]


@pytest.mark.parametrize(
    "page", ["=" * 300_000, "a\n" * 150_000, "a\n-\n" * 100_000, ":" * 300_000]
)
def test_long_pages_take_linear_time(page: str) -> None:
    """Quadratic, each would take minutes."""
    assert len(read_rst(page).text) == len(page)
