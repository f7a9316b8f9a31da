"""The kinds of index, and the indexes of a deployment. A new kind is a folder and a name here."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Self

from typing_extensions import TypeIs

from ml_assets.documents.chunking import Chunker
from ml_assets.progress import Progress, no_progress
from ml_assets.search.filters.language import NO_FILTER, Among, Condition, Filter
from ml_assets.search.filters.sql import matching_chunk_ids
from ml_assets.search.indexes import contract, ledger
from ml_assets.search.indexes.contract import (
    AnyIndex,
    Index,
    IndexKind,
    Query,
    Ranking,
    Waiting,
)
from ml_assets.search.model import CHUNKING, Generation, Parameters
from ml_assets.settings import Settings
from ml_assets.stores import postgres

_FOLDERS = ("pgvector", "chroma", "keyword", "faiss")

NO_LEAST = -1.0
"""The least cosine that there is: nothing is left out."""

KINDS: Mapping[str, IndexKind] = {
    name: import_module(f"ml_assets.search.indexes.{name}").KIND for name in _FOLDERS
}


def index_parameters(settings: Settings) -> Parameters:
    """The kinds that the settings choose, each with what building it depends on."""
    chosen = ((name, kind.parameters(settings)) for name, kind in KINDS.items())
    return {name: parameters for name, parameters in chosen if parameters is not None}


def generation_parameters(settings: Settings, chunker: Chunker) -> Parameters:
    """The parameters of the generation that the settings describe, of the chunks of a chunker."""
    return {**index_parameters(settings), CHUNKING: chunker.definition}


def kinds_of(generation: Generation) -> list[IndexKind]:
    """The kinds of index that a generation has."""
    return [kind for name, kind in KINDS.items() if name in generation.parameters]


def upkeep_of(kind: str) -> contract.Upkeep:
    """How the indexes of a kind follow the tables."""
    return KINDS[kind].upkeep or ledger.UPKEEP


def sync_index(
    connection: postgres.Connection, index: AnyIndex, progress: Progress = no_progress
) -> contract.SyncReport:
    """Make an index equal to the tables; only the difference is written."""
    return upkeep_of(index.kind).sync(connection, index, progress)


def follow_index(connection: postgres.Connection, index: AnyIndex) -> int:
    """Bring an index of this host up to what another host last wrote; nothing else is touched.

    Returns how many documents it is still behind, while another process writes it.
    """
    return ledger.follow(connection, index) if _has_ledger(index) else 0


def index_marks(connection: postgres.Connection, generation: Generation) -> dict[str, str]:
    """What tells by its kind each index that is outside PostgreSQL from its earlier content."""
    return ledger.marks(connection, generation)


def touch_index(index: AnyIndex) -> None:
    """Ask an index outside PostgreSQL for something: damaged files are told only by that.

    Raises:
        DamagedStoreError: they are.
    """
    if not _has_ledger(index) or not index.size():
        return
    if KINDS[index.kind].answers == "text":
        index.query("a", 1)
    else:
        from numpy import eye

        index.query(eye(1, index.generation.dimension, dtype="float32")[0], 1)


def altered_entries(connection: postgres.Connection, index: AnyIndex) -> list[str]:
    """The chunks that another hand changed in an index; none in one that PostgreSQL keeps."""
    return ledger.altered(connection, index) if _has_ledger(index) else []


def forget_altered(connection: postgres.Connection, index: AnyIndex) -> None:
    """Have the next sync write again what another hand changed in the index."""
    if _has_ledger(index):
        ledger.forget_altered(connection, index)


def kept_by_tables(generation: Generation) -> str | None:
    """The kind of vectors that PostgreSQL itself keeps equal to the tables, if there is one."""
    kinds = (kind for kind in kinds_of(generation) if kind.upkeep and kind.answers == "vector")
    return next((kind.name for kind in kinds), None)


def waiting_documents(
    connection: postgres.Connection,
    generation: Generation,
    indexes: Iterable[AnyIndex],
    condition: Condition,
) -> Waiting:
    """The live documents that the tables have and these indexes of a generation have not."""
    kinds = [index.kind for index in indexes if _has_ledger(index)]
    return ledger.waiting_documents(connection, generation, kinds, condition)


def waiting_among(
    connection: postgres.Connection,
    generation: Generation,
    indexes: Iterable[AnyIndex],
    document_ids: Sequence[str],
) -> set[str]:
    """Those of these live documents that these indexes of a generation do not have as they are."""
    kinds = [index.kind for index in indexes if _has_ledger(index)]
    return ledger.waiting_among(connection, generation, kinds, document_ids)


def _has_ledger(index: AnyIndex) -> TypeIs[contract.LedgerIndex[Any]]:
    return KINDS[index.kind].upkeep is None


def query_index(
    connection: postgres.Connection,
    index: Index[Query],
    query: Query,
    k: int,
    condition: Condition = NO_FILTER,
    least: float = NO_LEAST,
) -> Ranking:
    """Rank the `k` best chunks that pass the condition, and have the `least` score.

    The index walks from the best on, so that the first one of less ends the search: no other has
    more. A condition that the index cannot express exactly is resolved to chunk ids by PostgreSQL.
    """
    filters: Filter = condition
    if condition != NO_FILTER and not index.expresses(condition):
        filters = Among(tuple(matching_chunk_ids(connection, index.generation, condition)))
        if not filters.chunk_ids:
            return Ranking((), (), exhausted=True)
    ranking = index.query(query, k, filters)
    return ranking if least == NO_LEAST else ranking.down_to(least)


def index_versions(connection: postgres.Connection, generation: Generation) -> dict[str, str]:
    """The content version of every index of a generation; PostgreSQL knows them all."""
    return {
        kind.name: upkeep_of(kind.name).version(connection, generation, kind.name)
        for kind in kinds_of(generation)
    }


def answering_kind(chosen: str, built: Container[str]) -> str:
    """The kind that answers searches of vectors, among those that are `built`, as is `chosen`.

    A generation of before the setting has no such index; the first of another kind answers for it.
    Where none is built yet, it will be the chosen one.
    """
    kind = chosen.partition("-")[0]
    present = (name for name in (kind, *KINDS) if name in built)
    return next((name for name in present if KINDS[name].answers == "vector"), kind)


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
        self._kept.callback(self._kinds.clear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept:
            self._kept.close()
        self._kept = None

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
        """The kinds that answer searches: of vectors, as the settings choose, and of texts."""
        vector = answering_kind(self.settings.vector_index, generation.parameters)
        return vector, next(kind.name for kind in kinds_of(generation) if kind.answers == "text")


def vector_indexes(opened: Mapping[str, AnyIndex]) -> dict[str, contract.VectorIndex]:
    """Those that rank by a vector."""
    return {name: index for name, index in opened.items() if KINDS[name].answers == "vector"}


def text_kinds() -> list[str]:
    """The kinds that rank by words; a generation has an index of one of them."""
    return [name for name, kind in KINDS.items() if kind.answers == "text"]


def text_index(opened: Mapping[str, AnyIndex]) -> contract.TextIndex:
    """The one that ranks by words."""
    return next(index for name, index in opened.items() if KINDS[name].answers == "text")
