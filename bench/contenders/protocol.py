"""What the bench asks of a contender: to bring a database to the state of a file.

Nothing here may import what only one of the environments has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK_CHARACTERS = 1000
CHUNK_OVERLAP = 100


@dataclass(frozen=True)
class Job:
    """Where a contender keeps its rows (a PostgreSQL URL) and the rest (a folder); the model."""

    database: str
    state: Path
    model: Path


class Pipeline(Protocol):
    """Documents to chunks to vectors to HNSW, opened on a `Job`."""

    def warm_up(self) -> None:
        """Load what a long-lived process has loaded: libraries and the model."""

    def ingest(self, documents: Path) -> int:
        """Make the database equal to a file of `bench.corpus`; return how many chunks it holds."""


def read_documents(file: Path) -> Iterator[tuple[str, str]]:
    """The id of every row, and its text below its title."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["id"], f"{row['title']}\n{row['text']}"
