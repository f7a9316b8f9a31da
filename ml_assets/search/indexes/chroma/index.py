"""The Chroma index: one collection per generation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import StoreError
from ml_assets.progress import Progress, no_progress
from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.indexes.chroma.entries import upsert_entries
from ml_assets.search.indexes.chroma.filters import chroma_where
from ml_assets.search.indexes.ledger import exclusively, ledger_version, sync_ledger
from ml_assets.search.indexes.vectors import check_dimension
from ml_assets.search.model import Entry, Generation, Kind, Ranking, SyncReport, Vector
from ml_assets.stores import postgres
from ml_assets.stores.chroma import PAGE, pages, pages_of
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

_PAUSES = (0.0, 0.02, 0.05, 0.1)
"""Seconds until a reader asks again: while Chroma deletes a collection, it is half there for some
milliseconds, and asking for it is an internal error ("Missing metadata segment")."""


class ChromaIndex:
    """HNSW in Chroma, by cosine; the caller owns the client."""

    kind: Kind = "chroma"

    def __init__(
        self, client: ClientAPI, generation: Generation, *, disk: Path | None = None
    ) -> None:
        """Name the index; nothing is created before the first `sync`.

        `disk` is the folder of an embedded store, to tell its size.
        """
        self._client = client
        self._generation = generation
        self._disk = disk
        self._opened: Collection | None = None

    @property
    def name(self) -> str:
        """The name of the collection."""
        return f"generation-{self._generation.generation_id}"

    @property
    def _second_name(self) -> str:
        """The name of the collection that is being built to take its place."""
        return f"{self.name}-next"

    def sync(self, connection: postgres.Connection, progress: Progress = no_progress) -> SyncReport:
        """Make the index equal to the tables; writes only the difference."""
        started = time.perf_counter()
        delta = sync_ledger(connection, self._generation, self, embeddings=True, progress=progress)
        return SyncReport(
            self.kind,
            delta,
            delta.total,
            self._bytes(),
            time.perf_counter() - started,
            self.version(connection),
        )

    def version(self, connection: postgres.Connection) -> str:
        """A hash over what the index holds: equal content, equal version."""
        return ledger_version(connection, self._generation, self.kind)

    def query(self, vector: Vector, k: int, filters: Condition = NO_FILTER) -> Ranking:
        """Rank the `k` nearest chunks that pass the filter; `vector` has shape (dimension,).

        When the graph gives fewer than `k` and more would match, the search is exact.

        Raises:
            SpaceMismatchError: the vector has another dimension than the space.
            StoreError: the generation has no index here.
        """
        from chromadb.errors import InternalError, NotFoundError

        check_dimension(vector, self._generation)
        for seconds in _PAUSES:
            try:
                return self._query(vector, k, filters)
            except (NotFoundError, InternalError):
                # One that was built anew took its place, or it was dropped.
                self._opened = None
                time.sleep(seconds)
        return self._query(vector, k, filters)

    def _query(self, vector: Vector, k: int, filters: Condition) -> Ranking:
        collection = self._existing()
        where = chroma_where(filters)
        found = collection.query(
            query_embeddings=vector[None], n_results=k, where=where, include=["distances"]
        )
        ids = found["ids"][0]
        distances = (found["distances"] or [[]])[0]
        if len(ids) == k:
            return _nearest_first(zip(distances, ids, strict=True), exhausted=False)
        return self._exact(collection, vector, k, where)

    def ids(self, chunk_ids: Sequence[str] | None = None) -> set[str]:
        """The chunk ids that the index itself holds: of all, or of `chunk_ids`."""
        return {chunk_id for page in self._held([], chunk_ids) for chunk_id in page["ids"]}

    def size(self) -> int:
        """How many chunks the index itself holds."""
        collection = self._find()
        return collection.count() if collection else 0

    def rebuild(self, connection: postgres.Connection) -> bool:
        """Copy the collection into a new one, which takes its place when it is full.

        Until then the old one answers. A reader looks for the first name, then for the second, so
        that it finds one of them at any time; killed in between, the second name answers.
        """
        with exclusively(connection, self._generation, self.kind):
            self._opened = None
            old = self._existing()
            if old.name != self.name:
                old.modify(name=self.name)
            self._delete(self._second_name)
            new = self._create(self._second_name)
            # The order by a hash is random: see `differing_entries`.
            ids = sorted(self.ids(), key=lambda one: sha256(one.encode()).digest())
            size = min(PAGE, self._client.get_max_batch_size())
            for page in pages_of(old, ["embeddings", "metadatas"], ids, size):
                new.add(ids=page["ids"], embeddings=page["embeddings"], metadatas=page["metadatas"])
            # The mark says that it is whole.
            new.modify(metadata=old.metadata)
            self._delete(self.name)
            new.modify(name=self.name)
            self._opened = new
            key = {"generation_id": self._generation.generation_id, "index_kind": self.kind}
            postgres.run(connection, statement("postgres/search/indexes/forget_wear"), key)
        return True

    def drop(self) -> None:
        """Delete the collection; an absent one is passed over."""
        self._opened = None
        self._delete(self.name)
        self._delete(self._second_name)

    def _delete(self, name: str) -> None:
        from chromadb.errors import NotFoundError

        with suppress(NotFoundError):
            self._client.delete_collection(name)

    def close(self) -> None:
        """Forget the collection; the client is its owner's."""
        self._opened = None

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """What the index itself holds, of all or of `chunk_ids`: each id with its revision."""
        for page in self._held(["metadatas"], chunk_ids):
            for chunk_id, metadata in zip(page["ids"], page["metadatas"], strict=True):
                yield chunk_id, bytes.fromhex(str(metadata.get("revision", "")))

    def mark(self) -> str:
        """The mark that was last set on the index; empty when there is none."""
        self._opened = None  # an open collection does not see what others set
        collection = self._find()
        return str(((collection and collection.metadata) or {}).get("mark", ""))

    def set_mark(self, mark: str) -> None:
        """Mark the index itself; it must exist."""
        self._existing().modify(metadata={"mark": mark})

    def upsert(self, entries: Sequence[Entry]) -> int:
        """Store the entries durably, replacing older revisions; repeating it changes nothing.

        Returns how many vectors were replaced.
        """
        collection = self._created()
        size = self._client.get_max_batch_size()
        return sum(
            upsert_entries(collection, entries[start : start + size])
            for start in range(0, len(entries), size)
        )

    def remove(self, chunk_ids: Sequence[str]) -> None:
        """Remove the chunks durably; absent ones are passed over."""
        collection = self._find()
        if collection is None:
            return
        size = self._client.get_max_batch_size()
        for start in range(0, len(chunk_ids), size):
            collection.delete(ids=list(chunk_ids[start : start + size]))

    def _exact(
        self, collection: Collection, vector: Vector, k: int, where: dict[str, Any] | None
    ) -> Ranking:
        import numpy as np

        scored: list[tuple[float, str]] = []
        for page in pages(collection, ["embeddings"], where):
            vectors = np.asarray(page["embeddings"], dtype=np.float32)
            cosines = vectors @ vector / np.linalg.norm(vectors, axis=1)
            scored += zip((1 - cosines).tolist(), page["ids"], strict=True)
        scored.sort()
        return _nearest_first(scored[:k], exhausted=len(scored) <= k)

    def _held(self, include: list[str], chunk_ids: Sequence[str] | None) -> Iterator[Any]:
        """Page by page what the index holds, of all or of `chunk_ids`."""
        if chunk_ids is None:
            return pages(self._find(), include)
        return pages_of(self._find(), include, chunk_ids)

    def _find(self) -> Collection | None:
        from chromadb.errors import NotFoundError

        # The first name once more: it may have been given to the second in the meantime.
        for name in (self.name, self._second_name, self.name):
            if self._opened is None:
                with suppress(NotFoundError):
                    self._opened = self._client.get_collection(name, embedding_function=None)
        return self._opened

    def _existing(self) -> Collection:
        collection = self._find()
        if collection is None:
            raise StoreError(
                f"there is no collection {self.name}",
                where="Chroma",
                do="Materialize `chroma_index`",
            )
        return collection

    def _created(self) -> Collection:
        if self._opened is None:
            self._opened = self._create(self.name)
        return self._opened

    def _create(self, name: str) -> Collection:
        parameters = self._generation.parameters["chroma"]
        return self._client.get_or_create_collection(
            name,
            embedding_function=None,
            configuration={
                "hnsw": {
                    "space": parameters["distance"],
                    "max_neighbors": parameters["m"],
                    "ef_construction": parameters["ef_construction"],
                    "ef_search": parameters["ef_search"],
                }
            },
        )

    def _bytes(self) -> int | None:
        if self._disk is None:
            return None
        return sum(file.stat().st_size for file in self._disk.rglob("*") if file.is_file())


def _nearest_first(found: Iterable[tuple[float, str]], *, exhausted: bool) -> Ranking:
    """A ranking of cosine distances with chunk ids."""
    ranked = sorted(found)
    return Ranking(
        [chunk_id for _, chunk_id in ranked], [1 - distance for distance, _ in ranked], exhausted
    )
