"""What the bench asks of an index, and of a search.

Nothing here may import what only one of the environments has.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.search.vectors import Vectors

Ask = Callable[[NDArray[np.float32], int], list[int]]
"""The numbers of the k rows nearest to a vector, nearest first."""

Search = Callable[[str], list[str]]
"""The ids, or the texts, of the ten best for a text, best first."""


@dataclass(frozen=True)
class Job:
    """What is indexed, and where: a PostgreSQL URL, and a folder."""

    name: str
    database: str
    state: Path
    vectors: Vectors


class Contender(Protocol):
    """One kind of index, opened on a `Job`."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What sets the index apart from others of its library."""

    def build(self) -> int:
        """Build the index of all rows; return its bytes on disk."""

    def client(self) -> AbstractContextManager[Ask]:
        """Open the index for one client, with a connection of its own where there is one."""

    def drop(self) -> None:
        """Remove what the next contender would stumble upon."""


@runtime_checkable
class Filtering(Protocol):
    """A contender that can be asked for a part of its rows."""

    def filtered(self, percent: int) -> AbstractContextManager[Ask]:
        """Open the index for one client that is given only so many percent of the rows."""
