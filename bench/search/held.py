"""Real chunks with their vectors in a database of the bench's own: some live, others held out."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_assets.documents.chunkers import follow_chunkers
from ml_assets.embeddings.refresh import ensure_space, partition_name
from ml_assets.embeddings.space import VectorSpace
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.kinds import index_parameters
from ml_assets.search.model import CHUNKING, Generation
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import read_statements

_STATEMENTS = read_statements(Path(__file__).with_name("held.sql"))
_COPIED = {
    "collections": "table collections",
    "bench.documents": _STATEMENTS["read_documents"],
    "bench.chunks": "table chunks",
}
"""Tables, and the rows of the source that go there."""


@dataclass(frozen=True)
class Churn:
    """What one churn wrote, and how long it took: the vectors with the index that is on them."""

    chunks: int
    text_seconds: float
    vector_seconds: float


def fill(
    source: str,
    connection: postgres.Connection,
    chunks: int,
    held_out: int,
    settings: Settings | None = None,
) -> Generation:
    """Copy the database at `source` into an empty one; make `chunks` of its chunks live.

    Returns the generation of the settings, or of the default ones. The source is only read.

    Raises:
        SystemExit: the source has less than `chunks + held_out` embedded chunks.
    """
    with postgres.connect(source, Path()) as filled:
        space = _space(filled)
        connection.execute(_STATEMENTS["create_held_out"])
        vectors = f"table {partition_name(space.space_id)}"
        for target, query in {**_COPIED, "bench.vectors": vectors}.items():
            _copy(filled, connection, target, query)
    connection.execute(_STATEMENTS["index_held_out"])
    [(chunker,)] = connection.execute("select distinct chunker from bench.chunks").fetchall()
    follow_chunkers(connection, chunker, [])
    ensure_space(connection, space, [chunker])
    available = postgres.read_counts(connection, "select count(*) as places from bench.places")
    if available["places"] < chunks + held_out:
        sys.exit(f"{chunks + held_out:,} chunks are needed, and {available['places']:,} are there")
    added = {"added": _ids(connection, "take_held_out", {"size": chunks})}
    _timed(connection, added, "add_documents", "add_chunks", "add_vectors")
    connection.execute(f"analyze documents, chunks, {partition_name(space.space_id)}")
    parameters = index_parameters(settings or load_settings())
    chunking = {CHUNKING: {"chunker": chunker}}
    return ensure_generation(connection, space.space_id, {**parameters, **chunking})


def churn(connection: postgres.Connection, chunks: int, turn: int) -> Churn:
    """Remove a third of `chunks` live chunks, change a third, and add as many as were removed.

    Each `turn` picks others. New texts and vectors are those of chunks that were held out.
    """
    third = chunks // 3
    live = _ids(connection, "pick_live", {"turn": str(turn), "size": 2 * third})
    taken = _ids(connection, "take_held_out", {"size": 2 * third})
    bound = {
        "removed": live[:third],
        "changed": live[third:],
        "by": taken[:third],
        "added": taken[third:],
    }
    with connection.transaction():
        texts = _timed(
            connection, bound, "remove_chunks", "change_chunks", "add_documents", "add_chunks"
        )
        vectors = _timed(connection, bound, "remove_vectors", "change_vectors", "add_vectors")
    # So that maintenance sees what was removed, as the next process would.
    connection.execute("select pg_stat_force_next_flush()")
    return Churn(3 * third, texts, vectors)


def _timed(connection: postgres.Connection, bound: Mapping[str, object], *names: str) -> float:
    started = time.perf_counter()
    for name in names:
        connection.execute(_STATEMENTS[name], bound)
    return time.perf_counter() - started


def _ids(connection: postgres.Connection, name: str, bound: Mapping[str, object]) -> list[str]:
    rows = connection.execute(_STATEMENTS[name], bound).fetchall()
    return [chunk_id for (chunk_id,) in rows]


def _space(source: postgres.Connection) -> VectorSpace:
    row = source.execute(_STATEMENTS["largest_space"]).fetchone()
    if row is None:
        sys.exit("nothing is embedded in the source")
    return VectorSpace(**row[0])


def _copy(
    source: postgres.Connection, connection: postgres.Connection, target: str, query: str
) -> None:
    with (
        source.cursor().copy(f"copy ({query}) to stdout (format binary)") as rows,
        connection.cursor().copy(f"copy {target} from stdin (format binary)") as copy,
    ):
        for part in rows:
            copy.write(part)
