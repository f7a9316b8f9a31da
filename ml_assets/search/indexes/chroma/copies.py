"""Chunks whose vector another chunk has: they stand beside the graph, which holds a vector once.

Equal vectors are each other's nearest neighbours, so that enough of them link to nothing else: of
2,000 chunks, 800 of them equal, Chroma's graph lost a quarter from sight. A copy is an entry of a
second collection, with its own metadata and the id of its `head`, the chunk in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ml_assets.stores.chroma import PAGE, pages

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

HEAD = "head"
"""The metadata of a copy that names the chunk in the graph."""

Metadata = Mapping[str, Any]

_AT_ONCE = 100
"""Copies of all the nearest that are read at once, at least; of more, those of one at a time."""


class Copies:
    """The second collection of an index; it is made with the first copy."""

    def __init__(self, client: ClientAPI, name: str) -> None:
        self.names = (name, f"{name}-next")
        """Of the collection, and of the one that is being built to take its place."""
        self._client = client
        self._found: tuple[Collection | None] | None = None

    def find(self) -> Collection | None:
        """The collection, looked for once; None when there are no copies."""
        from chromadb.errors import NotFoundError

        if self._found is None:
            self._found = (None,)
            # The first name once more: it may have been given to the second in the meantime.
            for name in (*self.names, self.names[0]):
                if self._found[0] is None:
                    with suppress(NotFoundError):
                        found = self._client.get_collection(name, embedding_function=None)
                        self._found = (found,)
        return self._found[0]

    def rebuild(self) -> None:
        """Copy the collection into a new one, which takes its place, as that of the graph does.

        A name after the first says that it is whole: it has the metadata of one.
        """
        from chromadb.errors import NotFoundError

        self.close()
        old = self.find()
        if old is None:
            return
        first, second = self.names
        if old.name != first:
            old.modify(name=first)
        with suppress(NotFoundError):
            self._client.delete_collection(second)
        metadatas = {
            name: metadata
            for page in pages(old, ["metadatas"])
            for name, metadata in zip(page["ids"], page["metadatas"], strict=True)
        }
        new = self._client.create_collection(second, embedding_function=None)
        self._found = (new,)
        self.write(metadatas)
        new.modify(metadata={"copies": True})
        self._client.delete_collection(first)
        new.modify(name=first)
        self.close()

    def close(self) -> None:
        """Look for it again at the next call."""
        self._found = None

    def size(self) -> int:
        """How many copies there are."""
        collection = self.find()
        return collection.count() if collection else 0

    def read(self, chunk_ids: Sequence[str]) -> dict[str, Metadata]:
        """The metadata of those of the chunks that are copies."""
        return {
            chunk_id: metadata
            for page in pages(self.find(), ["metadatas"], ids=chunk_ids)
            for chunk_id, metadata in zip(page["ids"], page["metadatas"], strict=True)
        }

    def write(self, metadatas: Mapping[str, Metadata]) -> None:
        """Store new copies, by their ids, each with its head."""
        for some in self._some(metadatas):
            # Chroma takes no entry without a vector; nobody asks for this one.
            none: Any = [[0.0]] * len(some)
            self._existing().upsert(
                ids=some,
                embeddings=none,
                metadatas=[dict(metadatas[chunk_id]) for chunk_id in some],
            )

    def update(self, metadatas: Mapping[str, Metadata]) -> None:
        """Merge metadata into that of copies that are there."""
        for some in self._some(metadatas):
            self._existing().update(ids=some, metadatas=[dict(metadatas[name]) for name in some])

    def remove(self, chunk_ids: Iterable[str]) -> None:
        """Remove the copies; what is none is passed over."""
        if collection := self.find():
            for some in self._some(chunk_ids):
                collection.delete(ids=some)

    def give_heads(self, graph: Collection, leaving: Sequence[str]) -> None:
        """Put a copy of each chunk that is `leaving` the graph into it, as the head of the others.

        Killed in between, the copy is missing, which the next sync finds, or both are in the graph.
        """
        heirs: dict[str, str] = {}
        metadatas: dict[str, Metadata] = {}
        others: dict[str, Metadata] = {}
        for head, copies in self._under(leaving).items():
            first, *rest = sorted(copies)
            heirs[head] = first
            metadatas[first] = {key: value for key, value in copies[first].items() if key != HEAD}
            others |= {name: {HEAD: first} for name in rest}
        if not heirs:
            return
        self.remove(heirs.values())
        page = graph.get(ids=list(heirs), include=["embeddings"])
        names = [heirs[head] for head in page["ids"]]
        if names:
            kept: Any = [metadatas[name] for name in names]
            graph.upsert(ids=names, embeddings=page["embeddings"], metadatas=kept)
        self.update(others)

    def passing(
        self, where: dict[str, Any] | None, among: Sequence[str] | None
    ) -> dict[str, list[str]]:
        """The copies that pass a filter, by their heads."""
        return _by_head(pages(self.find(), ["metadatas"], where, among))

    def of_nearest(self, heads: Sequence[str], k: int) -> dict[str, list[str]]:
        """Copies by their heads, which are best first: all, or at least `k` of the first ones."""
        collection = self.find()
        if collection is None or not heads:
            return {}

        def ask(some: Sequence[str], most: int) -> Any:
            where: Any = {HEAD: {"$in": list(some)}}
            return collection.get(where=where, limit=most, include=["metadatas"])

        most = max(2 * k, _AT_ONCE)
        page = ask(heads, most)
        if len(page["ids"]) < most:
            return _by_head([page])
        found: dict[str, list[str]] = {}
        for head in heads:
            found |= _by_head([ask([head], k)])
            if sum(map(len, found.values())) >= k:
                break
        return found

    def _under(self, heads: Sequence[str]) -> dict[str, dict[str, Metadata]]:
        """The metadata of all copies of these chunks, by their heads."""
        found: dict[str, dict[str, Metadata]] = {}
        for some in self._some(heads):
            for page in pages(self.find(), ["metadatas"], {HEAD: {"$in": some}}):
                for chunk_id, metadata in zip(page["ids"], page["metadatas"], strict=True):
                    found.setdefault(metadata[HEAD], {})[chunk_id] = metadata
        return found

    def _some(self, chunk_ids: Iterable[str]) -> Iterable[list[str]]:
        every, size = list(chunk_ids), min(PAGE, self._client.get_max_batch_size())
        return (every[start : start + size] for start in range(0, len(every), size))

    def _existing(self) -> Collection:
        collection = self.find()
        if collection is None:
            # Its metadata say that it is whole, to who copies a store.
            collection = self._client.get_or_create_collection(
                self.names[0], embedding_function=None, metadata={"copies": True}
            )
            self._found = (collection,)
        return collection


def _by_head(found: Iterable[Any]) -> dict[str, list[str]]:
    copies: dict[str, list[str]] = {}
    for page in found:
        for chunk_id, metadata in zip(page["ids"], page["metadatas"], strict=True):
            copies.setdefault(metadata[HEAD], []).append(chunk_id)
    return copies
