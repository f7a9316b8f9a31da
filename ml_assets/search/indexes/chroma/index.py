"""The Chroma index: one collection per generation, and one for copies, where there are any."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ml_assets.errors import DamagedStoreError, StoreError
from ml_assets.search.filters.language import NO_FILTER, Among, Condition, Filter
from ml_assets.search.indexes.chroma.copies import Copies
from ml_assets.search.indexes.chroma.entries import (
    differing_chunks,
    remove_chunks,
    write_entries,
)
from ml_assets.search.indexes.chroma.files import (
    Collections,
    Files,
    altered_files,
    read_files,
    wipe_unused,
)
from ml_assets.search.indexes.chroma.filters import chroma_where, is_expressible
from ml_assets.search.indexes.contract import Entry, Ranking
from ml_assets.search.model import Generation, Vector
from ml_assets.stores.chroma import PAGE, PREFIX, explained, pages
from ml_assets.stores.patience import patiently

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection


T = TypeVar("T")


class ChromaIndex:
    """HNSW in Chroma, by cosine; the caller owns the client."""

    kind = "chroma"
    stores_vectors = True

    def __init__(
        self, client: ClientAPI, generation: Generation, *, disk: Path | None = None
    ) -> None:
        """Name the index; nothing is created before the first `upsert`.

        `disk` is the folder of an embedded store, to tell its size and whether it is damaged.
        """
        self.generation = generation
        self.name = f"{PREFIX}{generation.generation_id}"
        self._second_name = f"{self.name}-next"
        """Of the collection that is being built to take its place."""
        self.lock = disk and disk / f".{generation.generation_id}.lock"
        self._copies = Copies(client, f"{self.name}-copies")
        self._client = client
        self._disk = disk
        self._opened: Collection | None = None

    def query(self, vector: Vector, k: int, filters: Filter = NO_FILTER) -> Ranking:
        """Exact when the graph gives fewer than `k` and more would match."""
        self.generation.check(vector)
        return self._asked(lambda: self._query(vector, k, filters))

    def query_many(self, vectors: Sequence[Vector], k: int) -> list[Ranking]:
        """Ask for all in one call; those that fall short are asked again."""
        for vector in vectors:
            self.generation.check(vector)
        return self._asked(lambda: self._query_many(vectors, k)) if len(vectors) else []

    def _asked(self, ask: Callable[[], T]) -> T:
        from chromadb.errors import InternalError, NotFoundError

        def may_pass(error: BaseException) -> bool:
            """Whether one that was built anew took its place, or it was dropped.

            While Chroma deletes a collection, it is half there for some milliseconds, and asking
            for it is an internal error ("Missing metadata segment").
            """
            self.close()
            return isinstance(error, NotFoundError | InternalError)

        with explained(self._disk):
            return patiently(ask, may_pass, seconds=2, pause=0.01)

    def expresses(self, condition: Condition) -> bool:
        return is_expressible(condition)

    def _query(self, vector: Vector, k: int, filters: Filter) -> Ranking:
        graph = self._existing()
        among, where = None, None
        if isinstance(filters, Among):
            # Chroma refuses ids that it does not hold, such as those of chunks not yet indexed.
            among = self._ids(filters.chunk_ids)
        elif filters != NO_FILTER:
            where = chroma_where(filters)
        found = _nearest(graph, vector, k, where, among)
        if self._copies.find() is None:
            return found
        if filters == NO_FILTER:
            return _with_copies(found, found, self._copies.of_nearest(found.chunk_ids, k), k)
        asked = filters.chunk_ids if isinstance(filters, Among) else None
        passing = self._copies.passing(where, asked)
        return _with_copies(found, _nearest(graph, vector, k, None, [*passing]), passing, k)

    def _query_many(self, vectors: Sequence[Vector], k: int) -> list[Ranking]:
        import numpy as np

        graph = self._existing()
        nearest = graph.query(
            query_embeddings=np.stack(vectors), n_results=k, include=["distances"]
        )
        answers = zip(vectors, nearest["ids"], nearest["distances"] or [], strict=True)
        found = [
            _full(ids, distances, k) or _nearest(graph, vector, k, None, None)
            for vector, ids, distances in answers
        ]
        if self._copies.find() is None:
            return found
        return [
            _with_copies(each, each, self._copies.of_nearest(each.chunk_ids, k), k)
            for each in found
        ]

    def size(self) -> int:
        with explained(self._disk):
            graph = self._find()
            return graph.count() + self._copies.size() if graph else 0

    def rebuild(self) -> str:
        """Copy the collection into a new one, which takes its place when it is full.

        Until then the old one answers. A reader looks for the first name, then for the second, so
        that it finds one of them at any time; killed in between, the second name answers.
        """
        self._opened = None
        old = self._existing()
        if old.name != self.name:
            old.modify(name=self.name)
        self._delete(self._second_name)
        new = self._create(self._second_name)
        # The order by a hash is random: see `differing_entries`.
        ids = sorted(self._ids(), key=lambda chunk_id: sha256(chunk_id.encode()).digest())
        size = min(PAGE, self._client.get_max_batch_size())
        for page in pages(old, ["embeddings", "metadatas"], None, ids, size):
            new.add(ids=page["ids"], embeddings=page["embeddings"], metadatas=page["metadatas"])
        # The mark says that it is whole.
        new.modify(metadata=self._marked(new, (old.metadata or {}).get("mark", "")))
        self._delete(self.name)
        new.modify(name=self.name)
        self._opened = new
        return ""

    def rewrite(self, batches: Iterable[Sequence[Entry]]) -> bool:
        if self._find() is None:
            return False
        self.rebuild()
        self._copies.rebuild()
        if self._disk:
            wipe_unused(self._disk, self._collections(self._existing()))
        return True

    def drop(self, kept: Sequence[Generation] = ()) -> bool:
        self.close()
        for name in (self.name, self._second_name, *self._copies.names):
            self._delete(name)
        return True

    def _delete(self, name: str) -> None:
        from chromadb.errors import NotFoundError

        with suppress(NotFoundError):
            self._client.delete_collection(name)

    def close(self) -> None:
        self._opened = None
        self._copies.close()

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        graph = self._find()
        held = (graph, self._copies.find()) if graph else ()
        for page in chain.from_iterable(pages(each, ["metadatas"], ids=chunk_ids) for each in held):
            for chunk_id, metadata in zip(page["ids"], page["metadatas"], strict=True):
                yield chunk_id, bytes.fromhex(str(metadata.get("revision", "")))

    def mark(self) -> str:
        self.close()  # an open collection does not see what others set
        collection = self._find()
        return str(((collection and collection.metadata) or {}).get("mark", ""))

    def set_mark(self, mark: str) -> None:
        collection = self._existing()
        collection.modify(metadata=self._marked(collection, mark))

    def _marked(self, collection: Collection, mark: str) -> dict[str, Any]:
        """The metadata of a collection with this mark; with one, its files are as they are now."""
        files = _files(collection)
        if mark and self._disk:
            files = read_files(self._disk, self._collections(collection), files)
        return {"mark": mark, "files": json.dumps(files)}

    def upsert(self, entries: Sequence[Entry]) -> int:
        if self._find() is None:
            for name in self._copies.names:  # of a graph that was lost
                self._delete(name)
            self._copies.close()
        collection = self._opened = self._opened or self._create(self.name)
        batches = self._batches(entries)
        return sum(write_entries(collection, self._copies, batch) for batch in batches)

    def remove(self, chunk_ids: Sequence[str]) -> None:
        if collection := self._find():
            for batch in self._batches(chunk_ids):
                remove_chunks(collection, self._copies, batch)

    def _batches(self, items: Sequence[T]) -> Iterator[Sequence[T]]:
        size = self._client.get_max_batch_size()
        return (items[start : start + size] for start in range(0, len(items), size))

    def _ids(self, chunk_ids: Sequence[str] | None = None) -> list[str]:
        """The chunks that are there, of all or of `chunk_ids`."""
        stored = pages(self._find(), [], ids=chunk_ids)
        return [chunk_id for page in stored for chunk_id in page["ids"]]

    def _find(self) -> Collection | None:
        from chromadb.errors import NotFoundError

        # The first name once more: it may have been given to the second in the meantime.
        for name in (self.name, self._second_name, self.name):
            if self._opened is None:
                with suppress(NotFoundError):
                    self._opened = self._whole(name)
        return self._opened

    def _whole(self, name: str) -> Collection:
        """Open the collection of this name.

        Raises:
            DamagedStoreError: its files are not as they were when its mark was set.
        """
        collection = self._client.get_collection(name, embedding_function=None)
        metadata = collection.metadata or {}
        if self._disk and metadata.get("mark"):
            collections = self._collections(collection)
            altered = altered_files(self._disk, collections, _files(collection))
            # A writer takes the mark off before it changes anything.
            if altered and self._client.get_collection(name).metadata == metadata:
                what = f"the Chroma folder is damaged ({altered[0]} is not as it was written)"
                raise DamagedStoreError(what, self._disk)
        return collection

    def _collections(self, graph: Collection) -> Collections:
        copies = self._copies.find()
        return {"": str(graph.id)} | ({"copies/": str(copies.id)} if copies else {})

    def _existing(self) -> Collection:
        if collection := self._find():
            return collection
        what, do = f"there is no collection {self.name}", "Materialize `chroma_index`"
        raise StoreError(what, where="Chroma", do=do)

    def _create(self, name: str) -> Collection:
        parameters = self.generation.parameters["chroma"]
        hnsw: Any = {
            "space": parameters["distance"],
            "max_neighbors": parameters["m"],
            "ef_construction": parameters["ef_construction"],
            "ef_search": parameters["ef_search"],
        }
        return self._client.get_or_create_collection(
            name, embedding_function=None, configuration={"hnsw": hnsw}
        )

    def differing(self, batches: Iterable[Sequence[Entry]]) -> list[str]:
        if (collection := self._find()) is None:
            return []
        return [
            chunk_id
            for entries in batches
            for chunk_id in differing_chunks(collection, self._copies, entries)
        ]

    def disk_bytes(self) -> int | None:
        if self._disk is None:
            return None
        return sum(file.stat().st_size for file in self._disk.rglob("*") if file.is_file())


def _nearest(
    graph: Collection,
    vector: Vector,
    k: int,
    where: dict[str, Any] | None,
    among: Sequence[str] | None,
) -> Ranking:
    """The nearest chunks of the graph; exact when it gives fewer than `k`."""
    if among is not None and not among:
        return Ranking((), (), exhausted=True)
    ids = None if among is None else list(among)
    nearest = graph.query(
        query_embeddings=vector[None], n_results=k, ids=ids, where=where, include=["distances"]
    )
    if ranking := _full(nearest["ids"][0], (nearest["distances"] or [[]])[0], k):
        return ranking
    return _exact(pages(graph, ["embeddings"], where, among), vector, k)


def _with_copies(
    found: Ranking, heads: Ranking, copies: Mapping[str, Sequence[str]], k: int
) -> Ranking:
    """The `k` best of what was found and of copies, which have the score of their head."""
    scored = list(zip(found.scores, found.chunk_ids, strict=True))
    for score, head in zip(heads.scores, heads.chunk_ids, strict=True):
        scored += [(score, chunk_id) for chunk_id in copies.get(head, ())]
    best = nsmallest(k, scored, key=lambda hit: (-hit[0], hit[1]))
    whole = found.exhausted and heads.exhausted and len(scored) <= k
    return Ranking.best_first(best, exhausted=whole)


def _full(ids: Sequence[str], distances: Iterable[float], k: int) -> Ranking | None:
    """The ranking of what the graph gave, unless it gave fewer than `k`."""
    if len(ids) < k:
        return None
    cosines = (1 - distance for distance in distances)
    return Ranking.best_first(zip(cosines, ids, strict=True), exhausted=False)


def _files(collection: Collection) -> Files:
    """The files of a collection as they were when its mark was last set."""
    return {
        name: tuple(file)
        for name, file in json.loads((collection.metadata or {}).get("files", "{}")).items()
    }


def _exact(stored: Iterable[Any], vector: Vector, k: int) -> Ranking:
    """Compare with every vector, page by page."""
    import numpy as np

    from ml_assets.embeddings.quantization import unit

    scored: list[tuple[float, str]] = []
    for page in stored:
        vectors = np.asarray(page["embeddings"], dtype=np.float32).reshape(-1, len(vector))
        scored += zip((unit(vectors) @ vector).tolist(), page["ids"], strict=True)
    nearest = nsmallest(k, scored, key=lambda hit: (-hit[0], hit[1]))
    return Ranking.best_first(nearest, exhausted=len(scored) <= k)
