"""What is to be forgotten: documents with all that is known of them, as it travels to each store.

An eraser is a plain function of a store, `erase(place, subject) -> list[Removed]`. It removes all
that the store has of the subject and writes the store's files anew without it. It can be called
again after a kill anywhere, and then completes what was begun: it looks at what the store has, not
at what others have removed before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.settings import Settings
from ml_assets.stores import postgres

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Marks:
    """What can be in no file once the subject is gone, since nothing else holds it.

    `words`: ids, titles, values of metadata and pieces of text. `vectors`: of its chunks, float32,
    each of shape (dimension,), as PostgreSQL holds them: rounded to float16. Of texts that other
    documents have, too, there are none.
    """

    words: tuple[str, ...] = ()
    vectors: tuple[NDArray[np.float32], ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """The documents of one request, and by what stores know them.

    `chunks`: ids of the chunks, of all chunkers. `text_hashes`: sha256 of what was embedded, of
    each chunk; other documents may have chunks of the same hash, whose vectors stay. `texts`: whole
    texts, as they were read. `labels`: those that no other document has.
    """

    request_id: str
    documents: tuple[str, ...]
    collections: tuple[str, ...] = ()
    chunks: tuple[str, ...] = ()
    text_hashes: tuple[bytes, ...] = ()
    texts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    marks: Marks = field(default_factory=Marks)


@dataclass(frozen=True, slots=True)
class Removed:
    """What an eraser removed: of which store, what, how many, and how the bytes went.

    `count` is 0 where nothing was there, as after a kill. `how` is a phrase for the receipt, such
    as "the table was written anew"; of a server it says what it cannot show.
    """

    store: str
    what: str
    count: int
    how: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an eraser works. `connection`: to PostgreSQL, in autocommit, with the turn of a run."""

    settings: Settings
    connection: postgres.Connection
    notify: Callable[[str], None] = lambda line: None

    @property
    def home(self) -> Path:
        """The folder of all embedded stores."""
        return self.settings.home


Eraser = Callable[[Place, Subject], list[Removed]]
