"""Where headings divide a text, and what stands above a piece of it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ml_assets.documents.model import Heading
from ml_assets.documents.outline import divide, heading_paths, window

LEVELS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=25)
"""Of each section how many characters stand before it, and its level."""


def outline(levels: list[tuple[int, int]]) -> list[Heading]:
    headings, offset = [], 0
    for number, (gap, level) in enumerate(levels):
        offset += gap + (number > 0)
        headings.append(Heading(offset, level, f"h{number}"))
    return headings


def path_at(headings: list[Heading], place: int) -> list[Heading]:
    """The headings above a character, found the plain way."""
    path: list[Heading] = []
    for heading in headings:
        if heading.offset <= place:
            path = [above for above in path if above.level < heading.level] + [heading]
    return path


def weight(start: int, end: int) -> int:
    return end - start


@given(LEVELS, st.integers(1, 30), st.integers(0, 20))
def test_a_text_is_divided_at_headings_alone(
    levels: list[tuple[int, int]], most: int, rest: int
) -> None:
    headings = outline(levels)
    length = rest + (headings[-1].offset + 1 if headings else 1)
    spans = divide(headings, length, weight, most)
    assert (spans[0][0], spans[-1][1]) == (0, length)
    assert all(left[1] == right[0] for left, right in pairwise(spans))
    assert {start for start, _ in spans[1:]} <= {heading.offset for heading in headings}
    for start, end in spans:
        inside = [heading for heading in headings if start < heading.offset < end]
        if end - start > most:  # one section, behind what is too light to stand alone
            first = [heading.offset for heading in headings if heading.offset - start <= most // 8]
            assert not [it for it in inside if it.offset not in first]
        else:  # neighbours under one heading
            above = path_at(headings, start)[:-1]
            assert all(path_at(headings, it.offset)[: len(above)] == above for it in inside)


@given(LEVELS, st.integers(0, 60), st.integers(1, 60))
def test_the_path_is_what_is_above_every_character(
    levels: list[tuple[int, int]], start: int, length: int
) -> None:
    headings = outline(levels)
    (path,) = heading_paths(headings, [(start, start + length)])
    paths = [path_at(headings, place) for place in range(start, start + length)]
    assert list(path) == [it for it in paths[0] if all(it in other for other in paths)]


@given(LEVELS, st.integers(0, 60), st.integers(1, 60))
def test_a_window_has_the_paths_of_the_whole(
    levels: list[tuple[int, int]], start: int, length: int
) -> None:
    headings = outline(levels)
    part = window(headings, start, start + length)
    for place in range(length):
        (own,) = heading_paths(part, [(place, place + 1)])
        assert [it.words for it in own] == [it.words for it in path_at(headings, start + place)]


def test_light_sections_under_one_heading_are_one_span() -> None:
    headings = outline([(0, 1), (9, 2), (9, 2), (9, 2), (9, 1), (9, 2)])
    assert divide(headings, 60, weight, 60) == [(0, 60)]
    assert divide(headings, 60, weight, 40) == [(0, 40), (40, 60)]
    assert divide(headings, 60, weight, 25) == [(0, 20), (20, 40), (40, 60)]
    assert divide(headings, 60, weight, 10) == [(n, n + 10) for n in range(0, 60, 10)]
    assert divide(headings, 60, weight, 1) == [(n, n + 10) for n in range(0, 60, 10)]


def test_what_is_light_goes_before_a_section_that_is_cut() -> None:
    headings = outline([(0, 1), (4, 2), (99, 2), (19, 2)])
    assert divide(headings, 150, weight, 45) == [(0, 105), (105, 150)]
    assert divide(headings, 150, weight, 39) == [(0, 5), (5, 105), (105, 125), (125, 150)]
    assert divide([], 150, weight, 39) == [(0, 150)]
