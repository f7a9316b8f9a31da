"""Writing chunks into a graph that holds each vector once, with copies beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ml_assets.search.indexes.chroma.copies import HEAD, Copies, Metadata
from ml_assets.search.indexes.chroma.filters import VECTOR, chroma_metadata
from ml_assets.search.indexes.contract import Entry
from ml_assets.search.model import Vector

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

Stored: TypeAlias = "Mapping[str, tuple[Vector | None, Metadata]]"
"""By chunk its vector, which of a copy is that of its head, and its metadata."""


def write_entries(graph: Collection, copies: Copies, entries: Sequence[Entry]) -> int:
    """Write the entries; of those whose vector is there already, only the metadata: that is faster.

    Returns how many vectors of the graph were replaced.
    """
    known = read_entries(graph, copies, entries)
    moved: dict[str, Entry] = {}
    written: dict[str, dict[str, Any]] = {}
    for entry in entries:
        before, metadata = known.get(entry.chunk_id, (None, {}))
        if before is None or not _is_same(entry.vector, before):
            moved[entry.chunk_id] = entry
        # Null the keys that it had and has no more: Chroma merges metadata.
        kept = {HEAD: metadata[HEAD]} if HEAD in metadata else {}
        written[entry.chunk_id] = dict.fromkeys(metadata) | chroma_metadata(entry) | kept
    if moved:
        _move(graph, copies, known, {name: written.pop(name) for name in moved}, moved)
    beside = {name: metadata for name, metadata in written.items() if HEAD in metadata}
    copies.update(beside)
    if within := {name: written[name] for name in written.keys() - beside.keys()}:
        graph.update(ids=[*within], metadatas=[*within.values()])
    return sum(name in known and HEAD not in known[name][1] for name in moved)


def remove_chunks(graph: Collection, copies: Copies, chunk_ids: Sequence[str]) -> None:
    """Remove the chunks; those that are absent are passed over."""
    copies.remove(chunk_ids)
    copies.give_heads(graph, chunk_ids)
    graph.delete(ids=list(chunk_ids))


def read_entries(graph: Collection, copies: Copies, entries: Sequence[Entry]) -> Stored:
    """What is stored of those of the chunks that are there; None for a vector that is lost."""
    ids = [entry.chunk_id for entry in entries]
    beside = copies.read(ids)
    heads = {str(metadata[HEAD]) for metadata in beside.values()}
    # One id is asked for once: Chroma refuses it twice.
    page = graph.get(ids=list({*ids, *heads}), include=["metadatas", "embeddings"])
    rows = zip(page["embeddings"], page["metadatas"] or [], strict=True)  # type: ignore[arg-type]
    within: dict[str, Any] = dict(zip(page["ids"], rows, strict=True))
    of_copies = {
        name: (within.get(str(metadata[HEAD]), (None, {}))[0], metadata)
        for name, metadata in beside.items()
    }
    return of_copies | {name: within[name] for name in ids if name in within}


def differing_chunks(graph: Collection, copies: Copies, entries: Sequence[Entry]) -> Iterator[str]:
    """The chunks of which something else is stored than the entry, in the entry's revision."""
    known = read_entries(graph, copies, entries)
    for entry in entries:
        vector, metadata = known.get(entry.chunk_id, (None, {}))
        if metadata.get("revision") != entry.revision.hex():
            continue
        own = {key: value for key, value in metadata.items() if key != HEAD}
        same = vector is not None and _is_same(entry.vector, vector)
        if not same or own != chroma_metadata(entry):
            yield entry.chunk_id


def _is_same(vector: Vector, stored: Vector) -> bool:
    """Whether Chroma made `stored` of `vector`: it stores it at norm 1."""
    import numpy as np

    from ml_assets.embeddings.quantization import unit

    both = unit([vector, np.asarray(stored, dtype=np.float32)])
    return bool(np.ptp(both, axis=0).max() < 1e-6)


def _move(
    graph: Collection,
    copies: Copies,
    known: Stored,
    metadatas: Mapping[str, dict[str, Any]],
    moved: Mapping[str, Entry],
) -> None:
    """Store chunks with their vectors: the first one with a vector in the graph, others beside."""
    copies.remove(name for name in moved if HEAD in metadatas[name])
    within = [name for name in moved if name in known and HEAD not in metadatas[name]]
    copies.give_heads(graph, within)
    heads = _holders(graph, {str(metadata[VECTOR]) for metadata in metadatas.values()}, moved)
    first: dict[str, dict[str, Any]] = {}
    beside: dict[str, Metadata] = {}
    for name, metadata in metadatas.items():
        head = heads.setdefault(str(metadata[VECTOR]), name)
        if head == name:
            first[name] = {key: value for key, value in metadata.items() if key != HEAD}
        else:
            beside[name] = {**metadata, HEAD: head}
    if first:
        vectors: Any = [moved[name].vector for name in first]
        graph.upsert(ids=[*first], embeddings=vectors, metadatas=[*first.values()])
    copies.write(beside)
    if left := [name for name in within if name in beside]:
        graph.delete(ids=left)


def _holders(graph: Collection, vectors: set[str], but: Mapping[str, object]) -> dict[str, str]:
    """The chunks of the graph with these vectors, by the hashes of these, `but` some chunks."""
    where: Any = {VECTOR: {"$in": sorted(vectors)}}
    page = graph.get(where=where, include=["metadatas"])
    found = zip(page["ids"], page["metadatas"] or [], strict=True)
    return {str(metadata[VECTOR]): name for name, metadata in found if name not in but}
