"""The sections of a text, as its headings divide it: where to cut, what stands above a piece."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from ml_assets.documents.model import Heading

Span = tuple[int, int]
"""Start and end of a piece of a text, in characters."""


def section_ends(headings: Sequence[Heading]) -> list[int]:
    """For each heading, the number of the first one behind its section."""
    ends = [len(headings)] * len(headings)
    open_: list[int] = []
    for number, heading in enumerate(headings):
        while open_ and headings[open_[-1]].level >= heading.level:
            ends[open_.pop()] = number
        open_.append(number)
    return ends


def heading_paths(
    headings: Sequence[Heading], spans: Iterable[Span]
) -> Iterator[tuple[Heading, ...]]:
    """Yield the headings above each span, outermost first: of all sections that it is in whole."""
    ends = section_ends(headings)
    offsets = [heading.offset for heading in headings]
    above = _parents(ends)
    for start, end in spans:
        number, last = bisect_right(offsets, start) - 1, bisect_left(offsets, end) - 1
        path = []
        while number >= 0:
            if ends[number] > last:
                path.append(headings[number])
            number = above[number]
        yield tuple(reversed(path))


def divide(
    headings: Sequence[Heading], length: int, weight: Callable[[int, int], int], most: int
) -> list[Span]:
    """Cut a text of `length` characters at headings, into spans of weight `most` where it can be.

    A section that is light enough stays whole, and light neighbours under one heading are one span.
    What stands before the first of them goes with it, if it is light.
    """
    if not headings:
        return [(0, length)]
    ends = section_ends(headings)
    offsets = [*(heading.offset for heading in headings), length]
    spans: list[Span] = []

    def pack(begin: int, number: int, last: int) -> None:
        """Cut what begins at `begin`, and of which the sections `number` to `last` are the rest."""
        if number == last or weight(begin, offsets[last]) <= most:
            spans.append((begin, offsets[last]))
            return
        packed = offsets[number]
        while number < last:
            behind = ends[number]
            if weight(begin, offsets[behind]) <= most:
                packed = offsets[behind]
            elif weight(offsets[number], offsets[behind]) <= most:
                spans.append((begin, packed))
                begin, packed = offsets[number], offsets[behind]
            else:
                if weight(begin, packed) > most // _FRACTION:
                    spans.append((begin, packed))
                    begin = offsets[number]
                pack(begin, number + 1, behind)
                begin = packed = offsets[behind]
            number = behind
        if begin < packed:
            spans.append((begin, packed))

    pack(0, 0, len(headings))
    return spans


_FRACTION = 8
"""Of a full span, what is too light to stand alone before a section that is cut."""


def window(headings: Sequence[Heading], start: int, end: int) -> tuple[Heading, ...]:
    """The headings of a part of a text, as those of a text of its own.

    At its start are those above it.
    """
    offsets = [heading.offset for heading in headings]
    first, last = bisect_left(offsets, start), bisect_left(offsets, end)
    (above,) = heading_paths(headings[:first], [(start, start)])
    return tuple(
        heading._replace(offset=max(0, heading.offset - start))
        for heading in (*above, *headings[first:last])
    )


def _parents(ends: Sequence[int]) -> list[int]:
    """For each heading, the number of the one above it; -1: none."""
    parents, open_ = [], list[int]()
    for number in range(len(ends)):
        while open_ and ends[open_[-1]] <= number:
            open_.pop()
        parents.append(open_[-1] if open_ else -1)
        open_.append(number)
    return parents
