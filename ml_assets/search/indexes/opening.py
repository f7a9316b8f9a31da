"""Opening the indexes of one deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Self

from ml_assets.search.indexes.contract import AnyIndex, TextIndex, VectorIndex
from ml_assets.search.indexes.kinds import KINDS, kinds_of
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres


class Indexes:
    """Opens indexes by their kinds, on the stores that the settings name.

    As a context manager it keeps to its end what takes long to open, once that was opened.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._kept: ExitStack | None = None
        self._kinds: set[str] = set()

    def __enter__(self) -> Self:
        self._kept = ExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept:
            self._kept.close()
        self._kept = None
        self._kinds.clear()

    @contextmanager
    def open(
        self, connection: postgres.Connection, generation: Generation, kind: str
    ) -> Iterator[AnyIndex]:
        """Open the index of a generation; it is closed at the end."""
        with KINDS[kind].open(self.settings, connection, generation) as index:
            keep = KINDS[kind].keep
            if keep and self._kept is not None and kind not in self._kinds:
                self._kept.enter_context(keep(self.settings))
                self._kinds.add(kind)
            yield index

    @contextmanager
    def open_all(
        self, connection: postgres.Connection, generation: Generation
    ) -> Iterator[dict[str, AnyIndex]]:
        """Open all indexes of a generation, by their kinds."""
        with ExitStack() as stack:
            yield {
                kind.name: stack.enter_context(self.open(connection, generation, kind.name))
                for kind in kinds_of(generation)
            }

    def answering(self, generation: Generation) -> tuple[str, str]:
        """The kinds that answer searches: of vectors, as the settings choose, and of texts.

        A generation of before the setting has no such index; pgvector's answers for it.
        """
        chosen = self.settings.vector_index.partition("-")[0]
        vector = chosen if chosen in generation.parameters else "pgvector"
        return vector, next(kind.name for kind in kinds_of(generation) if kind.answers == "text")


def vector_indexes(opened: Mapping[str, AnyIndex]) -> dict[str, VectorIndex]:
    """Those that rank by a vector."""
    return {name: index for name, index in opened.items() if KINDS[name].answers == "vector"}


def text_index(opened: Mapping[str, AnyIndex]) -> TextIndex:
    """The one that ranks by words."""
    return next(index for name, index in opened.items() if KINDS[name].answers == "text")
