"""How widely approximate indexes search: lists, probes, and candidates for a second look."""

from __future__ import annotations

from math import isqrt

_ROWS_OF_A_LIST = 1000


def lists_of(rows: int) -> int:
    """A list for every 1000 rows up to a million, √rows beyond: pgvector's own advice."""
    return max(1, rows // _ROWS_OF_A_LIST if rows <= _ROWS_OF_A_LIST**2 else isqrt(rows))


def probes_of(lists: int, share: float = 1.0) -> int:
    """√lists, rounded up: pgvector's own advice. More when only a `share` of the rows counts.

    So many that as many candidates lie in them as in those that are read for all rows.
    """
    return min(lists, round((isqrt(lists - 1) + 1) / share))


def is_outgrown(lists: int, rows: int, times: int = 2) -> bool:
    """Whether there are over `times` as many `rows` as `lists` were made for, or as few."""
    return not lists_of(rows // times) <= lists <= lists_of(times * rows)


def candidates_of(k: int) -> int:
    """How many a coarse search must find, so that the best `k` of them are right."""
    return max(10 * k, 100)
